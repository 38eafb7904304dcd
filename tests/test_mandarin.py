"""Mandarin text becomes Han characters, each a word, with numbers read in Chinese."""

import pytest

from egret.lang.normalise import normalise


def read(written: str) -> str:
    return normalise(written, "mandarin")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("今天天气，很好！", "今 天 天 气 很 好"),
        ("今天 天气", "今 天 天 气"),
        ("用Hello和wi-fi。", "用 HELLO 和 WI FI"),
        ("Ｔ恤　don't café", "T 恤 DON'T CAFE"),
        ("臺灣 台湾 哪儿", "臺 灣 台 湾 哪 儿"),
        ("二〇〇八 人人々", "二 零 零 八 人 人 々"),
        ("日本のカタカナ", "日 本 のカタカナ"),
        ("好 <SPOKEN_NOISE> 的", "好 <SPOKEN_NOISE> 的"),
        ("\u200b今\ufeff天", "今 天"),
    ],
)
def test_characters_are_words(written: str, said: str):
    assert read(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0 10 12 110 1001", "零 十 十二 一百一十 一千零一"),
        ("1,234,567", "一百二十三万四千五百六十七"),
        ("95，100", "九十五 一百"),
        ("1990年 1990年代 90年代", "一九九零年 一九九零年代 九十年代"),
        ("98年 08年 10年 5000年", "九八年 零八年 十年 五千年"),
        ("1990-1995年 2012—2013赛季", "一九九零到一九九五年 二零一二到二零一三赛季"),
        ("2023年5月3日 2023-05-03 2023/13/40", "二零二三年五月三日 二零二三年五月三日 两千零二十三 十三 四十"),
        ("25% 3.5％ -3% 5‰", "百分之二十五 百分之三点五 百分之负三 千分之五"),
        ("5%-10% 10~20%", "百分之五到百分之十 百分之十到百分之二十"),
        ("3.14 0.05 1.2.3", "三点一四 零点零五 一点二点三"),
        ("13812345678 007 123456", "一三八一二三四五六七八 零零七 十二万三千四百五十六"),
        ("5000000 010-12345678", "五百万 零一零一二三四五六七八"),
        ("2个 2年 2年级 第2次 12个 2000 22000", "两个 两年 二年级 第二次 十二个 两千 两万二千"),
        ("10:30 10：05 2:00 8:15:30 3:2", "十点三十分 十点零五分 两点 八点十五分三十秒 三比二"),
        ("1/2 3½ 24/7", "二分之一 三又二分之一 二十四 七"),
        ("¥100 ￥5 $3.5亿", "一百元 五元 三点五亿美元"),
        ("3-5个 3-2", "三到五个 三 二"),
        ("25℃ -5℃ 为-3℃ 神舟-5", "二十五摄氏度 负五摄氏度 为负三摄氏度 神舟五"),
        ("MP3 A380 iPhone12", "MP 三 A 三八零 IPHONE 十二"),
        ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
    ],
)
def test_numbers_are_read_in_chinese(written: str, said: str):
    assert read(written).replace(" ", "") == said.replace(" ", "")


def test_numbers_are_characters_like_others():
    assert read("有25%的人") == "有 百 分 之 二 十 五 的 人"

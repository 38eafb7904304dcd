"""Mandarin for the miniatures: a phrase grammar of our own, each word's toned syllables, voices of espeak-ng.

Every word has the one reading that it has in these sentences, so syllables follow from words without a library. There
are homophones (shi4, zai4, hua4) and characters of two readings (hang2 and xing2, yue4 and le4), as in any text.
"""

from collections.abc import Collection, Sequence
from random import Random

from mini.espeak import Speaker

# Word and toned syllables, tone 5 the neutral one, v for the umlaut.
_PEOPLE = """
我 wo3, 你 ni3, 他 ta1, 我们 wo3 men5, 他们 ta1 men5, 老师 lao3 shi1, 学生 xue2 sheng5, 医生 yi1 sheng1,
朋友 peng2 you5, 妈妈 ma1 ma5, 爸爸 ba4 ba5, 哥哥 ge1 ge5, 妹妹 mei4 mei5, 孩子 hai2 zi5, 邻居 lin2 ju1,
农民 nong2 min2, 司机 si1 ji1, 女儿 nv3 er2, 儿子 er2 zi5, 客人 ke4 ren2
"""
_TIMES = """
今天 jin1 tian1, 明天 ming2 tian1, 昨天 zuo2 tian1, 早上 zao3 shang5, 晚上 wan3 shang5, 中午 zhong1 wu3,
下午 xia4 wu3, 春天 chun1 tian1, 夏天 xia4 tian1, 秋天 qiu1 tian1, 冬天 dong1 tian1, 现在 xian4 zai4, 每天 mei3 tian1,
周末 zhou1 mo4
"""
_PLACES = """
学校 xue2 xiao4, 医院 yi1 yuan4, 公园 gong1 yuan2, 商店 shang1 dian4, 火车站 huo3 che1 zhan4, 图书馆 tu2 shu1 guan3,
河边 he2 bian1, 山上 shan1 shang5, 城里 cheng2 li3, 村子 cun1 zi5, 北京 bei3 jing1, 上海 shang4 hai3, 银行 yin2 hang2,
教室 jiao4 shi4, 厨房 chu2 fang2, 海边 hai3 bian1, 家 jia1, 广州 guang3 zhou1
"""
_ADVERBS = "常常 chang2 chang2, 也 ye3, 都 dou1, 不 bu4, 想 xiang3, 要 yao4, 喜欢 xi3 huan5, 会 hui4, 一起 yi4 qi3"
_ADJECTIVES = """
好 hao3, 冷 leng3, 热 re4, 暖和 nuan3 huo5, 安静 an1 jing4, 漂亮 piao4 liang5, 远 yuan3, 近 jin4, 大 da4, 小 xiao3,
快乐 kuai4 le4, 高 gao1
"""
_ACTIONS = {
    "买 mai3": "苹果 ping2 guo3, 面包 mian4 bao1, 牛奶 niu2 nai3, 鸡蛋 ji1 dan4, 衣服 yi1 fu5, 鞋子 xie2 zi5, 花 hua1",
    "卖 mai4": "苹果 ping2 guo3, 鱼 yu2, 绿茶 lv4 cha2, 报纸 bao4 zhi3, 花 hua1",
    "喝 he1": "绿茶 lv4 cha2, 水 shui3, 牛奶 niu2 nai3, 咖啡 ka1 fei1, 汤 tang1",
    "吃 chi1": "米饭 mi3 fan4, 面条 mian4 tiao2, 鱼 yu2, 苹果 ping2 guo3, 饺子 jiao3 zi5, 面包 mian4 bao1",
    "看 kan4": "书 shu1, 电影 dian4 ying3, 报纸 bao4 zhi3, 月亮 yue4 liang5, 花 hua1, 雪 xue3, 画 hua4",
    "写 xie3": "信 xin4, 文章 wen2 zhang1, 汉字 han4 zi4, 故事 gu4 shi5",
    "听 ting1": "音乐 yin1 yue4, 故事 gu4 shi5, 歌 ge1, 新闻 xin1 wen2",
    "学习 xue2 xi2": "数学 shu4 xue2, 中文 zhong1 wen2, 历史 li4 shi3, 音乐 yin1 yue4, 法律 fa3 lv4",
    "洗 xi3": "衣服 yi1 fu5, 手 shou3, 苹果 ping2 guo3, 鞋子 xie2 zi5",
    "画 hua4": "山水 shan1 shui3, 花 hua1, 马 ma3, 鱼 yu2",
    "骑 qi2": "马 ma3, 自行车 zi4 xing2 che1",
    "唱 chang4": "歌 ge1, 京剧 jing1 ju4",
}
_NUMBERS = """
一 yi1, 两 liang3, 三 san1, 四 si4, 五 wu3, 六 liu4, 七 qi1, 八 ba1, 九 jiu3, 十 shi2, 二十 er4 shi2,
一百 yi4 bai3
"""
# What is counted, with its measure.
_COUNTED = """
本 ben3 书 shu1, 杯 bei1 水 shui3, 杯 bei1 咖啡 ka1 fei1, 条 tiao2 鱼 yu2, 个 ge4 苹果 ping2 guo3, 个 ge4 鸡蛋 ji1 dan4,
匹 pi3 马 ma3, 张 zhang1 报纸 bao4 zhi3, 张 zhang1 画 hua4, 个 ge4 学生 xue2 sheng5, 个 ge4 孩子 hai2 zi5,
封 feng1 信 xin4, 辆 liang4 自行车 zi4 xing2 che1
"""
_THINGS = "天气 tian1 qi4, 水 shui3, 房子 fang2 zi5, 城市 cheng2 shi4, 月亮 yue4 liang5, 山 shan1, 河 he2, 花 hua1"
_WEATHER = "下雨 xia4 yu3, 下雪 xia4 xue3, 刮风 gua1 feng1"
_SMALL = """
在 zai4, 去 qu4, 从 cong2, 到 dao4, 和 he2, 给 gei3, 了 le5, 吗 ma5, 的 de5, 很 hen3, 再 zai4, 是 shi4, 有 you3
"""

FEMALE = ["f1", "f2", "f3", "f4", "f5", "Annie", "belinda", "linda", "steph", "anika", "Alicia", "Andrea"]
MALE = ["m1", "m2", "m3", "m4", "m6", "m7", "m8", "Lee", "Mike", "Andy", "Alex", "david", "paul", "max"]


def _read(table: str) -> list[tuple[str, ...]]:
    """The entries of a table: the words of each, in order. Their readings are noted in WORDS."""
    entries = []
    for entry in table.split(","):
        names: list[str] = []
        for part in entry.split():
            if part.isascii():
                READINGS[names[-1]].append(part)
            else:
                names.append(part)
                READINGS[part] = []
        entries.append(tuple(names))
    return entries


READINGS: dict[str, list[str]] = {}
PEOPLE, TIMES, PLACES, ADVERBS, ADJECTIVES, NUMBERS, COUNTED, THINGS, WEATHER = map(
    _read, (_PEOPLE, _TIMES, _PLACES, _ADVERBS, _ADJECTIVES, _NUMBERS, _COUNTED, _THINGS, _WEATHER)
)
ACTIONS = [(_read(verb)[0], _read(objects)) for verb, objects in _ACTIONS.items()]
_read(_SMALL)
WORDS = {word: tuple(READINGS[word]) for word in sorted(READINGS)}
"""Every word of the grammar and its toned syllables."""
CHARACTERS = sorted(set("".join(WORDS)))


def syllables(words: Sequence[str]) -> list[str]:
    """Toned syllables of a sentence, one for each character."""
    return [syllable for word in words for syllable in WORDS[word]]


def spoken(phrases: Sequence[Sequence[str]]) -> list[str]:
    """What espeak-ng is given in the voices of `voice`: each phrase in pinyin, so that no reading is left to it."""
    return [" ".join(syllables(phrase)) for phrase in phrases]


def sentence(random: Random, phrases: int = 2) -> list[list[str]]:
    """A sentence of so many phrases of two to eight words, each said in a breath."""
    return [phrase(random) for _ in range(phrases)]


def new_sentence(random: Random, taken: Collection[str], phrases: int = 2) -> list[list[str]]:
    """A sentence whose characters are not in `taken`."""
    while True:
        made = sentence(random, phrases)
        if "".join(map("".join, made)) not in taken:
            return made


def phrase(random: Random) -> list[str]:
    """The words of one phrase."""
    pick = random.choice
    who = list(pick(PEOPLE))
    kind = random.randrange(12)
    if kind < 5:
        return [*(pick(TIMES) if random.random() < 0.5 else ()), *who, *pick([(), ("在", *pick(PLACES))]), *act(random)]
    if kind == 5:
        return [*pick(TIMES), *who, *pick([("再",), ("想",), ("要",), ()]), "去", *pick(PLACES), *act(random)]
    if kind == 6:
        return [*who, "从", *pick(PLACES), "到", *pick(PLACES)]
    if kind == 7:
        return [*pick(TIMES), *pick([("在", *pick(PLACES)), ()]), *pick(WEATHER), *pick([("了",), ("吗",), ()])]
    if kind == 8:
        return [*pick(PLACES), "的", *pick(THINGS), "很", *pick(ADJECTIVES)]
    if kind == 9:
        return [*who, *pick([("有",), ("给", *pick(PEOPLE))]), *pick(NUMBERS), *pick(COUNTED)]
    if kind == 10:
        return [*who, "和", *pick(PEOPLE), "都", "是", *pick(PLACES), "的", *pick(PEOPLE)]
    return [*pick(PLACES), "有", *pick(NUMBERS), *pick(COUNTED)]


def act(random: Random) -> list[str]:
    """Somebody does something."""
    verb, objects = random.choice(ACTIONS)
    adverb = random.choice(ADVERBS) if random.random() < 0.5 else ()
    return [*adverb, *verb, *random.choice(objects)]


def voice(random: Random, index: int) -> Speaker:
    """A speaker unlike any other index's; women (even) and men take turns. Reads pinyin with tone numbers."""
    group = MALE if index % 2 else FEMALE
    variant = group[index // 2 % len(group)]
    return Speaker(f"cmn-latn-pinyin+{variant}", random.randint(130, 175), random.randint(35, 65))

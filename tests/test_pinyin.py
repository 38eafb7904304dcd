"""Pinyin: readings by phrase and of characters, the user's dictionary, initials and finals, lexicons of syllables."""

import subprocess
import sys
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.files import read_json, write_jsonl
from egret.lang import pinyin

ROOT = Path(__file__).resolve().parents[1]


# Readings


@pytest.mark.parametrize(
    ("text", "syllables"),
    [
        ("银 行 行 长", "yin2 hang2 hang2 zhang3"),
        ("银行 行长", "yin2 hang2 hang2 zhang3"),
        ("快 乐 的 音 乐 家", "kuai4 le4 de5 yin1 yue4 jia1"),
        ("重 庆 很 重 要", "chong2 qing4 hen3 zhong4 yao4"),
        ("绿 女 略 虐 去 月", "lv4 nv3 lve4 nve4 qu4 yue4"),
        ("桌 子", "zhuo1 zi5"),
        ("玩 儿", "wan2 er2"),
        ("一 会 儿", "yi1 hui4 er5"),
    ],
)
def test_characters_are_read_by_phrase(text, syllables):
    assert pinyin.to_syllables(text.split()) == syllables.split()


def test_the_end_of_a_longer_word_begins_no_phrase():
    assert pinyin.to_syllables(["音", "乐"])[1] == "yue4" != pinyin.to_syllables(["高音", "乐"])[2]


def test_what_has_no_syllable_is_marked_in_its_place():
    assert pinyin.to_syllables(["卡拉OK", "HELLO", "大", "𠮷", "3"]) == [
        "ka3", "la1", "<OK>", "<HELLO>", "da4", "<𠮷>", "<3>"
    ]  # fmt: skip


def test_every_syllable_read_is_in_the_inventory():
    text = "他们都会得到重庆银行行长的音乐了解一点儿"
    assert set(pinyin.to_syllables(list(text))) <= set(pinyin.inventory())


def test_the_inventory_is_toned_syllables_only_and_as_many_as_expected():
    names = pinyin.inventory()
    assert all(map(pinyin.is_syllable, names)) and 1400 < len(names) < 1600


def test_a_character_has_all_its_readings_the_commonest_first():
    assert pinyin.pronunciations("行") == [["xing2"], ["hang2"], ["heng2"], ["xing4"], ["hang4"]]


def test_readings_that_only_phrases_have_are_found():
    assert ["zi5"] in pinyin.pronunciations("子") and ["bu2"] in pinyin.pronunciations("不")


def test_rare_readings_can_be_left_out():
    assert pinyin.pronunciations("儿", rare=False) == [["er2"], ["er5"]]


def test_a_word_has_its_phrase_s_readings_and_the_tones_that_change_in_speech():
    assert pinyin.pronunciations("朝阳") == [["zhao1", "yang2"], ["chao2", "yang2"]]
    found = pinyin.pronunciations("一会儿")
    assert found[0] == ["yi1", "hui4", "er5"] and ["yi2", "hui4", "er2"] in found and len(found) == 6


def test_a_word_with_latin_letters_has_no_reading():
    assert pinyin.pronunciations("卡拉OK") == pinyin.pronunciations("OK") == []


def test_every_syllable_of_the_inventory_has_a_character_that_is_read_so():
    characters = pinyin.characters_of()
    assert list(characters) == pinyin.inventory()
    assert all(name in pinyin.readings(row[0]) for name, row in characters.items())


def test_the_characters_of_a_syllable_begin_with_common_ones():
    assert {pinyin.characters_of()[name][0] for name in ("wo3", "ren2", "xue2", "guo2")} == set("我人学国")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Lü4", "lv4"), ("lu:4", "lv4"), ("lue4", "lve4"), ("de0", "de5"), ("jv2", "ju2"), ("xüe2", "xue2"), ("a", "a")],
)
def test_ways_of_writing_a_syllable_become_one(text, name):
    assert pinyin.canonical(text) == name


def test_importing_the_module_does_not_import_pypinyin():
    code = "import sys, egret.lang.pinyin; print('pypinyin' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


# Initials and finals


@pytest.mark.parametrize(
    ("syllables", "phones"),
    [
        ("lv4 shi4 yang2 chun1", "l v4 sh ix4 ii iang2 ch un1"),
        ("da4 kuai4 wen2 zhang1", "d a4 k uai4 uu un2 zh ang1"),
        ("si4 yue4 de5 ang4 ran2", "s iy4 vv ve4 d e5 aa ang4 r an2"),
        ("yi1 you2 yong4 yuan2 yun2 yin1", "ii i1 ii iu2 ii iong4 vv van2 vv vn2 ii in1"),
        ("wu3 wei4 weng1 wo3", "uu u3 uu ui4 uu ueng1 uu uo3"),
        ("ju1 quan2 xun4 xue2 xiong2", "j v1 q van2 x vn4 x ve2 x iong2"),
        ("er4 e2 ou3 nve4", "ee er4 ee e2 oo ou3 n ve4"),
        ("dianr3 zher4", "d ianr3 zh er4"),
    ],
)
def test_initials_and_finals_are_those_of_chinese_lexicons(syllables, phones):
    assert [phone for each in syllables.split() for phone in pinyin.initial_final(each)] == phones.split()


def test_every_syllable_of_the_inventory_has_an_initial_and_a_toned_final_of_its_own():
    nasal = {"n", "ng", "m", "hm", "hng"}
    names = [name for name in pinyin.inventory() if pinyin.toneless(name) not in nasal]
    parts = [tuple(pinyin.initial_final(name)) for name in names]
    assert len(set(parts)) == len(names)
    assert all(len(part) == 2 and pinyin.tone(part[1]) for part in parts)


@pytest.mark.parametrize("name", ["zhong", "<OK>", "zh4", "Ma3", ""])
def test_what_is_no_syllable_has_no_initial(name):
    with pytest.raises(EgretError, match="no .*syllable"):
        pinyin.initial_final(name)


# The user's dictionary


def dictionary(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "dict.txt").write_bytes(text.encode(encoding))
    return folder / "dict.txt"


def test_a_dictionary_in_asrt_s_form_is_read(tmp_path):
    path = dictionary(tmp_path, "\ufeffa1\t阿啊呵\r\na5\t啊\r\n\r\nlü4\t绿\r\n")
    assert pinyin.read_dictionary(path) == {"阿": ["a1"], "啊": ["a1", "a5"], "呵": ["a1"], "绿": ["lv4"]}


def test_the_dictionary_is_laid_on_top_of_what_is_known(tmp_path):
    own = pinyin.read_dictionary(dictionary(tmp_path, "biang2\t𰻝\nxing5\t行\n"))
    assert pinyin.readings("𰻝", own) == ["biang2"] and pinyin.readings("行", own)[0::5] == ["xing2", "xing5"]
    assert pinyin.to_syllables(list("吃𰻝面"), own) == ["chi1", "biang2", "mian4"]
    assert "𰻝" in pinyin.characters_of(own)["biang2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a1 阿啊\n", "dict.txt:1: expected `syllable<TAB>characters`"),
        ("a1\t阿\na2\t\n", "dict.txt:2: expected"),
        ("a\t阿\n", "dict.txt:1: 'a' is no toned syllable"),
        ("a1\t阿b\n", "dict.txt:1: 'b' is no Chinese character"),
        ("\n", "dict.txt: nothing in it"),
    ],
)
def test_what_is_wrong_in_a_dictionary_is_said_with_its_line(tmp_path, text, says):
    with pytest.raises(EgretError, match=r".*") as error:
        pinyin.read_dictionary(dictionary(tmp_path, text))
    assert says in str(error.value)


def test_a_dictionary_in_another_encoding_or_not_there_is_an_error(tmp_path):
    with pytest.raises(EgretError, match="convert it with iconv"):
        pinyin.read_dictionary(dictionary(tmp_path, "a1\t阿\n", "gbk"))
    with pytest.raises(EgretError, match="no such file"):
        pinyin.read_dictionary(tmp_path / "none.txt")


# A lexicon by steps/prepare_lexicon.py


@pytest.fixture
def lexicon(run_step, tmp_path):
    """The lexicon that --source pinyin makes of words."""

    def make(words: str, *arguments: str) -> list[str]:
        (tmp_path / "words.txt").write_text(words)
        run_step("prepare_lexicon", tmp_path, "--source", "pinyin", "--words", "words.txt", "--normaliser", "mandarin",
                 "--out", "out", *arguments)  # fmt: skip
        return (tmp_path / "out/lexicon.txt").read_text().splitlines()

    return make


def test_words_and_their_characters_are_in_the_lexicon(lexicon):
    assert lexicon("银行\n", "--extra", "none") == [
        "行 xing2", "行 hang2", "行 heng2", "行 hang4", "银 yin2", "银行 yin2 hang2"
    ]  # fmt: skip


def test_the_lexicon_may_have_initials_and_finals(lexicon):
    assert lexicon("儿\n", "--kind", "phone", "--extra", "none", "--variants", "false") == ["儿 ee er2"]


def test_words_without_syllables_are_left_out_and_reported(lexicon, tmp_path):
    assert lexicon("人\nHELLO\n", "--extra", "none") == ["人 ren2"]
    assert read_json(tmp_path / "out/report.json")["unpronounced"] == {"HELLO": 0}


def test_latin_words_of_the_transcripts_are_units_of_their_own(lexicon, tmp_path):
    cut = {"id": "a", "start": 0, "duration": 1, "supervisions": [{"id": "a", "start": 0, "text": "人 HELLO"}]}
    write_jsonl(tmp_path / "cuts.jsonl", [cut])
    assert lexicon("人\n", "--cuts", "cuts.jsonl", "--extra", "none") == ["HELLO <HELLO>", "人 ren2"]


def test_the_commonest_words_of_the_texts_come_first(lexicon, tmp_path):
    (tmp_path / "text.txt").write_text("时 是 是\n")
    assert lexicon("事\n", "--text", "text.txt", "--extra", "none", "--variants", "false") == [
        "是 shi4", "时 shi2", "事 shi4"
    ]  # fmt: skip


def test_common_characters_come_along_where_they_need_no_unit_besides(lexicon):
    entries = lexicon("人\n")
    assert "任 ren2" in entries and {line.split()[1] for line in entries} == {"ren2"}


def test_the_user_s_dictionary_is_in_the_lexicon(lexicon, tmp_path):
    dictionary(tmp_path, "ren5\t人\nren2\t𰻝\n")
    assert {"人 ren2", "人 ren5", "𰻝 ren2"} <= set(lexicon("人\n", "--dictionary", "dict.txt"))


def test_words_put_together_of_characters_with_several_readings_are_listed(lexicon, tmp_path):
    lexicon("今天\n行了\n", "--extra", "none")
    assert (tmp_path / "out/g2p.txt").read_text() == "行了 xing2 le5\n"

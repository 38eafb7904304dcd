"""Text is cut into the words of a vocabulary; nothing of it is lost."""

import math
import random
import time
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.lang import segment
from egret.lang.segment import segmenter

WORDS = ["研究", "研究生", "生命", "命", "起源", "今天", "天", "T恤", "卡拉OK", "OK"]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("研 究 生 命 起 源", "研究生 命 起源"),
        ("今 天 天", "今天 天"),
        ("今天天", "今天 天"),
        ("穿 T 恤 唱 卡 拉 OK", "穿 T恤 唱 卡拉OK"),
        ("OK 今 TT 恤 O K", "OK 今 TT 恤 O K"),
        ("", ""),
    ],
)
def test_longest_match_from_left_to_right(text: str, cut: str):
    assert segmenter("lexicon", WORDS)(text) == cut


def test_none_changes_nothing():
    assert segmenter("none", WORDS)("今 天") == "今 天"


def test_frequencies_decide_where_words_compete(monkeypatch):
    counts = {"研究": 100, "研究生": 1, "生命": 100, "命": 10, "起源": 50, "今天": 10}
    monkeypatch.setattr(segment, "jieba_frequencies", lambda: counts)
    assert segmenter("jieba", WORDS)("研 究 生 命 起 源") == "研究 生命 起源"


def test_only_words_of_the_vocabulary_come_out(monkeypatch):
    monkeypatch.setattr(segment, "jieba_frequencies", lambda: {"研究": 9, "生命": 9, "起源": 9})
    assert segmenter("jieba", ["研究", "命"])("研 究 生 命 起 源") == "研究 生 命 起 源"


def test_a_word_that_the_frequencies_lack_is_not_cut_up(monkeypatch):
    monkeypatch.setattr(segment, "jieba_frequencies", lambda: {"卡": 1000, "拉": 1000, "今": 500})
    assert segmenter("jieba", ["卡", "拉", "今", "卡拉OK", "卡拉"])("今 卡 拉 卡 拉 OK") == "今 卡拉 卡拉OK"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_words_are_those_of_jieba_itself():
    import jieba

    counts = segment.jieba_frequencies()
    cut = segmenter("jieba", counts)
    total = sum(counts.values())
    rng = random.Random(1)
    words = [word for word in counts if all("\u4e00" <= each <= "\u9fd5" for each in word)]
    for _ in range(100):
        text = "".join(rng.choices(words, k=8))
        ours, theirs = cut(text).split(), list(jieba.cut(text, HMM=False))
        # Of equally likely ways either is right.
        assert likelihood(ours, counts, total) == pytest.approx(likelihood(theirs, counts, total))


def likelihood(words: list[str], counts: dict[str, int], total: int) -> float:
    return sum(math.log((counts.get(word) or 1) / total) for word in words)


def test_without_jieba_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EgretError, match="jieba is not installed; run local/install.sh, or say --segment lexicon"):
        segmenter("jieba", WORDS)


def test_a_damaged_dictionary_of_jieba_is_named(monkeypatch, tmp_path: Path):
    (tmp_path / "dict.txt").write_text("今天\n")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(EgretError, match="dict.txt: jieba's dictionary cannot be read"):
        segmenter("jieba", WORDS)


def test_a_long_text_takes_no_longer_by_the_character():
    cut = segmenter("lexicon", WORDS)
    began = time.process_time()
    cut("研究生命" * 25_000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("how", ["lexicon", "jieba"])
def test_nothing_is_lost(how, monkeypatch):
    monkeypatch.setattr(segment, "jieba_frequencies", lambda: {"研究": 9, "天": 7, "今天": 3})
    cut = segmenter(how, WORDS)
    rng = random.Random(1)
    for _ in range(500):
        text = "".join(rng.choices("研究生命起源今天T恤卡拉OK ", k=12))
        assert cut(text).replace(" ", "") == text.replace(" ", "")

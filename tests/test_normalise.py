"""Texts that look the same are the same after normalisation."""

import json
import random
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from egret.base.errors import EgretError, UsageError
from egret.lang import english, mandarin
from egret.lang.normalise import NORMALISERS, identity, normalise, normalised_word

# Of what numbers, units and punctuation are written with.
WRITTEN = "0123456789.,:/-~$%¥£€½²&'’<>(《》℃ 年月日个第点万亿一〇AbtsrdhkK"


def test_white_space_of_every_kind_becomes_one_space():
    assert normalise("  a\tb\r\nc\u3000d\u00a0e\u2028f ") == "a b c d e f"


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b", "\u200d", "\u00ad", "\u202e", "\x00", "\x07", "\x7f", "\ud800"])
def test_what_cannot_be_seen_is_removed_even_inside_a_word(hidden: str):
    assert normalise(f"{hidden}ab{hidden}cd{hidden}") == "abcd"


def test_a_letter_and_its_accent_are_composed():
    assert normalise("e\u0301te\u0301") == "\u00e9t\u00e9"


def test_an_accent_behind_a_hidden_character_is_composed_too():
    assert normalise("e\u200b\u0301") == "\u00e9"


def test_full_width_letters_and_case_are_kept_by_plain():
    assert normalise("Ａb 今天 안녕", "plain") == "Ａb 今天 안녕"


def test_upper_and_lower_change_case_of_every_script():
    assert (normalise("Straße élan", "upper"), normalise("ÉLAN ДОМ", "lower")) == ("STRASSE ÉLAN", "élan дом")


def test_nothing_visible_gives_an_empty_text():
    assert normalise("\ufeff \u200b\n") == ""


@pytest.mark.parametrize("name", NORMALISERS)
def test_numbers_and_punctuation_of_any_kind_are_normalised_once(name: str):
    rng = random.Random(2)
    for _ in range(2000):
        once = normalise("".join(rng.choices(WRITTEN, k=rng.randrange(1, 16))), name)
        assert normalise(once, name) == once


@pytest.mark.parametrize("name", ["english", "mandarin"])
def test_no_digit_is_left(name: str):
    rng = random.Random(3)
    for _ in range(2000):
        assert not any(map(str.isdecimal, normalise("".join(rng.choices(WRITTEN, k=12)), name)))


@pytest.mark.parametrize("name", ["english", "mandarin"])
@pytest.mark.parametrize("part", ["1", "1,", "1,111", "1-", "1.2", "1/", "1:", "<a", "'", "$1", " -1"])
def test_a_very_long_text_takes_no_longer_by_the_character(name: str, part: str):
    began = time.process_time()
    normalise(part * (20_000 // len(part)), name)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", NORMALISERS)
def test_a_normalised_text_stays_as_it_is(name: str):
    rng = random.Random(1)
    for _ in range(3000):
        text = "".join(chr(rng.randrange(sys.maxunicode + 1)) for _ in range(6)) + rng.choice(["e\u0301", "İ", "ŉ"])
        once = normalise(text, name)
        assert normalise(once, name) == once
        assert unicodedata.is_normalized("NFC", once)


def test_an_identity_is_a_name_and_a_version():
    assert identity("plain") == {"name": "plain", "version": 1}


def test_an_unknown_name_is_wrong_usage_and_the_nearest_is_suggested():
    with pytest.raises(UsageError, match="'plian': there is no such; did you mean 'plain'"):
        normalise("a", "plian")


@pytest.mark.parametrize(
    ("word", "name", "written"),
    [
        ("今天", "mandarin", "今天"),
        ("T恤", "mandarin", "T恤"),
        ("卡拉ok", "mandarin", "卡拉OK"),
        ("don’t", "english", "DON'T"),
        ("<UNK>", "english", "<UNK>"),
        ("<SPOKEN_NOISE>", "mandarin", "<SPOKEN_NOISE>"),
        ("Haus", "plain", "Haus"),
    ],
)
def test_a_word_of_a_lexicon_stays_in_one_piece(word: str, name: str, written: str):
    assert normalised_word(word, name) == written


@pytest.mark.parametrize(
    ("word", "name"), [("!", "mandarin"), ("\u200b", "plain"), ("mother-in-law", "english"), ("wi-fi", "mandarin")]
)
def test_a_word_that_no_normalised_text_can_have_is_none(word: str, name: str):
    assert normalised_word(word, name) == ""


@pytest.mark.parametrize(("name", "text"), [("mandarin", "今天天气很好，Hello。"), ("english", "It's a “nice” day.")])
def test_libraries_for_numbers_are_imported_with_the_first_number(name: str, text: str):
    code = (
        "import sys; from egret.lang.normalise import normalise; normalise(sys.argv[2], sys.argv[1]);"
        "print({'num2words', 'cn2an'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, name, text], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("name", "library"), [("english", "num2words"), ("mandarin", "cn2an")])
def test_a_library_for_numbers_that_is_not_there_is_named(name: str, library: str, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    for part in (english._speaker, english._words, mandarin._reader, mandarin.cardinal):
        part.cache_clear()
    with pytest.raises(EgretError, match=f"need {library}, which is not installed; run local/install.sh"):
        normalise("7", name)


@pytest.mark.parametrize(("name", "text"), [("mandarin", "。。《》 …"), ("english", "-- ? '")])
def test_an_utterance_without_words_is_rejected(name: str, text: str, tmp_path: Path):
    from egret.corpus.prepare import PrepareOptions, Utterance, prepare

    noise = np.random.RandomState(1).randint(-2000, 2000, (2, 8000)).astype(np.int16)
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", noise[number], 8000)
    utterances = [Utterance(f"u{n}", tmp_path / f"{n}.wav", said, "s") for n, said in enumerate(["7", text])]
    options = PrepareOptions(out=tmp_path / "cuts", normaliser=name, max_reject_percent=100.0, workers=1)
    prepare({"train": utterances}, options)
    rejected = [json.loads(line) for line in (tmp_path / "cuts/rejected.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in rejected] == [("u1", "empty text")]

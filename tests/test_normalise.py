"""Texts that look the same are the same after normalisation."""

import random
import sys
import unicodedata

import pytest

from egret.base.errors import UsageError
from egret.lang.normalise import NORMALISERS, identity, normalise


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

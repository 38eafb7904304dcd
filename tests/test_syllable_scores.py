"""Scores of a syllable system: syllables with and without tones, and characters that only sound right."""

from pathlib import Path

import pytest

from egret.base.files import read_json, write_json, write_jsonl
from egret.lang.lang import Lang
from egret.scoring.syllables import (
    Spoken,
    heard_pinyin,
    heard_units,
    homophone_errors,
    spoken,
    syllable_scores,
    symbols,
)
from folders import PREPARE_LANG

LEXICON = "这 zhe4\n是 shi4\n事 shi4\n中 zhong1\n国 guo2\n"


@pytest.fixture
def lang(tmp_path: Path) -> Lang:
    (tmp_path / "dictionary.txt").write_text(LEXICON)
    options = PREPARE_LANG.Options(kind="syllable", lexicon=tmp_path / "dictionary.txt", spoken="syllables",
                                   out=tmp_path / "lang")  # fmt: skip
    PREPARE_LANG.run(options)
    return Lang.read(tmp_path / "lang")


def scores(lang: Lang, ref: str, said: str, hyp: str, heard: str) -> dict:
    """Scores of one utterance: characters and syllables of the reference, words and units of the hypothesis."""
    refs = Spoken({"a": said.split()}, 1, "lexicon", [])
    units = heard_units(lang, {"a": heard.split()})
    return syllable_scores(refs, units, {"a": ref.split()}, {"a": hyp.split()})


def test_syllables_are_counted_with_and_without_tones(lang):
    found = scores(lang, "这 是 中 国", "zhe4 shi4 zhong1 guo2", "这 是 国", "zhe4 shi2 guo1 guo2")
    assert (found["ser"], found["ser_toneless"], found["ref"], found["sub"]) == (50.0, 25.0, 4, 2)


def test_special_units_are_no_syllables(lang):
    assert scores(lang, "这", "zhe4", "这", "<unk> zhe4")["ser"] == 0


def test_a_missing_hypothesis_counts_as_deleted_syllables(lang):
    refs = Spoken({"a": ["zhe4"], "b": ["shi4"]}, 2, "lexicon", [])
    found = syllable_scores(refs, heard_units(lang, {"a": ["zhe4"]}), {"a": ["这"], "b": ["是"]}, {"a": ["这"]})
    assert (found["ser"], found["del"]) == (50.0, 1)


def test_a_wrong_character_whose_syllable_is_right_is_a_homophone_error(lang):
    found = scores(lang, "这 是 中 国", "zhe4 shi4 zhong1 guo2", "这 事 种 国", "zhe4 shi4 zhong3 guo2")
    assert (found["homophone_errors"], found["homophone_percent"]) == (1, 25.0)


@pytest.mark.parametrize(
    ("ref", "said", "hyp", "heard", "count"),
    [
        ("是 国", "shi4 guo2", "事 国", "shi4 guo2", 1),
        ("是 国", "shi4 guo2", "十 国", "shi2 guo2", 0),
        ("是 国", "shi4 guo2", "国", "guo2", 0),
        ("是 国", "shi4 guo2", "国事 国", "guo2 shi4 guo2", 1),
        ("花 儿 是", "huar1 shi4", "花 儿 事", "hua1 er2 shi4", 1),
        ("OK 是", "<OK> shi4", "OK 事", "<OK> shi4", 1),
        ("是 是", "shi4 shi4", "", "", 0),
    ],
)
def test_homophone_errors_by_hand(ref, said, hyp, heard, count):
    assert homophone_errors(ref.split(), said.split(), hyp.split(), heard.split()) == count


def test_words_are_taken_apart_into_what_has_one_syllable_each():
    assert symbols(["今天", "OK", "好"]) == ["今", "天", "OK", "好"]


# References


def test_the_corpus_s_syllables_come_before_the_lexicon_s(lang):
    texts = {"a": ["这", "是"], "b": ["中", "国"], "c": ["外", "国"]}
    found = spoken(lang, texts, {"a": "zhe4 shi5", "b": "", "c": ""})
    assert found.syllables == {"a": ["zhe4", "shi5"], "b": ["zhong1", "guo2"]}
    assert (found.by_corpus, found.otherwise, found.outside) == (1, "lexicon", ["c"])


def test_without_a_lexicon_texts_are_read_as_pinyin():
    found = spoken(None, {"a": ["这"], "b": ["银", "行", "OK"]}, {"a": "zhei4", "b": ""})
    assert found == Spoken({"a": ["zhei4"], "b": ["yin2", "hang2", "<OK>"]}, 1, "pinyin", [])


# Text in pinyin


def in_pinyin(ref: str, said: str, hyp: str) -> dict:
    refs = Spoken({"a": said.split()}, 1, "pinyin", [])
    return syllable_scores(refs, heard_pinyin({"a": hyp.split()}), {"a": ref.split()}, {"a": hyp.split()})


def test_text_is_scored_by_its_pinyin():
    found = in_pinyin("这 是 中 国", "zhe4 shi4 zhong1 guo2", "这 事 种 国")
    assert (found["ser"], found["ser_toneless"], found["homophone_errors"]) == (25.0, 0.0, 1)


def test_how_far_the_corpus_s_syllables_differ_from_its_text_in_pinyin_is_stated():
    assert in_pinyin("这 是", "zhei4 shi4", "")["reference_text"] == {"ser": 50.0, "ser_toneless": 50.0}


# The step


@pytest.fixture
def score(lang, tmp_path, run_step):
    """Score a decoding by a model of these units; returns what was said and score.json."""
    (tmp_path / "exp/decode/dev_hlg").mkdir(parents=True)
    (tmp_path / "exp/config.yaml").write_text(f"lang: {lang.folder}\n")
    supervision = {"id": "a", "start": 0, "text": "这 是 国", "custom": {"syllables": "zhe4 shi4 guo2"}}
    write_jsonl(tmp_path / "dev.jsonl", [{"id": "a", "start": 0, "duration": 1, "supervisions": [supervision]}])
    write_json(tmp_path / "exp/decode/dev_hlg/params.json",
               {"part": "dev", "method": "hlg", "params": {}, "chosen_on": "fixed"})  # fmt: skip

    def run(*options: str, **hypothesis: object) -> tuple[str, dict]:
        write_jsonl(tmp_path / "exp/decode/dev_hlg/hyp.jsonl", [{"id": "a", **hypothesis}])
        said = run_step("score", tmp_path, "--decode", "exp/decode", "--cuts", "dev.jsonl", "--dev-part", "dev",
                        *options)  # fmt: skip
        return said, read_json(tmp_path / "exp/decode/dev_hlg/score.json")

    return run


def test_the_scores_of_a_syllable_system_are_in_score_json_and_the_table(score):
    said, found = score(words=["这", "事", "国"], tokens=["zhe4", "shi4", "guo1"])
    assert found["syllables"]["ser"] == round(100 / 3, 4) and found["syllables"]["ser_toneless"] == 0
    assert found["syllables"]["homophone_errors"] == 1
    assert found["syllables"]["references"] == {"corpus": 1, "lexicon": 0, "none": 0}
    heading, row = (line for line in said.splitlines() if line.startswith(("method", "hlg")))
    assert [name in heading for name in ("syllables % [95 %]", "toneless %", "homophones")] == [True] * 3
    assert "33.33 [33.33, 33.33]        0.00           1" in row


def test_the_rate_of_wrong_sentences_stays_what_it_was(score):
    assert score(words=["这", "事", "国"], tokens=["zhe4", "shi4", "guo2"])[1]["ser"] == 100.0


def test_hypotheses_without_units_have_no_syllable_scores(score):
    said, found = score(words=["这", "是", "国"])
    assert "syllables" not in found and "homophones" not in said


def test_another_lexicon_makes_the_scores_old(score, lang):
    hypothesis = {"words": ["这"], "tokens": ["zhe4"]}
    score(**hypothesis)
    assert "up to date" in score(**hypothesis)[0]
    (lang.folder / "lexicon.txt").write_text(LEXICON.replace("国 guo2", "国 guo4"))
    assert "input lang lexicon.txt changed" in score(**hypothesis)[0]


@pytest.fixture
def phones(lang):
    """The model's units are no syllables."""
    unit = lang.folder / "unit.json"
    write_json(unit, {**read_json(unit), "kind": "phone"})


@pytest.mark.usefixtures("phones")
def test_mandarin_of_other_units_is_scored_by_pinyin(score):
    found = score("--normaliser", "mandarin", words=["这", "事", "果"], tokens=["zh", "e4"])[1]["syllables"]
    assert (found["ser"], found["ser_toneless"], found["homophone_errors"]) == (round(100 / 3, 4), 0.0, 1)
    assert (found["hypotheses"], found["references"]) == ("pinyin", {"corpus": 1, "pinyin": 0, "none": 0})


@pytest.mark.usefixtures("phones")
def test_text_that_is_not_said_to_be_mandarin_has_no_syllable_scores(score):
    assert "syllables" not in score(words=["这"], tokens=["zhe4"])[1]

"""Confidence of words, and the rows of hyp.jsonl that it is read from."""

import math
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.scoring.confidence import confidence_scores
from egret.scoring.inputs import Hypotheses
from egret.scoring.writing import Writing

# Confidence


def test_normalised_cross_entropy_by_hand():
    # Three right words, one wrong: H = 4 h(3/4); the confidence leaves -3 log2 0.8 - log2 0.6 of it.
    before = -3 * math.log2(0.75) - math.log2(0.25)
    after = -3 * math.log2(0.8) - math.log2(0.6)
    found = confidence_scores([0.8, 0.8, 0.8, 0.4], [1, 1, 1, 0])
    assert found["nce"] == pytest.approx((before - after) / before, abs=1e-4)


def test_confidence_that_only_knows_the_rate_takes_no_uncertainty_away():
    assert confidence_scores([0.75] * 4, [1, 1, 1, 0])["nce"] == 0


def test_confidence_that_is_wrong_and_sure_costs_what_the_four_digits_kept_of_it_can_mean():
    known, rounded = (confidence_scores([1.0, value], [1, 0])["nce"] for value in (0.99995, 1.0))
    assert rounded == pytest.approx(known, abs=1e-3) == pytest.approx(1 + math.log2(5e-5) / 2, abs=1e-3)


def test_mean_confidence_of_right_and_of_wrong_words():
    found = confidence_scores([0.9, 0.7, 0.3], [1, 1, 0])
    assert (found["mean_right"], found["mean_wrong"]) == (0.8, 0.3)


def test_without_a_wrong_word_there_is_no_cross_entropy():
    assert confidence_scores([0.9], [1])["nce"] is None


def hypotheses(folder: Path, *rows: dict, normaliser: str = "plain") -> Hypotheses:
    write_jsonl(folder / "hyp.jsonl", rows)
    return Hypotheses.read(folder / "hyp.jsonl", Writing(normaliser), times=True)


def test_confidence_is_spread_over_what_the_normaliser_makes_of_a_word(tmp_path):
    row = {"id": "a", "words": ["今天", "OK"], "confidence": [0.5, 1.0], "times": [[0, 0.5], [0.5, 0.25]]}
    found = hypotheses(tmp_path, row, normaliser="mandarin")
    assert found.confidence == {"a": [0.5, 0.5, 1.0]} and found.times["a"][-1] == (0.5, 0.25)


def test_confidence_of_words_that_cannot_be_placed_is_left_out_and_counted(tmp_path):
    row = {"id": "a", "words": ["5", "%"], "confidence": [0.5, 1.0]}  # together they are read otherwise
    found = hypotheses(tmp_path, row, normaliser="mandarin")
    assert (found.confidence, found.unplaced) == ({}, ["a"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"words": ["a"]}, "not a hypothesis"),
        ({"id": "b", "words": "a"}, "not a hypothesis"),
        ({"id": "b", "words": [1]}, "not a hypothesis"),
        ({"id": "b", "words": ["a"], "confidence": []}, "confidence is not a number from 0 to 1 for each"),
        ({"id": "b", "words": ["a"], "confidence": [1.5]}, "confidence is not a number from 0 to 1"),
        ({"id": "b", "words": ["a"], "times": [[1]]}, "times is not start and duration"),
        ({"id": "a", "words": []}, "a second hypothesis of 'a'"),
    ],
)  # fmt: skip
def test_a_damaged_row_is_named_by_file_and_line(tmp_path, row, says):
    with pytest.raises(EgretError, match=f"hyp.jsonl:2: {says}"):
        hypotheses(tmp_path, {"id": "a", "words": []}, row)


def test_a_line_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "hyp.jsonl").write_text('{"id": "a", "words": []}\n{"id": "b", "wor')
    with pytest.raises(EgretError, match="hyp.jsonl:2: not valid JSON"):
        Hypotheses.read(tmp_path / "hyp.jsonl", Writing())


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "hyp.jsonl").write_bytes(b'{"id": "a", "words": ["\xff"]}\n')
    with pytest.raises(EgretError, match="hyp.jsonl: not UTF-8"):
        Hypotheses.read(tmp_path / "hyp.jsonl", Writing())

"""Errors as an independent edit distance counts them, in words, characters and mixed units, and how sure they are."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.scoring.bootstrap import intervals
from egret.scoring.errors import GAP, Errors, align, characters, count_errors, mixed
from egret.scoring.report import UNITS

ROOT = Path(__file__).parent.parent


Kinds = tuple[int, int, int]


def cheapest(ref: list[str], hyp: list[str]) -> tuple[int, set[Kinds]]:
    """Levenshtein's distance by the textbook's recursion, and the (insertions, deletions, substitutions) of all the
    alignments that have as few errors."""
    row: list[tuple[int, set[Kinds]]] = [(j, {(j, 0, 0)}) for j in range(len(hyp) + 1)]
    for i, word in enumerate(ref, 1):
        previous, row = row, [(i, {(0, i, 0)})]
        for j, other in enumerate(hyp, 1):
            ways = [(previous[j - 1], (0, 0, int(word != other))), (previous[j], (0, 1, 0)), (row[j - 1], (1, 0, 0))]
            fewest = min(cost + sum(step) for (cost, _), step in ways)
            kinds = {(ins + step[0], dels + step[1], subs + step[2])
                     for (cost, found), step in ways if cost + sum(step) == fewest
                     for ins, dels, subs in found}  # fmt: skip
            row.append((fewest, kinds))
    return row[-1]


def random_pairs(count: int) -> list[tuple[list[str], list[str]]]:
    rng = random.Random(5)
    words = ["eins", "zwei", "三", "네", "*"]
    return [(rng.choices(words, k=rng.randint(0, 9)), rng.choices(words, k=rng.randint(0, 9))) for _ in range(count)]


# Counting


def test_errors_are_those_that_an_independent_scorer_counts():
    pairs = random_pairs(1000)
    assert any(not ref for ref, _ in pairs) and any(not hyp for _, hyp in pairs)
    counts = count_errors(
        {str(n): ref for n, (ref, _) in enumerate(pairs)}, {str(n): hyp for n, (_, hyp) in enumerate(pairs)}
    )
    total = 0
    for number, (ref, hyp) in enumerate(pairs):
        found = counts.utterances[str(number)]
        fewest, kinds = cheapest(ref, hyp)
        assert (found.total, found.ref) == (fewest, len(ref))
        assert (found.ins, found.dels, found.subs) in kinds
        total += fewest
    assert counts.errors == total


def test_alignments_spell_both_sides_and_have_the_errors_counted():
    for ref, hyp in random_pairs(1000):
        pairs = list(align(ref, hyp))
        assert [left for left, _ in pairs if left != GAP] == ref
        assert [right for _, right in pairs if right != GAP] == hyp
        found = count_errors({"a": ref}, {"a": hyp}).sum
        ins, dels = (sum(pair[side] == GAP for pair in pairs) for side in (0, 1))
        assert (ins, dels) == (found.ins, found.dels)
        assert sum(left != right for left, right in pairs) == found.total


def test_reference_and_hypothesis_meet_by_id_whatever_their_order():
    refs = {"a": ["one"], "b": ["two", "three"], "c": ["four"]}
    assert count_errors(refs, dict(reversed(list(refs.items())))).errors == 0


def test_a_missing_hypothesis_counts_as_deletions_and_is_named():
    counts = count_errors({"a": ["one"], "b": ["two", "three"]}, {"a": ["one"]})
    assert (counts.sum.dels, counts.errors, counts.missing) == (2, 2, ["b"])


def test_a_hypothesis_without_reference_counts_for_nothing_and_is_named():
    counts = count_errors({"a": ["one"]}, {"a": ["one"], "stranger": ["two"]})
    assert (counts.errors, counts.strangers) == (0, ["stranger"])


def test_hypotheses_none_of_which_has_a_reference_are_refused():
    with pytest.raises(EgretError, match=r"none of 1 hypotheses has a reference \(first: stranger\)"):
        count_errors({"a": ["one"]}, {"stranger": ["one"]})


def test_rates_where_a_reference_is_empty():
    assert count_errors({"a": []}, {"a": []}).rate == 0
    assert count_errors({"a": []}, {"a": ["one", "two"]}).rate == 200
    assert count_errors({"a": [], "b": ["x", "y"]}, {"a": ["one"], "b": ["x", "y"]}).rate == 50


def test_characters_leave_spaces_out():
    assert characters(["今天", "ok"]) == ["今", "天", "o", "k"]


def test_counting_errors_needs_no_heavy_modules():
    code = "import sys, egret.scoring.errors; print(*sorted({'torch', 'numpy', 'lhotse', 'k2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Units


def test_chinese_characters_count_one_by_one_and_other_words_whole():
    assert mixed(["我", "去卡拉OK", "AND", "3號"]) == ["我", "去", "卡", "拉", "OK", "AND", "3", "號"]


@pytest.mark.parametrize(
    ("word", "units"),
    [
        ("カラオケに行く", ["カ", "ラ", "オ", "ケ", "に", "行", "く"]),
        ("노래방OK", ["노", "래", "방", "OK"]),
        ("мир", ["м", "и", "р"]),
        ("café去", ["café", "去"]),
        ("DON'T去3.5次", ["DON'T", "去", "3.5", "次"]),
    ],
)
def test_only_latin_words_and_numbers_are_whole(word, units):
    assert mixed([word]) == units


def test_latin_words_in_chinese_are_one_unit_of_cer_unless_told():
    refs, hyps = {"a": ["打", "HELLO", "字"]}, {"a": ["打", "JELLO", "字"]}
    assert [count_errors(refs, hyps, UNITS[latin]).sum for latin in ("word", "letter")] == [
        Errors(3, subs=1), Errors(7, subs=1)]  # fmt: skip


# Intervals


def test_the_interval_of_independent_words_is_that_of_the_binomial():
    rng = np.random.default_rng(1)
    wrong = rng.binomial(1, 0.2, 2000)
    [(low, high)] = intervals([(wrong.tolist(), [1] * 2000)])
    rate = wrong.mean()
    half = 1.96 * (rate * (1 - rate) / 2000) ** 0.5
    assert (low, high) == pytest.approx((100 * (rate - half), 100 * (rate + half)), abs=0.15)


def test_errors_that_come_together_widen_the_interval():
    spread = intervals([([1] * 200 + [0] * 200, [10] * 400)])[0]
    together = intervals([([10] * 20 + [0] * 380, [10] * 400)])[0]
    assert together[1] - together[0] > 2 * (spread[1] - spread[0])


def test_intervals_are_the_same_every_time_and_do_not_depend_on_the_memory_used(monkeypatch):
    parts = [([0, 1, 2, 0, 5], [4, 5, 6, 1, 9]), ([0, 0, 1, 0, 2], [10, 20, 30, 5, 40])]
    first = intervals(parts, resamples=100)
    monkeypatch.setattr("egret.scoring.bootstrap.CELLS", 35)
    assert intervals(parts, resamples=100) == first


def test_intervals_without_utterances_errors_or_words():
    assert intervals([([], []), ([], [])]) == [(0, 0), (0, 0)]
    assert intervals([([0, 0], [5, 5])]) == [(0, 0)]
    assert intervals([([0], [0])]) == [(0, 0)]

"""Scoring: errors as an independent edit distance counts them, intervals, details, and the choice of a method."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json, write_json, write_jsonl
from egret.scoring import tables
from egret.scoring.best import choose_best
from egret.scoring.bootstrap import intervals
from egret.scoring.confidence import confidence_scores
from egret.scoring.details import Tally, bucket, by_duration, by_speaker, group
from egret.scoring.errors import GAP, Errors, align, characters, count_errors, mixed
from egret.scoring.inputs import Hypotheses
from egret.scoring.report import LEAVES, UNITS
from egret.scoring.trn import trn
from egret.scoring.writing import Writing
from folders import PREPARE_LANG

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


# Tables


def test_an_utterance_is_shown_with_its_errors_under_each_other():
    refs = {"u1": ["HELLO", "WORLD", "TODAY"], "u2": ["今天", "天气", "好"], "u3": ["GONE"], "u4": []}
    hyps = {"u1": ["HELLO", "OH", "WORLD", "DAY"], "u2": ["今天", "好"], "u4": []}
    assert "".join(tables.per_utterance(refs, hyps, count_errors(refs, hyps))) == (
        "u1  2 errors in 3 words (1 ins, 0 del, 1 sub)\n"
        "  ref: HELLO ** WORLD TODAY\n"
        "  hyp: HELLO OH WORLD DAY\n"
        "             I        S\n"
        "\n"
        "u2  1 error in 3 words (0 ins, 1 del, 0 sub)\n"
        "  ref: 今天 天气 好\n"
        "  hyp: 今天 **** 好\n"
        "            D\n"
        "\n"
        "u3  1 error in 1 word (0 ins, 1 del, 0 sub, no hypothesis)\n"
        "  ref: GONE\n"
        "  hyp: ****\n"
        "       D\n"
        "\n"
        "u4  0 errors in 0 words (0 ins, 0 del, 0 sub)\n"
        "  ref:\n"
        "  hyp:\n"
    )


def test_speakers_are_listed_from_the_worst_on_with_a_row_for_all():
    refs = {"a1": ["x", "y"], "b1": ["x"], "b2": ["z"], "c1": ["x"]}
    hyps = {"a1": ["x", "y"], "b1": ["y"], "b2": ["z"], "c1": ["x"]}
    counts = count_errors(refs, hyps)
    speakers = by_speaker({"a1": "ann", "b1": "bob", "b2": "bob", "c1": ""}, counts, counts)
    rows = tables.groups_table("speaker", speakers, group("all", refs, counts, counts)).splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["bob", "2", "2", "0", "0", "1", "50.00", "50.00"],
        ["?", "1", "1", "0", "0", "0", "0.00", "0.00"],
        ["ann", "1", "2", "0", "0", "0", "0.00", "0.00"],
        ["all", "4", "5", "0", "0", "1", "20.00", "20.00"],
    ]


def test_confusions_are_listed_from_the_commonest_on():
    refs = {"1": ["a", "b"], "2": ["a", "c"], "3": ["a"], "4": ["d"]}
    hyps = {"1": ["x", "b"], "2": ["x", "c"], "3": ["y"], "4": ["d", "e"]}
    lines = [line.split() for line in tables.confusions(Tally.of(refs, hyps)).splitlines() if line.startswith("  ")]
    assert lines == [["2", "a", "->", "x"], ["1", "a", "->", "y"], ["1", "e"]]


# Mixed errors, and how texts are written


def test_chinese_characters_count_one_by_one_and_other_words_whole():
    assert mixed(["我", "去卡拉OK", "AND", "3號"]) == ["我", "去", "卡", "拉", "OK", "AND", "3", "號"]


def test_latin_words_in_chinese_are_one_unit_of_cer_unless_told():
    refs, hyps = {"a": ["打", "HELLO", "字"]}, {"a": ["打", "JELLO", "字"]}
    assert [count_errors(refs, hyps, UNITS[latin]).sum for latin in ("word", "letter")] == [
        Errors(3, subs=1), Errors(7, subs=1)]  # fmt: skip


@pytest.mark.parametrize(
    ("folds", "text", "words"),
    [
        ((), "ＡＢ　３", ["ＡＢ", "３"]),
        (("fullwidth",), "ＡＢ　３，", ["AB", "3,"]),
        (("numbers",), "有 25 个 ３", ["有", "二十五", "个", "三"]),
        (("erhua",), "玩儿 女儿 一点 儿 儿子", ["玩", "女儿", "一点", "儿子"]),
        (("erhua",), "一 点 儿 水 和 女 儿", ["一", "点", "水", "和", "女", "儿"]),
    ],
)
def test_what_is_folded_is_no_difference(folds, text, words):
    assert Writing("plain", folds).words(text) == words


def test_what_the_normaliser_does_itself_is_not_asked_for_besides():
    with pytest.raises(UsageError, match="--fold numbers: the normaliser 'mandarin' sees to that itself"):
        Writing("mandarin", ("numbers",))


# What is behind a rate


def test_words_outside_the_lexicon_are_counted_apart():
    refs = {"1": ["a", "zebra"], "2": ["a", "b"], "3": ["zebra", "b"]}
    hyps = {"1": ["a", "b"], "2": ["b", "b"], "3": ["zebra", "b"]}
    found = Tally.of(refs, hyps, known={"a", "b"}).out_of_lexicon(count_errors(refs, hyps))
    assert found == {"words": 2, "percent": round(100 * 2 / 6, 4), "types": 1, "wrong": 1, "utterances": 2,
                     "wer_of_others": 50.0, "commonest": [["zebra", 2]]}  # fmt: skip


@pytest.mark.parametrize(("seconds", "name"), [(0.0, "0-2"), (1.99, "0-2"), (2.0, "2-4"), (31.9, "16-32"), (32, "32-")])
def test_buckets_of_duration(seconds, name):
    assert bucket(seconds) == name


def test_durations_are_listed_from_the_shortest_on():
    refs = {"a": ["x"], "b": ["x"], "c": ["y"], "d": ["z"]}
    counts = count_errors(refs, {"a": ["x"], "b": ["y"], "c": ["y"], "d": ["z"]})
    found = by_duration({"a": 40.0, "b": 1.0, "c": 1.5, "d": None}, counts, counts)
    assert [(each.name, each.utterances, each.words.rate) for each in found] == [
        ("0-2", 2, 50.0), ("32-", 1, 0.0), ("?", 1, 0.0)]  # fmt: skip


def test_transcripts_for_sclite_end_with_speaker_and_utterance():
    lines = trn({"u1": ["A", "B"]}, {"u1": "ann", "u2": "", "u 3": "b(o)b"}, ["u1", "u2", "u 3"])
    assert list(lines) == ["A B (ann-u1)\n", "(u2)\n", "(b_o_b-u_3)\n"]


# Confidence


def test_normalised_cross_entropy_by_hand():
    # Three right words, one wrong: H = 4 h(3/4); the confidence leaves -3 log2 0.8 - log2 0.6 of it.
    before = -3 * math.log2(0.75) - math.log2(0.25)
    after = -3 * math.log2(0.8) - math.log2(0.6)
    found = confidence_scores([0.8, 0.8, 0.8, 0.4], [1, 1, 1, 0])
    assert found["nce"] == pytest.approx((before - after) / before, abs=1e-4)


def test_confidence_that_only_knows_the_rate_takes_no_uncertainty_away():
    assert confidence_scores([0.75] * 4, [1, 1, 1, 0])["nce"] == 0


def test_confidence_that_is_wrong_and_sure_costs_much_but_not_infinitely_much():
    found = confidence_scores([1.0, 1.0], [1, 0])["nce"]
    assert -100 < found < -1


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


# The best method


def scored(part: str, method: str, wer: float, cer: float = 0.0) -> dict:
    return {
        "part": part, "method": method, "wer": wer, "cer": cer, "ci95": {"wer": [0, 1], "cer": [0, 1]}, "ref": 10,
        "ins": 0, "del": 0, "sub": 0, "missing": 0, "ser": 0.0, "chosen_on": "dev", "params": {"beam": len(method)},
        "rtf": None, "normaliser": {"name": "plain", "version": 1},
    }  # fmt: skip


def test_the_method_is_chosen_on_dev_whatever_the_test_parts_say():
    scores = [scored("dev", "one", 5), scored("dev", "three", 4), scored("test", "one", 1), scored("test", "three", 9)]
    best = choose_best(scores, ["dev"], "", "wer")
    assert (best["method"], best["chosen_on"], best["params"]) == ("three", "dev", {"beam": 5})
    assert best["dev"]["wer"] == 4 and {part: row["wer"] for part, row in best["test"].items()} == {"test": 9}


def test_the_method_may_be_chosen_by_character_errors():
    scores = [scored("dev", "one", 5, cer=3), scored("dev", "two", 6, cer=2)]
    assert choose_best(scores, ["dev"], "", "cer")["method"] == "two"


def test_without_dev_the_stated_method_counts():
    scores = [scored("test", "one", 1), scored("test", "two", 9)]
    best = choose_best(scores, [], "two", "wer")
    assert (best["method"], best["chosen_on"], best["dev"], best["test"]["test"]["wer"]) == ("two", "fixed", None, 9)
    with pytest.raises(EgretError, match="say --main-method"):
        choose_best(scores, [], "", "wer")
    with pytest.raises(EgretError, match="did you mean 'two'"):
        choose_best(scores, [], "twoo", "wer")
    assert choose_best(scores[:1], [], "", "wer")["method"] == "one"


def test_several_dev_parts_choose_together_each_by_its_words():
    scores = [
        scored("clean", "one", 4),
        scored("clean", "two", 6),
        scored("other", "one", 9),
        scored("other", "two", 8),
    ]
    assert choose_best(scores, ["clean", "other"], "", "wer")["method"] == "one"
    for score in scores[2:]:
        score["ref"] = 30
    best = choose_best(scores, ["clean", "other"], "", "wer")
    assert (best["method"], best["chosen_on"], best["dev"], best["test"]) == ("two", "clean other", None, {})
    assert {part: row["wer"] for part, row in best["dev_parts"].items()} == {"clean": 6, "other": 8}


def test_a_dev_part_that_was_not_decoded_is_an_error():
    with pytest.raises(EgretError, match=r"no decoding of the dev part 'dev' \(there are test\)"):
        choose_best([scored("test", "one", 1)], ["dev"], "", "wer")


# The step


def make_cuts(folder: Path, part: str, texts: dict[str, str]) -> None:
    rows = [
        {"id": name, "start": 0, "duration": 1.0,
         "supervisions": [{"id": name, "start": 0, "text": text, "speaker": name.split("-")[0]}]}
        for name, text in texts.items()
    ]  # fmt: skip
    (folder / "cuts").mkdir(exist_ok=True)
    write_jsonl(folder / "cuts" / f"{part}.jsonl", rows)


def make_decoding(folder: Path, part: str, method: str, texts: dict[str, str]) -> Path:
    where = folder / "exp" / "decode" / f"{part}_{method}"
    where.mkdir(parents=True, exist_ok=True)
    write_jsonl(where / "hyp.jsonl", ({"id": n, "words": t.split(), "tokens": []} for n, t in texts.items()))
    rtf = {"encoder": 0.01, "search": 0.002, "audio_seconds": 9.0}
    about = {"part": part, "method": method, "params": {"scale": 1}, "chosen_on": "dev", "rtf": rtf}
    write_json(where / "params.json", about)
    return where


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_cuts(tmp_path, "dev", {"ann-1": "yes no", "bob-1": "no no"})
    make_cuts(tmp_path, "test", {"ann-2": "yes yes", "bob-2": "no yes", "bob-3": "no"})
    make_decoding(tmp_path, "dev", "greedy", {"ann-1": "yes no", "bob-1": "no yes"})
    make_decoding(tmp_path, "dev", "graph", {"ann-1": "yes no", "bob-1": "no no"})
    make_decoding(tmp_path, "test", "greedy", {"bob-3": "no", "bob-2": "no yes", "ann-2": "yes yes"})
    make_decoding(tmp_path, "test", "graph", {"bob-3": "no", "ann-2": "YES yes yes"})
    return tmp_path


@pytest.fixture
def step(run_step, project):
    """Run the step in this process, in `project`, and return what it said."""

    def run(*arguments: str, code: int = 0) -> str:
        return run_step("score", project, "--decode", "exp/decode", *arguments, code=code)

    return run


BOTH = ("--cuts", "cuts/dev.jsonl", "cuts/test.jsonl")


def test_the_step_scores_every_decoding_and_names_the_best(project, step):
    said = step(*BOTH, "--dev-part", "dev", "--normaliser", "lower")
    score = read_json(project / "exp" / "decode" / "test_graph" / "score.json")
    assert (score["wer"], score["ref"], score["ins"], score["del"], score["sub"]) == (60.0, 5, 1, 2, 0)
    assert (score["missing"], score["missing_first"], score["ser"]) == (1, ["bob-2"], round(200 / 3, 4))
    assert score["cer"] == round(100 * 8 / 13, 4)
    assert score["ci95"]["wer"][0] <= score["wer"] <= score["ci95"]["wer"][1]
    assert score["params"] == {"scale": 1} and score["chosen_on"] == "dev" and score["rtf"]["search"] == 0.002
    assert score["normaliser"] == {"name": "lower", "version": 1}
    best = read_json(project / "exp" / "best.json")
    assert (best["method"], best["chosen_on"], best["dev"]["wer"], best["test"]["test"]["wer"]) == (
        "graph", "dev", 0.0, 60.0
    )  # fmt: skip
    assert "test_graph: 1 of 3 utterances have no hypothesis and count as deletions: bob-2" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("graph ", "greedy "))]
    assert [row[:3] for row in rows] == [
        ["graph", "dev", "0.00"], ["greedy", "dev", "25.00"], ["graph", "test", "60.00"], ["greedy", "test", "0.00"]
    ]  # fmt: skip
    names = {"hyp.jsonl", "params.json", *LEAVES}
    assert {path.name for path in (project / "exp" / "decode" / "dev_graph").iterdir()} == names


def normaliser_of(project):
    return read_json(project / "exp" / "decode" / "test_graph" / "score.json")["normaliser"]["name"]


def test_the_normaliser_is_that_of_the_model_unless_told(project, step):
    arguments = (*BOTH, "--dev-part", "dev")
    step(*arguments)
    assert normaliser_of(project) == "plain"
    config = project / "exp" / "config.yaml"
    config.write_text("seed: 1\nnormaliser:\n  name: lower\n  version: 1\n")
    assert "input normaliser changed" in step(*arguments)
    assert normaliser_of(project) == "lower"
    step(*arguments, "--normaliser", "upper")
    assert normaliser_of(project) == "upper"
    config.write_text("normaliser:\n  name: lowr\n")
    assert "did you mean 'lower'" in step(*arguments, code=2)
    config.write_text("normaliser: [")
    assert "exp/config.yaml: cannot be read" in step(*arguments, code=1)


def test_again_is_up_to_date_until_a_hypothesis_or_a_score_changes(project, step):
    arguments = (*BOTH, "--dev-part", "dev")
    step(*arguments)
    assert "up to date" in step(*arguments)
    (project / "exp" / "best.json").unlink()
    assert "best.json is gone" in step(*arguments)
    make_decoding(project, "test", "graph", {"bob-3": "yes"})
    assert "input test_graph/hyp.jsonl changed" in step(*arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["--cuts", "cuts/dev.jsonl", "--dev-part", "dev"],
            1,
            "is of the part 'test', --cuts has dev; add its manifest",
        ),
        (["--cuts", "cuts/none.jsonl"], 1, "cuts/none.jsonl: not there; it is made by stage 0"),
        ([*BOTH], 1, "say --main-method"),
        ([*BOTH, "--main-method", "greed"], 1, "did you mean 'greedy'?"),
        ([*BOTH, "--dev-prt", "dev"], 2, "did you mean --dev-part?"),
        ([*BOTH, "--metric", "ser"], 2, "metric"),
        ([*BOTH, "--decode", "nowhere"], 1, "nowhere: no such folder; decodings are made by steps/decode.py"),
    ],
)
def test_wrong_calls_say_what_to_do(project, step, arguments, code, says):
    said = step(*arguments, code=code)
    assert says.replace("--dev-part?", "'--dev-part'?") in said.splitlines()[-1]


def test_what_failed_once_fails_in_the_same_words_again_and_can_be_mended(project, step):
    said = [step(*BOTH, code=1).splitlines()[-1] for _ in range(2)]
    assert said[0] == said[1] and "say --main-method" in said[0]
    assert "best: graph" in step(*BOTH, "--dev-part", "dev")


def test_a_hypothesis_of_another_corpus_is_refused(project, step):
    make_decoding(project, "test", "graph", {"eve-9": "no"})
    said = step(*BOTH, "--dev-part", "dev", code=1)
    assert "test_graph/hyp.jsonl: none of 1 hypotheses has a reference (first: eve-9)" in said.splitlines()[-1]


def test_two_hypotheses_of_one_utterance_are_refused(project, step):
    path = project / "exp" / "decode" / "test_graph" / "hyp.jsonl"
    path.write_text(2 * (json.dumps({"id": "bob-2", "words": []}) + "\n"))
    said = step(*BOTH, "--dev-part", "dev", code=1)
    assert "hyp.jsonl:2: a second hypothesis of 'bob-2'" in said.splitlines()[-1]


def test_the_program_ends_with_the_codes_that_recipes_rely_on(project):
    def program(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "steps" / "score.py"), "--decode", "exp/decode", *BOTH, *arguments]
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    for arguments, code in ((["--dev-part", "dev"], 0), ([], 1), (["--metric", "ser"], 2)):
        ended, said = program(*arguments)
        assert ended == code, said
        assert "Traceback" not in said


# More of the step


def read_score(project: Path, name: str) -> dict:
    return read_json(project / "exp" / "decode" / name / "score.json")


def test_hypotheses_without_reference_are_counted_and_named(project, step):
    make_decoding(project, "test", "graph", {"eve-9": "no", "bob-3": "no"})
    said = step(*BOTH, "--dev-part", "dev")
    score = read_score(project, "test_graph")
    assert (score["unreferenced"], score["unreferenced_first"], score["missing"]) == (1, ["eve-9"], 2)
    assert "note: test, graph: 1 hypothesis without a reference (eve-9) not counted" in said


def test_references_without_a_word_are_said(project, step):
    make_cuts(project, "test", {"ann-2": ""})
    make_decoding(project, "test", "graph", {"ann-2": "yes yes"})
    make_decoding(project, "test", "greedy", {"ann-2": ""})
    said = step(*BOTH, "--dev-part", "dev")
    score = read_score(project, "test_graph")
    assert (score["wer"], score["ins"], score["empty_references"]) == (200.0, 2, 1)
    assert "there are no words at all to recognise; every insertion counts as 100 %" in said


@pytest.fixture
def oracle(project) -> Path:
    """Only the floor was decoded."""
    for folder in (project / "exp" / "decode").iterdir():
        about = read_json(folder / "params.json")
        if about["method"] == "greedy":
            shutil.rmtree(folder)
        else:
            write_json(folder / "params.json", {**about, "method": "nbest_oracle", "params": {"floor": True}})
    return project


def test_floors_alone_are_scored_and_no_best_method_is_named(oracle, step):
    write_json(oracle / "exp" / "best.json", {"method": "of an earlier run"})
    said = step(*BOTH, "--dev-part", "dev")
    assert "no best method: nothing but floors was decoded" in said and "nbest_oracle  test  60.00" in said
    assert not (oracle / "exp" / "best.json").exists()


def test_floors_alone_are_up_to_date_when_they_were_scored(oracle, step):
    step(*BOTH, "--dev-part", "dev")
    assert "up to date" in step(*BOTH, "--dev-part", "dev")


def test_a_choice_that_cannot_be_made_is_refused_before_the_work(project, step):
    step(*BOTH, "--dev-part", "dve", code=1)
    assert not (project / "exp" / "decode" / "dev_graph" / "score.json").exists()


def test_what_is_behind_the_rates_is_in_details_json(project, step):
    step(*BOTH, "--dev-part", "dev", "--normaliser", "lower")
    details = read_json(project / "exp" / "decode" / "test_graph" / "details.json")
    assert [(row["speaker"], row["wer"]) for row in details["speakers"]] == [("bob", round(200 / 3, 4)), ("ann", 50.0)]
    assert [row["seconds"] for row in details["durations"]] == ["0-2"]
    assert details["confusions"]["deletions"] == {"total": 2, "different": 2, "commonest": [["no", 1], ["yes", 1]]}


def test_words_outside_the_model_s_lexicon_are_listed(project, step):
    PREPARE_LANG.run(PREPARE_LANG.Options(kind="phone", lexicon=lexicon(project), out=project / "lang"))
    (project / "exp" / "config.yaml").write_text("lang: lang\n")
    said = step(*BOTH, "--dev-part", "dev")
    assert read_score(project, "dev_greedy")["out_of_lexicon"]["commonest"] == [["no", 3]]
    table = (project / "exp" / "decode" / "dev_greedy" / "out_of_lexicon.txt").read_text()
    assert table == "word  said  wrong\nno       3      1\n"
    assert "note: dev, greedy: 3 words (75.00 %) not in the lexicon, 1 of them wrong" in said


def lexicon(project: Path) -> Path:
    (project / "lexicon.txt").write_text("yes Y\n")
    return project / "lexicon.txt"


def test_the_lexicon_may_be_given(project, step):
    PREPARE_LANG.run(PREPARE_LANG.Options(kind="phone", lexicon=lexicon(project), out=project / "lang"))
    step(*BOTH, "--dev-part", "dev", "--lang", "lang")
    found = read_score(project, "test_graph")["out_of_lexicon"]
    assert (found["lexicon"], found["words"]) == ("lang", 2)


def test_without_a_lexicon_nothing_is_outside_and_it_is_said(project, step):
    assert "words outside the lexicon are not counted" in step(*BOTH, "--dev-part", "dev")
    assert "out_of_lexicon" not in read_score(project, "dev_greedy")


def test_folding_what_is_not_there_is_refused(project, step):
    said = step(*BOTH, "--dev-part", "dev", "--fold", "erhua", code=1)
    assert "--fold erhua: is for Chinese, and cuts/dev.jsonl has none" in said


@pytest.fixture
def chinese(tmp_path) -> Path:
    """A part of one utterance with Latin words, Chinese ones, a number and erhua."""
    make_cuts(tmp_path, "dev", {"ann-1": "我 买 25 个 IPHONE 玩儿"})
    make_decoding(tmp_path, "dev", "graph", {"ann-1": "我 买 二十五 个 IPHONES 玩"})
    return tmp_path


def scored_chinese(chinese: Path, run_step, *more: str) -> dict:
    run_step("score", chinese, "--decode", "exp/decode", "--cuts", "cuts/dev.jsonl", "--dev-part", "dev", *more)
    return read_score(chinese, "dev_graph")


def test_mixed_errors_of_chinese(chinese, run_step):
    score = scored_chinese(chinese, run_step)
    assert score["latin"] == "word" and score["cer"] == score["mer"] == round(100 * 5 / 7, 4)


def test_folds_are_stated_in_the_result(chinese, run_step):
    score = scored_chinese(chinese, run_step, "--fold", "erhua", "numbers")
    assert score["folded"] == ["numbers", "erhua"] and score["mer"] == round(100 * 1 / 8, 4)


def test_latin_words_by_their_letters(chinese, run_step):
    score = scored_chinese(chinese, run_step, "--fold", "erhua", "numbers", "--cer-latin", "letter")
    assert (score["latin"], score["cer"]) == ("letter", round(100 * 1 / 13, 4))


@pytest.mark.parametrize(
    ("latin", "headings"), [("word", ["CER, MER % [95 %]"]), ("letter", ["CER % [95 %]", "MER % [95 %]"])]
)
def test_mixed_errors_have_a_column_where_they_are_not_those_in_characters(chinese, run_step, latin, headings):
    names, _ = tables.score_cells([scored_chinese(chinese, run_step, "--cer-latin", latin)])
    assert [name for name in names if name[:3] in ("CER", "MER")] == headings


def test_the_best_method_may_be_chosen_by_mixed_errors(chinese, run_step):
    scored_chinese(chinese, run_step, "--metric", "mer")
    best = read_json(chinese / "exp" / "best.json")
    assert (best["metric"], best["dev"]["mer"]) == ("mer", round(100 * 5 / 7, 4))


# Against another system


@pytest.fixture
def other(project, run_step) -> Path:
    """exp2: the same parts decoded with other errors, and scored."""
    for part, texts in (("dev", {"ann-1": "yes no", "bob-1": "no no"}), ("test", {"ann-2": "yes yes", "bob-2": "no"})):
        make_decoding(project, part, "graph", texts).rename(project / f"{part}_graph")
    (project / "exp2" / "decode").mkdir(parents=True)
    for part in ("dev", "test"):
        (project / f"{part}_graph").rename(project / "exp2" / "decode" / f"{part}_graph")
    make_decoding(project, "dev", "graph", {"ann-1": "yes no", "bob-1": "no no"})
    make_decoding(project, "test", "graph", {"bob-3": "no", "ann-2": "YES yes yes"})
    run_step("score", project, "--decode", "exp2/decode", *BOTH, "--dev-part", "dev")
    return project / "exp2"


def test_another_system_is_tested_against_by_the_same_utterances(project, other, step):
    said = step(*BOTH, "--dev-part", "dev", "--compare", "exp2")
    tests = {test["part"]: test for test in read_json(project / "exp" / "decode" / "compare.json")["tests"]}
    assert (tests["test"]["found"]["rates"], tests["test"]["verdict"]) == ([40.0, 60.0], "may be chance")
    assert "A: exp2\nB: exp\n" in said and "may be chance" in said


def test_a_change_of_the_other_system_makes_the_test_old(project, other, step, run_step):
    arguments = (*BOTH, "--dev-part", "dev", "--compare", "exp2")
    step(*arguments)
    assert "up to date" in step(*arguments)
    write_jsonl(other / "decode" / "test_graph" / "hyp.jsonl", [{"id": "ann-2", "words": ["no"]}])
    run_step("score", project, "--decode", "exp2/decode", *BOTH, "--dev-part", "dev")
    assert "input compare decode/test_graph/errors.jsonl changed" in step(*arguments)


def test_without_compare_no_comparison_stays(project, other, step):
    step(*BOTH, "--dev-part", "dev", "--compare", "exp2")
    step(*BOTH, "--dev-part", "dev")
    assert not (project / "exp" / "decode" / "compare.json").exists()


def test_texts_that_were_folded_differently_are_not_tested(project, other, step):
    said = step(*BOTH, "--dev-part", "dev", "--compare", "exp2", "--fold", "fullwidth")
    assert "texts were normalised differently: A plain 1, B plain 1, full width as half" in said


@pytest.mark.parametrize(
    ("compare", "code", "says"),
    [
        ("nowhere", 1, "--compare nowhere: no such folder"),
        ("cuts", 1, "--compare cuts: no scores in it"),
        ("exp", 2, "--compare exp: that is what is scored itself"),
    ],
)
def test_what_cannot_be_compared_with_is_refused(project, step, compare, code, says):
    assert says in step(*BOTH, "--dev-part", "dev", "--compare", compare, code=code)


def test_a_system_scored_on_other_parts_is_refused_before_the_work(project, other, step):
    shutil.rmtree(other / "decode" / "test_graph")
    for name in ("dev_graph", "dev_greedy"):
        shutil.rmtree(project / "exp" / "decode" / name)
    said = step(*BOTH, "--main-method", "graph", "--compare", "exp2", code=1)
    assert "its best method was scored on dev, this experiment on test" in said
    assert not (project / "exp" / "decode" / "test_graph" / "score.json").exists()

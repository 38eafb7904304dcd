"""Scoring: errors as an independent edit distance counts them, intervals, details, and the choice of a method."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.base.files import read_json, write_json, write_jsonl
from egret.scoring import tables
from egret.scoring.best import choose_best
from egret.scoring.bootstrap import intervals
from egret.scoring.errors import GAP, align, characters, count_errors

ROOT = Path(__file__).parent.parent


def edit_distance(ref: list[str], hyp: list[str]) -> int:
    """Levenshtein's distance by the textbook's recursion."""
    row = list(range(len(hyp) + 1))
    for i, word in enumerate(ref, 1):
        previous, row = row, [i] + [0] * len(hyp)
        for j, other in enumerate(hyp, 1):
            row[j] = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other))
    return row[-1]


def random_pairs(count: int) -> list[tuple[list[str], list[str]]]:
    rng = random.Random(5)
    words = ["eins", "zwei", "三", "네", "*"]
    return [(rng.choices(words, k=rng.randint(0, 9)), rng.choices(words, k=rng.randint(0, 9))) for _ in range(count)]


# Counting


def test_errors_are_as_few_as_an_independent_edit_distance_says():
    pairs = random_pairs(1000)
    assert any(not ref for ref, _ in pairs) and any(not hyp for _, hyp in pairs)
    counts = count_errors(
        {str(n): ref for n, (ref, _) in enumerate(pairs)}, {str(n): hyp for n, (_, hyp) in enumerate(pairs)}
    )
    for number, (ref, hyp) in enumerate(pairs):
        found = counts.utterances[str(number)]
        assert found.total == edit_distance(ref, hyp)
        assert found.ref == len(ref) and found.ref - found.dels + found.ins == len(hyp)
    assert counts.errors == sum(edit_distance(ref, hyp) for ref, hyp in pairs)


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


def test_a_hypothesis_without_reference_is_an_error_that_names_it():
    with pytest.raises(EgretError, match=r"1 of 2 hypotheses have no reference \(stranger\)"):
        count_errors({"a": ["one"]}, {"a": ["one"], "stranger": []})


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
    assert tables.per_utterance(refs, hyps, count_errors(refs, hyps)) == (
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
    rows = tables.per_speaker({"a1": "ann", "b1": "bob", "b2": "bob", "c1": ""}, counts, counts).splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["bob", "2", "2", "0", "0", "1", "50.00", "50.00"],
        ["?", "1", "1", "0", "0", "0", "0.00", "0.00"],
        ["ann", "1", "2", "0", "0", "0", "0.00", "0.00"],
        ["all", "4", "5", "0", "0", "1", "20.00", "20.00"],
    ]


def test_confusions_are_listed_from_the_commonest_on():
    refs = {"1": ["a", "b"], "2": ["a", "c"], "3": ["a"], "4": ["d"]}
    hyps = {"1": ["x", "b"], "2": ["x", "c"], "3": ["y"], "4": ["d", "e"]}
    lines = [line.split() for line in tables.confusions(refs, hyps).splitlines() if line.startswith("  ")]
    assert lines == [["2", "a", "->", "x"], ["1", "a", "->", "y"], ["1", "e"]]


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
    names = {
        "per_utt.txt",
        "per_speaker.txt",
        "confusions.txt",
        "score.json",
        "errors.jsonl",
        "hyp.jsonl",
        "params.json",
    }
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
        (["--cuts", "cuts/dev.jsonl"], 1, "is of the part 'test', --cuts has dev; add its manifest"),
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
    assert "test_graph/hyp.jsonl: 1 of 1 hypotheses have no reference (eve-9)" in said.splitlines()[-1]


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

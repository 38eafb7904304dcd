"""The step that scores: what it leaves, what it refuses, what it says; and one system against another."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from egret.base.files import read_json, write_json, write_jsonl
from egret.base.stamps import Request, write_stamp
from egret.scoring import tables
from egret.scoring.report import LEAVES
from folders import PREPARE_LANG

ROOT = Path(__file__).parent.parent


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


def test_decodings_of_two_runs_are_not_scored_together(project, step):
    folder = project / "exp/decode"
    assert "steps/decode.py has not ended there" in step(*BOTH, "--dev-part", "dev")
    outputs = sorted(folder.glob("*/hyp.jsonl"))
    write_stamp(folder, Request("decode", 1, {}, {}), outputs, {}, 1.0)
    assert "has not ended" not in step(*BOTH, "--dev-part", "dev", "--force")
    make_decoding(project, "dev", "greedy", {"ann-1": "no no", "bob-1": "no"})  # by a run that was killed after it
    said = step(*BOTH, "--dev-part", "dev", code=1)
    assert "dev_greedy/hyp.jsonl: not what the last finished run of steps/decode.py left" in said


def test_a_part_that_was_not_decoded_is_named(project, step):
    make_cuts(project, "other", {"ann-3": "yes"})
    assert "--cuts: other: not decoded" in step(*BOTH, "cuts/other.jsonl", "--dev-part", "dev")


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

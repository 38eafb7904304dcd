"""steps/decode.py with its parts divided over jobs: the same as with one, whatever fails on the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl, write_json, write_jsonl
from egret.base.stamps import Request, write_stamp
from egret.decoding.jobs import joined
from egret.decoding.options import DecodeOptions
from egret.decoding.recognise import use_threads
from egret.features import batching
from folders import ROOT, make_cuts, make_experiment, make_lang
from graphs import LEXICON

TEXTS = ["a be", "c", "ab a c", "bee", "be a"]
BASE = ["--experiment", "exp", "--lang", "lang", "--threads", "1", "--test-cuts", "feats/test.jsonl", "feats/few.jsonl"]
DEV = [*BASE, "--dev-cuts", "feats/dev.jsonl", "feats/dev2.jsonl"]
EVERY = ["--method", "ctc_greedy", "ctc_prefix_beam", "attention_beam", "joint_beam", "--nbest.keep", "2",
         "--word-times", "true", "--joint.ctc-weight", "0.1", "0.5", "0.9"]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A model with CTC and a decoder, features of two dev parts and of two test parts, one of which has no frames in
    its second utterance."""
    lang = make_lang(tmp_path / "lang", LEXICON)
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    for seed, part in enumerate(("dev", "dev2", "test")):
        make_cuts(tmp_path / f"feats/{part}.jsonl", TEXTS, [40, 12, 64, 13, 25], seed=seed)
    make_cuts(tmp_path / "feats/few.jsonl", TEXTS[:2], [30, 0], seed=9)
    return tmp_path


@pytest.fixture
def decode(run_step, project):
    def run(*arguments: str, code: int = 0) -> str:
        return run_step("decode", project, *arguments, code=code)

    return run


def left(out: Path) -> dict[str, dict]:
    """What decoding left, by folder: rows of hyp.jsonl less their scores, and params.json less the seconds."""
    found = {}
    for path in sorted(out.glob("*/hyp.jsonl")):
        rows = [{name: row.get(name) for name in ("id", "words", "tokens", "times")} for row in read_jsonl(path)]
        params = read_json(path.parent / "params.json")
        params["rtf"] = params["rtf"]["audio_seconds"]
        found[path.parent.name] = {"rows": rows, "params": params}
    return found


def scores(out: Path) -> list[float]:
    return [row["score"]["total"] or 0.0 for path in sorted(out.glob("*/hyp.jsonl")) for row in read_jsonl(path)]


@pytest.mark.parametrize("jobs", ["2", "3"])
def test_several_jobs_leave_what_one_leaves(project, decode, jobs):
    """Three are more jobs than the smallest part has utterances."""
    one = decode(*DEV, *EVERY, "--out", "one")
    many = decode(*DEV, *EVERY, "--out", "many", "--nj", jobs)
    assert len(left(project / "one")) == 16
    assert left(project / "many") == left(project / "one")
    assert scores(project / "many") == pytest.approx(scores(project / "one"), abs=1e-3)
    assert many.rsplit(": ", 1)[1] == one.rsplit(": ", 1)[1]  # the counts of the closing line
    assert {path.name for path in (project / "many").iterdir()} == {path.name for path in (project / "one").iterdir()}


@pytest.mark.k2
def test_in_the_graph_too(k2, project, decode):
    from egret.lang.lang import Lang
    from graphs import make_graph

    make_graph(project / "graph", Lang.read(project / "lang"))
    method = ["--method", "hlg_1best", "hlg_nbest", "attention_rescore", "--graph", "graph"]
    scales = ["--hlg.graph-scale", "0.3", "1", "3", "--nbest.attention-scale", "0", "1"]
    decode(*DEV, *method, *scales, "--out", "one")
    decode(*DEV, *method, *scales, "--out", "many", "--nj", "3")
    assert left(project / "many") == left(project / "one")


def test_the_choice_is_that_of_all_shares_together(project, decode):
    """The first utterance alone would be best with another weight."""
    weights = ["0.02", "0.98"]
    said = {}
    for weight in weights:
        decode(*BASE[:-2], "feats/dev.jsonl", "--method", "joint_beam", "--joint.ctc-weight", weight, "--out", "alone")
        said[weight] = [row["words"] for row in read_jsonl(project / "alone/dev_joint_beam/hyp.jsonl")]
    assert said["0.02"][0] != said["0.98"][0] and said["0.02"][2:] != said["0.98"][2:]
    cuts = list(read_jsonl(project / "feats/dev.jsonl"))
    for place, cut in enumerate(cuts):
        cut["supervisions"][0]["text"] = " ".join(said[weights[place > 0]][place])
    write_jsonl(project / "feats/dev.jsonl", cuts)
    decode(*BASE, "--dev-cuts", "feats/dev.jsonl", "--method", "joint_beam", "--joint.ctc-weight", *weights,
           "--out", "out", "--nj", "5")  # fmt: skip
    for part in ("dev", "test"):
        assert read_json(project / f"out/{part}_joint_beam/params.json")["params"]["ctc_weight"] == 0.98


def test_without_dev_the_first_setting_is_used(project, decode):
    said = decode(*BASE, "--method", "joint_beam", "--joint.ctc-weight", "0.7", "0.2", "--out", "out", "--nj", "2")
    assert "joint_beam: no dev part to choose 2 settings on; the first is used" in said
    params = read_json(project / "out/few_joint_beam/params.json")
    assert params["chosen_on"] == "fixed" and params["params"]["ctc_weight"] == 0.7


def test_what_other_jobs_have_done_is_not_done_again_when_one_failed(project, decode, monkeypatch):
    whole = batching.load_features

    def damaged(cut: dict) -> object:
        return whole(cut) * (float("nan") if cut["id"] == "test-4" else 1)

    with monkeypatch.context() as patched:
        patched.setattr(batching, "load_features", damaged)
        assert "test-4: features that are no numbers" in decode(*DEV, "--out", "out", "--nj", "2", code=1)
    assert not list((project / "out").glob("test_*")) and not list((project / "out").glob("few_*"))
    loaded: list[str] = []
    monkeypatch.setattr(batching, "load_features", lambda cut: loaded.append(cut["id"]) or whole(cut))
    said = decode(*DEV, "--out", "out", "--nj", "2")
    assert said.count("job 1 of 2 was done before") == 2 and said.count("job 2 of 2 was done before") == 1
    assert sorted(loaded) == ["test-2", "test-3", "test-4"]  # the second job's share, but for what has no frames
    decode(*DEV, "--out", "one")
    assert left(project / "out") == left(project / "one")


def test_shares_of_a_run_that_failed_do_not_stay(project, decode, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(batching, "load_features", lambda cut: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            decode(*DEV, "--out", "out", "--nj", "3")
    decode(*DEV, "--out", "out", "--nj", "3", "--job", "1", "--round", "dev")
    decode(*DEV, "--out", "out")
    assert not (project / "out/split3").exists()


def test_shares_of_another_step_stay_where_its_folder_is_given_by_mistake(project, decode):
    share = project / "feats/split2/1"
    write_stamp(share, Request("extract_features", 1, {}, {}), [], {}, 0)
    for jobs in ("1", "2"):
        decode(*DEV, "--out", "feats", "--nj", jobs, "--force")
    assert share.exists()


def test_under_a_launcher(project, decode):
    decode(*DEV, "--out", "one")
    command = [sys.executable, str(ROOT / "steps/decode.py"), *DEV, "--cmd", str(ROOT / "utils/run.py")]
    done = subprocess.run([*command, "--out", "many", "--nj", "2"], cwd=project, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert left(project / "many") == left(project / "one")
    assert "1 utterances have no frames and get no words: few-1" in done.stdout  # which a job found
    names = {path.name for path in (project / "many/log").glob("*.log")}
    assert names == {f"decode.{job}.{part}.log" for job in (1, 2) for part in ("dev", "test")}


def options(project: Path, **more: object) -> DecodeOptions:
    return DecodeOptions(experiment=project / "exp", lang=project / "lang", out=project / "out",
                         test_cuts=[project / "feats/test.jsonl"], **more)  # type: ignore[arg-type]  # fmt: skip


def test_a_manifest_that_changes_on_the_way_is_refused(project, decode):
    for job in ("1", "2"):
        decode(*BASE, "--out", "out", "--nj", "2", "--job", job, "--round", "test")
    manifest = project / "feats/test.jsonl"
    given = options(project, nj=2)
    given.round = "test"
    assert [len(result.hypotheses) for result in joined(given, manifest, None)[0]] == [5]
    write_jsonl(manifest, list(read_jsonl(manifest))[::-1])
    with pytest.raises(EgretError, match="test.jsonl: changed while it was decoded"):
        joined(given, manifest, None)


@pytest.mark.parametrize("settings", [None, {"joint_beam": [{"ctc_weight": 0.3}]}])
def test_shares_of_other_settings_are_not_joined(project, decode, settings):
    """Than those of the first job, or than what was chosen."""
    for job, weight in ("1", "0.1"), ("2", "0.5"):
        words = ["--method", "joint_beam", "--joint.ctc-weight", weight, "--job", job, "--round", "test"]
        decode(*BASE, "--out", "out", "--nj", "2", *words)
    given = options(project, nj=2)
    given.round = "test"
    with pytest.raises(EgretError, match="done with other settings than are asked for"):
        joined(given, project / "feats/test.jsonl", settings)


JOINT = ["--method", "joint_beam", "--joint.ctc-weight", "0.1", "0.9"]
A_JOB = ["--out", "out", "--nj", "2", "--job", "1", "--round", "test"]


def choose(project: Path, decode, weight: float) -> None:
    """As the step does after the round of dev."""
    if not (project / "one").exists():
        decode(*DEV, *JOINT, "--out", "one")
    params = read_json(project / "one/test_joint_beam/params.json")["params"]
    write_json(project / "out/split2/chosen.json", {"joint_beam": [{**params, "ctc_weight": weight}]})


def test_a_share_of_another_choice_is_done_again(project, decode):
    choose(project, decode, 0.1)
    decode(*DEV, *JOINT, *A_JOB)
    choose(project, decode, 0.9)
    assert "was done before" not in decode(*DEV, *JOINT, *A_JOB)
    assert "was done before" in decode(*DEV, *JOINT, *A_JOB)


@pytest.mark.parametrize("now", [["--method", "ctc_greedy"], ["--method", "joint_beam"]])
def test_what_was_chosen_and_is_not_asked_for_any_more_is_refused(project, decode, now):
    """--config was edited while the jobs waited."""
    choose(project, decode, 0.1)
    said = decode(*DEV, *now, *A_JOB, code=1)
    assert "joint_beam: what was chosen of it on dev is not asked for any more" in said


def test_a_configuration_that_changes_between_the_rounds_is_refused(project):
    (project / "decode.yaml").write_text("method: [joint_beam]\nnbest: {keep: 4}\n")
    launcher = project / "launcher"
    change = "case $* in *--round?test*) sed -i s/4/5/ decode.yaml;; esac"
    launcher.write_text(f'#!/bin/sh\n{change}\nexec {ROOT}/utils/run.py "$@"\n')
    launcher.chmod(0o755)
    command = [sys.executable, str(ROOT / "steps/decode.py"), *DEV, "--config", "decode.yaml", "--cmd", str(launcher)]
    done = subprocess.run([*command, "--out", "out", "--nj", "2"], cwd=project, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "changed while it ran (nbest.keep 4 -> 5); run it again" in said, said


def test_what_the_jobs_of_this_process_have_told_is_not_told_again(project, decode):
    said = decode(*BASE, *JOINT, "--out", "out", "--nj", "2")
    assert said.count("have no frames") == said.count("no dev part to choose 2 settings on") == 1


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("egs/*/run.sh")), ids=lambda path: path.parent.name)
def test_a_recipe_divides_all_decoding_as_its_option_says(recipe):
    calls = [line for line in recipe.read_text().replace("\\\n", "").splitlines() if "steps/decode.py" in line]
    assert calls and all('--nj "$decode_nj"' in call for call in calls)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--job", "1"], 2, "--job and --round are set by the launcher"),
        (["--round", "dev"], 2, "--job and --round are set by the launcher"),
        (["--dev-cuts=[]", "--job", "1", "--round", "dev"], 2, "--round dev: there are no --dev-cuts"),
        (["--job", "3", "--round", "dev"], 2, "--job 3: there are only 2 jobs"),
        (["--job", "1", "--round", "test"], 1, "split2/chosen.json: not there; run the step as a whole"),
    ],
)
def test_a_job_by_itself_without_what_it_needs_is_refused(decode, words, code, said):
    assert said in decode(*DEV, "--out", "out", "--nj", "2", *words, code=code)


@pytest.mark.parametrize(
    ("environment", "jobs", "expected"),
    [
        ({"EGRET_LAUNCHED": "1"}, 3, [2]),
        ({"EGRET_LAUNCHED": "1"}, 9, [1]),
        ({"EGRET_LAUNCHED": "1", "OMP_NUM_THREADS": "4"}, 3, []),
        ({}, 3, []),  # one after the other
    ],
)
def test_launched_jobs_share_the_cores_unless_the_launcher_says_otherwise(
    project, monkeypatch, environment, jobs, expected
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("EGRET_LAUNCHED", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8))
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    use_threads(options(project, nj=jobs))
    assert threads == expected

"""The yesno recipe as a user runs it: on its miniature and on the real recordings, killed, and called wrongly."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = range(6)
MARK = "EGRET_TEST_RECIPE"  # in the environment of all that a recipe starts

pytestmark = [pytest.mark.k2, pytest.mark.slow]


class Recipe:
    """A copy of the recipe in a house of links to this one, so that nothing is left in the checkout."""

    def __init__(self, house: Path) -> None:
        house.mkdir()
        for name in ["steps", "utils", "egret", "local", "requirements", "path.sh", "cmd.sh"]:
            (house / name).symlink_to(ROOT / name)
        self.folder = house / "egs" / "yesno"
        ignored = shutil.ignore_patterns("data", "exp", "mini", "download")
        shutil.copytree(ROOT / "egs" / "yesno", self.folder, ignore=ignored)
        self.environment = {**os.environ, "EGRET_VENV": sys.prefix, "EGRET_NO_INSTALL": "1",
                            MARK: str(self.folder)}  # fmt: skip

    def start(self, *options: str) -> subprocess.Popen:
        """Run it in a process group of its own."""
        return subprocess.Popen(["./run.sh", *options], cwd=self.folder, env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def run(self, *options: str, code: int = 0) -> str:
        """Run it to its end, check the exit code, return all that it said."""
        process = self.start(*options)
        said = process.communicate()[0]
        assert process.returncode == code, said
        assert "Traceback" not in said
        return said

    def processes(self) -> list[str]:
        """The command lines of all living processes that descend from this recipe's run.sh."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile
                if f"{MARK}={self.folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    def best(self, exp: str) -> dict:
        return json.loads((self.folder / exp / "tdnn_phone" / "best.json").read_text())

    def results(self, base: str) -> dict[str, str]:
        """The content, as a hash, of every file that a run leaves and that says nothing of time or place."""
        names = ["data/cuts/*.jsonl", "data/fbank/*.jsonl", "data/fbank/split*/*/*.h5", "data/lang_phone/[!.]*",
                 "data/lm/*.gz", "data/lm/G*", "data/graph*/HLG*", "exp/*/final.safetensors",
                 "exp/*/decode/*/hyp.jsonl", "exp/*/decode/*/per_utt.txt"]  # fmt: skip
        found = {path for name in names for path in (self.folder / base).glob(name) if path.is_file()}
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe, run on its miniature from beginning to end."""
    recipe = Recipe(tmp_path_factory.mktemp("whole") / "house")
    recipe.run("--mini", "true")
    return recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tmp_path / "house")


@dataclass
class Launched:
    """A step that the recipe runs as jobs; paths relative to the recipe's folder."""

    stage: int
    name: str
    output: Path

    def logs(self, recipe: Recipe) -> list[Path]:
        return list((recipe.folder / self.output / "log").glob(f"{self.name}*.log"))

    def stamps(self, recipe: Recipe) -> list[Path]:
        """Its own, and those of its jobs where there are several."""
        return list((recipe.folder / self.output).rglob(f".stamp.{self.name}.json"))

    def seconds(self, recipe: Recipe) -> float:
        """How long it worked, or the first of its jobs to end."""
        return min(json.loads(path.read_text())["seconds"] for path in self.stamps(recipe))


def launched_steps(recipe: Recipe) -> list[Launched]:
    """The steps that left logs of jobs, in the order of the recipe."""
    status = recipe.folder / "status.jsonl"
    recipe.environment["EGRET_STATUS"] = str(status)
    recipe.run("--mini", "true")
    del recipe.environment["EGRET_STATUS"]
    rows = [json.loads(line) for line in status.read_text().splitlines()]
    steps = [Launched(int(row["stage"]), row["step"], Path(row["output"])) for row in rows]
    return [step for step in steps if step.logs(recipe)]


def kill_at_work(recipe: Recipe, step: Launched, seconds: float) -> bool:
    """SIGKILL the recipe when a job of the step has worked for so long; False: a job of it ended before."""
    for path in step.logs(recipe) + step.stamps(recipe):
        path.unlink()
    process = recipe.start(*only(step.stage))
    while not any("options:" in path.read_text() for path in step.logs(recipe)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 2
    while left := recipe.processes():
        assert time.monotonic() < deadline, f"{step.name} goes on after its recipe was killed: {left}"
        time.sleep(0.01)
    process.communicate()
    return not step.stamps(recipe)


def only(stage: int) -> list[str]:
    return ["--mini", "true", "--stage", str(stage), "--stop-stage", str(stage)]


def test_the_miniature_is_recognised(whole: Recipe) -> None:
    assert whole.best("mini/exp")["test"]["test"]["wer"] <= 1.0


def test_run_again_every_step_is_up_to_date(whole: Recipe) -> None:
    said = whole.run("--mini", "true")
    steps = [line for line in said.splitlines() if line[2:3] == ":" and ": " in line]
    assert len(steps) == 9 and all("up to date" in line for line in steps), said


def test_status_says_that_all_is_done(whole: Recipe) -> None:
    said = whole.run("--mini", "true", "--status")
    assert [line.split()[1] for line in said.splitlines() if line[:1].isdigit()] == ["done"] * 6, said


def test_status_names_what_another_configuration_would_change(whole: Recipe) -> None:
    said = whole.run("--mini", "true", "--status", "--set", "optim.lr=0.1")
    assert "optim.lr 0.004 -> 0.1" in said
    assert [line.split()[1] for line in said.splitlines() if line[:1].isdigit()] == [*["done"] * 4, *["stale"] * 2]


def test_another_configuration_stops_at_training_and_offers_a_tag(whole: Recipe) -> None:
    said = whole.run("--mini", "true", "--stage", "4", "--set", "optim.lr=0.1", code=1)
    assert "optim.lr 0.004 -> 0.1" in said and "--tag" in said
    assert said.splitlines()[-1].startswith("=== to continue: ./run.sh --stage 4")


def test_killed_in_the_middle_of_each_step_it_ends_as_if_it_had_not_been(whole: Recipe, recipe: Recipe) -> None:
    steps = launched_steps(whole)
    assert {step.stage for step in steps} == set(STAGES)
    for stage in STAGES:
        for step in steps:
            if step.stage == stage:  # the steps before it in the stage are taken up again on the way to it
                half = max(0.05, step.seconds(whole) / 2)
                earlier_and_earlier = [half / 4**attempt for attempt in range(6)]
                killed = any(kill_at_work(recipe, step, seconds) for seconds in earlier_and_earlier)
                assert killed, f"{step.name} always ended before it was killed"
        recipe.run(*only(stage))
    assert recipe.results("mini") == whole.results("mini")


@pytest.mark.corpus
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_real_recordings_are_recognised_with_at_most_one_error(
    recipe: Recipe, real_corpus: Callable[[str], Path], seed: int
) -> None:
    recipe.run("--corpus", str(real_corpus("yesno")), "--seed", str(seed))
    score = recipe.best("exp")["test"]["test"]
    assert score["ref"] == 240 and score["wer"] <= 0.42


def test_a_stage_before_the_one_it_needs_says_which(recipe: Recipe) -> None:
    said = recipe.run("--stage", "4", code=1)
    assert "not there; it is made by" in said and "stage 1" in said


def test_a_missing_corpus_is_named(recipe: Recipe) -> None:
    said = recipe.run("--corpus", "/no/such/folder", "--stop-stage", "0", code=1)
    assert "/no/such/folder: no such folder; give --corpus DIR" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sede", "1"], "did you mean --seed"),
        (["--seed", "one"], "--seed"),
        (["--corpus"], "--corpus"),
        (["--stage", "3", "--stop-stage", "2"], "--stop-stage"),
    ],
)
def test_wrong_options_end_with_2(recipe: Recipe, options: list[str], message: str) -> None:
    assert message in recipe.run(*options, code=2)


def test_a_wrong_name_in_set_ends_with_2_and_the_nearest_name(whole: Recipe) -> None:
    said = whole.run("--mini", "true", "--stage", "4", "--set", "optim.lrr=0.1", code=2)
    assert "unknown option --optim.lrr; did you mean '--optim.lr'?" in said


def test_a_lexicon_that_lacks_a_word_is_named_with_the_word(recipe: Recipe) -> None:
    (recipe.folder / "conf/lexicon.txt").write_text("YES Y\n")
    said = recipe.run("--mini", "true", "--stop-stage", "2", code=1)
    assert "conf/lexicon.txt: lacks 1 word of the transcripts, NO (" in said

"""Several processes that train one model: they equal one with the same batches, and end together."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.training.distributed import Ranks, joined
from egret.training.experiment import begin
from egret.training.trainer import set_up
from tiny_training import SMALL_CONFORMER, Train, small_options

ROOT = Path(__file__).resolve().parents[1]
STILL = ["--model.tdnn.dropout", "0", "--model.conformer.dropout", "0", "--model.conformer.attention-dropout", "0"]
TWO = ["--num-processes", "2"]


def step_losses(folder: Path) -> list[float]:
    """The loss of every step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars("train/loss")]


@pytest.mark.parametrize(
    "model",
    [["--model.tdnn.norm", "batch"], ["--model.encoder", "conformer", *SMALL_CONFORMER]],
    ids=["tdnn", "conformer"],
)
def test_two_processes_equal_one_that_accumulates_two_batches(train: Train, tmp_path: Path, model: list[str]) -> None:
    common = ["--epochs", "10", "--batch.max-duration", "2.5", *model, *STILL]
    train("one", *common, "--accumulate", "2")
    train("two", *common, *TWO)
    one, two = step_losses(tmp_path / "one"), step_losses(tmp_path / "two")
    assert len(one) == len(two) >= 50
    assert max(abs(a - b) for a, b in zip(one[:50], two[:50], strict=True)) < 1e-4


def test_two_machines_equal_two_processes_of_one(training_arguments: list[str], train: Train, tmp_path: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    common = ["--epochs", "2", "--batch.max-duration", "2.5"]
    train("local", *common, *TWO)
    command = [sys.executable, ROOT / "steps/train.py", *training_arguments, "--out", "nodes", *common]
    command += ["--num-nodes", "2", "--rendezvous", meeting, "--node-rank"]
    started = [
        subprocess.Popen([*command, str(node)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for node in (0, 1)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert step_losses(tmp_path / "nodes") == pytest.approx(step_losses(tmp_path / "local"), abs=1e-6)


def test_what_one_process_refuses_is_said_once_and_without_a_traceback(train: Train, tmp_path: Path) -> None:
    from tiny import rewrite

    rewrite(tmp_path / "fbank/train.jsonl", {"train-003": "four", "train-004": "five"})
    said = train("exp", "--epochs", "1", *TWO, code=1)
    assert "2 of 24 utterances cannot be used" in said and "Traceback" not in said


def test_a_signal_reaches_all_of_them(training_arguments: list[str], train: Train, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "steps/train.py", *training_arguments, "--out", "exp", "--epochs", "1000", *TWO]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    while process.poll() is None and not list((tmp_path / "exp/checkpoints").glob("epoch-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "the same command goes on" in said
    state = [json.loads(path.read_text())["step"] for path in (tmp_path / "exp/checkpoints").glob("*/state.json")]
    assert f"saved after step {max(state)}" in said


def at_work_in(folder: Path) -> list[Path]:
    """The processes whose working directory it is."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            found += [place] if place.readlink() == folder.resolve() else []
    return found


def test_they_end_when_the_program_that_started_them_is_killed(
    training_arguments: list[str], train: Train, tmp_path: Path
) -> None:
    command = [sys.executable, ROOT / "steps/train.py", *training_arguments, "--out", "exp", "--epochs", "9999", *TWO]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    checkpoints = tmp_path / "exp/checkpoints"
    while process.poll() is None and not list(checkpoints.glob("epoch-*")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while at_work_in(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not at_work_in(tmp_path)


class Differing(Ranks):
    """Stands for two processes of which the other one is at another place."""

    def gather(self, value: str) -> list[str]:  # type: ignore[override]
        return [value, "step 7, batch 3 of epoch 1, 24 utterances in 9 batches"]


def test_processes_that_are_at_different_places_are_refused(tmp_path: Path) -> None:
    options = small_options(tmp_path, epochs=1)
    with pytest.raises(EgretError, match="the processes differ: step 0, .*; step 7, .* must see the same data"):
        set_up(options, begin(options, version=1), Differing())


def test_gpus_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with (
        pytest.raises(EgretError, match="--num-gpus 2: PyTorch sees no GPU"),
        joined(small_options(tmp_path, num_gpus=2)),
    ):
        pass


def test_with_twice_the_processes_the_learning_rate_goes_on_where_it_was(tmp_path: Path) -> None:
    options = small_options(tmp_path, epochs=4)
    run = set_up(options, begin(options, version=1), Ranks())
    run.progress.epoch, run.progress.step = 2, 2 * run.steps_per_epoch
    run.ranks = Ranks(size=2)
    run.steps_per_epoch //= 2
    assert run.position / run.steps == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-nodes", "2"], "--num-nodes: say where the machines meet"),
        (["--num-nodes", "2", "--node-rank", "2"], "--node-rank 2: there are 2 machines, counted from 0"),
        (["--node-rank", "1"], "--node-rank and --rendezvous go with --num-nodes"),
        (["--num-gpus", "2", "--num-processes", "2"], "--num-processes is for CPUs"),
        (["--precision", "fp16"], "--precision fp16: not on a CPU"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    train: Train, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    assert message in train("exp", "--epochs", "1", *options, code=2)

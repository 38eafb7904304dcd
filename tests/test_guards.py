"""What keeps a training alive: steps without a finite loss, batches too large for the memory, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egret.base.errors import EgretError
from egret.training import guards, trainer
from egret.training.data import Batch, Corpus
from egret.training.distributed import STOP, Ranks
from egret.training.experiment import begin
from egret.training.signals import Interrupted, ending_at_once
from egret.training.trainer import Run, set_up
from tiny_training import Train, small_options

ROOT = Path(__file__).resolve().parents[1]


def make_run(tmp_path: Path, **more: object) -> Run:
    """A run that has not begun, on the tiny corpus in tmp_path."""
    options = small_options(tmp_path, **more)
    return set_up(options, begin(options, version=1), Ranks())


def weights(run: Run) -> list:
    return [tensor.tolist() for tensor in run.model.state_dict().values()]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Makes the loss of these steps NaN."""

    def breaks(steps: set[int]) -> None:
        backward = trainer.backward

        def wrapped(run: Run, batch: object, tokens: int, place: int, halve: bool) -> float:
            loss = backward(run, batch, tokens, place, halve)
            return float("nan") if run.progress.step in steps else loss

        monkeypatch.setattr(trainer, "backward", wrapped)

    return breaks


def test_a_step_without_a_finite_loss_is_left_out_and_listed(tmp_path, broken):
    broken({2})
    counts = trainer.fit(make_run(tmp_path, epochs=1))
    rows = [json.loads(line) for line in (tmp_path / "exp/skipped.jsonl").read_text().splitlines()]
    assert counts["skipped"] == 1 and [row["step"] for row in rows] == [2] and rows[0]["ids"]


def test_a_step_that_is_left_out_changes_nothing(tmp_path, broken):
    broken(set(range(100)))
    run = make_run(tmp_path, epochs=1, **{"model.encoder": "conformer"})  # which has running statistics
    before = weights(run)
    trainer.fit(run)
    assert weights(run) == before


def test_too_many_of_them_in_a_row_end_training_with_advice(tmp_path, broken):
    broken({1, 2, 3})
    with pytest.raises(EgretError, match=r"3 steps in a row without a finite loss .* try a lower --optim.lr"):
        trainer.fit(make_run(tmp_path, epochs=1, max_skipped=2))


def test_others_in_between_let_it_go_on(tmp_path, broken):
    broken({1, 2, 4, 5})
    assert trainer.fit(make_run(tmp_path, epochs=1, max_skipped=2))["skipped"] == 4


def out_of_memory_above(limit: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of more utterances do not fit; returns the sizes of all that are tried."""
    tried: list[int] = []
    from egret.training.objective import Objective

    whole = Objective.__call__

    def called(self: Objective, batch: object) -> torch.Tensor:
        tried.append(len(batch.ids))  # type: ignore[attr-defined]
        loss = whole(self, batch)  # type: ignore[arg-type]
        if tried[-1] > limit:
            loss.backward()  # what it added before it failed must not count
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return loss

    monkeypatch.setattr(Objective, "__call__", called)
    return tried


def test_a_batch_that_does_not_fit_is_divided_and_gives_the_same_gradient(tmp_path, monkeypatch):
    plain = {"epochs": 1, "check_batches": False, "model.tdnn.dropout": 0.0}
    run = make_run(tmp_path, **plain)
    rows = max(run.batches(0), key=len)
    batch = run.train.load(rows, (1, 0))
    trainer.gradients(run, [batch], batch.tokens, guards.Buffers.of(run.model))
    wanted = [parameter.grad.clone() for parameter in run.trained]
    run.optimiser.zero_grad(set_to_none=True)
    tried = out_of_memory_above(len(rows) - 1, monkeypatch)
    trainer.gradients(run, [batch], batch.tokens, guards.Buffers.of(run.model))
    assert tried == [len(rows), len(rows) // 2, len(rows) - len(rows) // 2]
    for parameter, gradient in zip(run.trained, wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_a_step_begun_again_counts_once_in_the_running_statistics(tmp_path, monkeypatch):
    run = make_run(tmp_path, epochs=1, check_batches=False, **{"model.tdnn.norm": "batch"})
    batch = run.train.load(max(run.batches(0), key=len), (1, 0))
    before = guards.Buffers.of(run.model)
    trainer.set_training_mode(run.model, [])
    trainer.backward(run, batch, batch.tokens, 0, halve=True)
    wanted = guards.Buffers.of(run.model).kept
    before.put_back()
    out_of_memory_above(len(batch.ids) - 1, monkeypatch)
    trainer.gradients(run, [batch], batch.tokens, before)
    changed = [not torch.equal(*pair) for pair in zip(before.kept, wanted, strict=True)]
    assert any(changed) and all(map(torch.equal, run.model.buffers(), wanted))


class Scaler:
    """Stands for GradScaler, which is for GPUs only."""

    def __init__(self) -> None:
        self.size, self.stepped = 8.0, False

    def step(self, optimiser: object) -> None:
        self.stepped = True

    def update(self, size: float) -> None:
        self.size = size

    def get_scale(self) -> float:
        return self.size

    def get_backoff_factor(self) -> float:
        return 0.5


def test_in_fp16_a_step_that_is_left_out_only_makes_the_scale_smaller(tmp_path):
    run = make_run(tmp_path, epochs=1)
    run.scaler = Scaler()
    trainer.make_step(run, skip=True)
    assert (run.scaler.size, run.scaler.stepped) == (4.0, False)


def test_half_a_batch_that_does_not_fit_ends_training(tmp_path, monkeypatch):
    run = make_run(tmp_path, epochs=1, check_batches=False)
    out_of_memory_above(1, monkeypatch)
    with pytest.raises(EgretError, match="even for half of a batch.*lower --batch.max-duration"):
        trainer.fit(run)


def test_other_errors_are_no_want_of_memory(tmp_path, monkeypatch):
    run = make_run(tmp_path, epochs=1, check_batches=False)
    monkeypatch.setattr("egret.training.objective.Objective.__call__", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        trainer.fit(run)


def test_the_largest_batches_are_tried_first(tmp_path, monkeypatch):
    out_of_memory_above(1, monkeypatch)
    with pytest.raises(EgretError, match="memory is too small for a batch of .* lower --batch.max-duration"):
        trainer.fit(make_run(tmp_path, epochs=1))
    assert not (tmp_path / "exp/checkpoints").exists()


def test_trying_them_changes_nothing(tmp_path):
    models = []
    for check in (True, False):
        trainer.fit(make_run(tmp_path, epochs=1, check_batches=check, out=f"exp{check}"))
        models.append((tmp_path / f"exp{check}/final.safetensors").read_bytes())
    assert models[0] == models[1]


def test_what_would_fit_lies_on_a_line_through_what_was_tried():
    assert guards.would_fit({10.0: 100, 20.0: 150, 15.0: 120}, total=400) == pytest.approx(70)


def test_batches_of_one_size_show_no_line():
    assert guards.would_fit({20.0: 150}, total=400) == 0


def test_what_told_several_processes_to_stop_does_not_stop_one_alone(tmp_path):
    run = make_run(tmp_path, epochs=1)
    (tmp_path / "exp" / STOP).write_text("{}")
    assert not run.warned


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_saves_and_ends_with_the_code_for_run_me_again(
    train: Train, training_arguments: list[str], tmp_path: Path, name: str
) -> None:
    train("whole", "--epochs", "40")
    command = [sys.executable, ROOT / "steps" / "train.py", *training_arguments, "--out", "told", "--epochs", "40"]
    command += ["--save-steps", "1"]  # so that it is not through before it is told
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    while process.poll() is None and not list((tmp_path / "told/checkpoints").glob("step-*")):
        time.sleep(0.005)
    process.send_signal(getattr(signal, name))
    said = process.communicate()[1]
    assert process.returncode == 75 and f"told to stop ({name})" in said
    assert "going on from" in train("told", "--epochs", "40")
    both = [load_file(tmp_path / name / "final.safetensors") for name in ("whole", "told")]
    assert all(torch.equal(tensor, both[1][key]) for key, tensor in both[0].items())


def test_a_signal_in_the_dev_part_saves_and_only_the_dev_part_is_done_again(tmp_path, monkeypatch):
    plain = {"epochs": 2, "check_batches": False}
    trainer.fit(make_run(tmp_path, out="whole", **plain))
    run = make_run(tmp_path, out="told", **plain)
    whole = trainer.plain_loss

    def told(run: Run, batch: object) -> float:
        run.warned.name = "SIGTERM"
        return whole(run, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="saved after step"):
        patch.setattr(trainer, "plain_loss", told)
        patch.setattr(trainer, "dev_batches", lambda *_: [[0], [1]])  # it is looked at between two
        trainer.fit(run)
    again = make_run(tmp_path, out="told", **plain)
    assert (again.progress.epoch, again.progress.batch) == (0, len(again.batches(0)))
    trainer.fit(again)
    assert (tmp_path / "told/final.safetensors").read_bytes() == (tmp_path / "whole/final.safetensors").read_bytes()


def test_a_signal_before_training_ends_it_at_once():
    with pytest.raises(Interrupted, match=r"told to stop \(SIGTERM\); the same command goes on"), ending_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)])
def test_it_does_so_where_a_library_makes_another_error_of_it(number, error):
    with pytest.raises(error), ending_at_once():
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except BaseException as found:
            raise RuntimeError(f"{type(found).__name__}: as pybind11 has it") from None


def test_no_memory_for_the_optimiser_is_said_in_a_line(tmp_path, monkeypatch):
    def step(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    run = make_run(tmp_path, epochs=1)
    monkeypatch.setattr(run.optimiser, "step", step)
    with pytest.raises(EgretError, match="memory is too small for the step of --optim.name adamw"):
        trainer.fit(run)


def test_no_memory_anywhere_else_is_said_in_a_line(tmp_path, monkeypatch):
    def corpus(*_: object) -> None:
        raise MemoryError("Unable to allocate 3 GiB")

    options = small_options(tmp_path, epochs=1)
    monkeypatch.setattr(trainer, "train_epoch", corpus)
    with pytest.raises(EgretError, match=r"memory ran out, and not on a batch \(Unable to allocate 3 GiB\)"):
        trainer.train(options, begin(options, version=1))


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the features of an utterance NaN."""

    def poison(name: str) -> None:
        load = Corpus.load

        def wrapped(self: Corpus, *given: object) -> Batch:
            batch = load(self, *given)  # type: ignore[arg-type]
            for place, each in enumerate(batch.ids):
                if each == name:
                    batch.features[place, 0] = float("nan")
            return batch

        monkeypatch.setattr(Corpus, "load", wrapped)

    return poison


def test_an_utterance_whose_features_are_at_fault_is_named(tmp_path, poisoned):
    poisoned("train-003")
    with pytest.raises(EgretError, match="1 step in a row .*the features of train-003 are not finite"):
        trainer.fit(make_run(tmp_path, epochs=1, max_skipped=0))


def test_a_dev_loss_that_is_no_number_is_said_with_what_it_is_about(tmp_path, poisoned, caplog):
    poisoned("dev-001")
    trainer.fit(make_run(tmp_path, epochs=1, check_batches=False))
    assert "the loss on dev is nan" in caplog.text and "the features of dev-001 are not finite" in caplog.text


def test_a_dev_part_that_cannot_be_read_ends_training_before_it_begins(tmp_path):
    run = make_run(tmp_path, epochs=1)
    (tmp_path / "fbank/dev.lca").unlink()
    with pytest.raises(EgretError, match="dev.lca: no such archive"):
        trainer.fit(run)
    assert not (tmp_path / "exp/checkpoints").exists()

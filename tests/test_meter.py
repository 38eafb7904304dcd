"""What training says of itself: the line of progress, and curves that stay whole when a run goes on."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from egret.base.errors import EgretError
from egret.report.curves import read_curves
from egret.training import meter as module
from egret.training.checkpoints import Progress
from egret.training.meter import TrainingMeter, Wandb, hours_and_minutes


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class NoCurves:
    """In the place of TensorBoard, where curves do not matter."""

    def __init__(self, folder: Path, done: int) -> None:
        self.seen: list[tuple[dict[str, float], int]] = []

    def add(self, values: dict[str, float], step: int) -> None:
        self.seen.append((values, step))

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TensorBoard", NoCurves)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="egret")
    return caplog


def take_steps(meter: TrainingMeter, clock: Clock, first: int, count: int, seconds: float, speech: float) -> None:
    """Steps of so many seconds, a quarter of them waiting, with so many seconds of speech."""
    for step in range(first, first + count):
        with meter.waiting():
            clock.now += seconds / 4
        clock.now += seconds * 3 / 4
        meter.step(Progress(step=step), 1.5, 1e-3, 2.0, speech)


# The line


@pytest.mark.usefixtures("no_curves")
def test_a_line_has_all_that_one_wants_to_know(clock: Clock, said, tmp_path: Path):
    take_steps(TrainingMeter(tmp_path, 10.0, 100, 0), clock, 0, 5, seconds=2.0, speech=100.0)
    assert said.messages == ["epoch 1, step 5 of 100: loss 1.500, lr 1.00e-03, grad norm 2.00, 50.0 h of speech/h, "
                             "25.0 % waiting, 3 min 10 s left"]  # fmt: skip


@pytest.mark.usefixtures("no_curves")
def test_speed_is_that_since_the_last_line(clock: Clock, said, tmp_path: Path):
    meter = TrainingMeter(tmp_path, 10.0, 100, 0)
    take_steps(meter, clock, 0, 5, seconds=2.0, speech=100.0)
    take_steps(meter, clock, 5, 10, seconds=1.0, speech=100.0)
    assert "100.0 h of speech/h" in said.messages[1]
    assert meter.overall == pytest.approx(75.0)


@pytest.mark.usefixtures("no_curves")
def test_waiting_is_the_share_of_the_time_since_the_last_line(clock: Clock, said, tmp_path: Path):
    meter = TrainingMeter(tmp_path, 10.0, 100, 0)
    take_steps(meter, clock, 0, 5, seconds=2.0, speech=100.0)
    clock.now += 10.0  # of work
    meter.step(Progress(step=5), 1.5, 1e-3, 2.0, 100.0)
    assert "0.0 % waiting" in said.messages[1]


@pytest.mark.usefixtures("no_curves")
def test_the_time_left_forgets_how_slow_the_beginning_was(clock: Clock, said, tmp_path: Path):
    meter = TrainingMeter(tmp_path, 10.0, 1000, 0)
    take_steps(meter, clock, 0, 5, seconds=100.0, speech=100.0)
    take_steps(meter, clock, 5, 95, seconds=10.0, speech=100.0)
    assert said.messages[-1].endswith("2 h 30 min left")


@pytest.mark.usefixtures("no_curves")
def test_a_run_that_goes_on_tells_the_time_of_the_steps_that_are_left(clock: Clock, said, tmp_path: Path):
    take_steps(TrainingMeter(tmp_path, 10.0, 100, 90), clock, 90, 1, seconds=10.0, speech=100.0)
    assert said.messages[0].endswith("1 min 30 s left")


@pytest.mark.usefixtures("no_curves")
def test_the_dev_part_does_not_slow_the_next_line(clock: Clock, said, tmp_path: Path):
    meter = TrainingMeter(tmp_path, 10.0, 100, 0)
    clock.now += 500.0
    meter.epoch(Progress(epoch=1, step=0, train_loss=2.0, dev_loss=1.75))
    take_steps(meter, clock, 0, 5, seconds=2.0, speech=100.0)
    assert said.messages[0] == "epoch 1: train loss 2.0000, dev loss 1.7500, 0.0 h of speech/h, 8 min 20 s"
    assert "50.0 h of speech/h" in said.messages[1]


def test_a_process_that_is_not_the_main_one_says_and_writes_nothing(clock: Clock, said, tmp_path: Path):
    meter = TrainingMeter(tmp_path / "tensorboard", 10.0, 100, 0, main=False)
    take_steps(meter, clock, 0, 50, seconds=2.0, speech=100.0)
    meter.epoch(Progress(epoch=1, step=50, train_loss=2.0))
    meter.close()
    assert not said.messages and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")])
def test_times_are_told_as_people_tell_them(seconds: float, words: str):
    assert hours_and_minutes(seconds) == words


# Curves


def run_to(folder: Path, done: int, last: int, loss: float) -> None:
    """A run that goes on at step `done`, ends an epoch every ten steps, and is cut off after the step `last`."""
    meter = TrainingMeter(folder, 1e-9, 30, done)
    for step in range(done, last + 1):
        meter.step(Progress(step=step), loss, 1e-3, 2.0, 1.0)
        if (step + 1) % 10 == 0:
            meter.epoch(Progress(epoch=(step + 1) // 10, step=step + 1, train_loss=loss, dev_loss=loss))
    meter.close()


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    run_to(folder, 0, 3, loss=4.0)  # killed before there was a checkpoint
    run_to(folder, 0, 14, loss=3.0)  # killed five steps after the checkpoint of its first epoch
    run_to(folder, 10, 19, loss=2.0)
    return folder


def test_the_curve_of_a_run_that_went_on_has_each_step_once(gone_on: Path):
    assert read_curves(gone_on)["train/loss"] == [(float(step), 3.0 if step < 10 else 2.0) for step in range(20)]


def test_the_epoch_at_whose_checkpoint_a_run_went_on_stays_in_the_curve(gone_on: Path):
    assert read_curves(gone_on)["dev/loss"] == [(9.0, 3.0), (19.0, 2.0)]


def test_reading_curves_of_a_run_that_went_on_says_nothing(gone_on: Path, caplog, capfd):
    read_curves(gone_on)
    assert not caplog.messages and capfd.readouterr() == ("", "")


def test_speed_and_waiting_are_curves_too(gone_on: Path):
    assert {"train/speech_per_hour", "train/waiting", "train/lr", "train/grad_norm"} <= read_curves(gone_on).keys()


def test_what_was_told_before_a_flush_is_on_the_disk(tmp_path: Path):
    meter = TrainingMeter(tmp_path, 1e9, 100, 0)
    meter.step(Progress(step=0), 1.5, 1e-3, 2.0, 1.0)
    meter.flush()
    assert read_curves(tmp_path)["train/loss"] == [(0.0, 1.5)]
    meter.close()


# Weights & Biases


class FakeWandb:
    """The part of the package that is used."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished = False

    def init(self, **given: Any) -> SimpleNamespace:
        self.begun.append(given)
        return SimpleNamespace(id=given["id"] or "made-up", log=self.log, finish=self.finish)

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.mark.usefixtures("no_curves")
def test_wandb_gets_the_same_values(wandb: FakeWandb, tmp_path: Path):
    meter = TrainingMeter(tmp_path / "tiny" / "tensorboard", 1e9, 100, 0, wandb="speech", config={"epochs": 3})
    meter.step(Progress(step=4), 1.5, 1e-3, 2.0, 1.0)
    meter.close()
    assert wandb.logged == [({"train/loss": 1.5, "train/lr": 1e-3, "train/grad_norm": 2.0}, 4)] and wandb.finished


def test_a_wandb_run_has_the_name_of_the_experiment_and_its_configuration(wandb: FakeWandb, tmp_path: Path):
    Wandb("speech", tmp_path / "tiny" / "tensorboard", {"epochs": 3})
    [begun] = wandb.begun
    assert (begun["project"], begun["name"], begun["config"]) == ("speech", "tiny", {"epochs": 3})


def test_a_run_that_goes_on_is_the_same_run_for_wandb(wandb: FakeWandb, tmp_path: Path):
    for _ in range(2):
        Wandb("speech", tmp_path / "tensorboard", {})
    assert [begun["id"] for begun in wandb.begun] == [None, "made-up"]


@pytest.mark.parametrize("main", [True, False])
def test_wandb_asked_for_and_not_installed_is_refused_in_every_process(main: bool, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(EgretError, match=r"--wandb: .* not installed; install it \(python -m pip install wandb\)"):
        TrainingMeter(tmp_path / "tensorboard", 10.0, 100, 0, main=main, wandb="speech")


def test_what_wandb_refuses_is_one_line(wandb: FakeWandb, monkeypatch, tmp_path: Path):
    def refuse(**given: Any) -> None:
        raise ValueError("no API key\nconfigured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(EgretError, match=r"--wandb speech: no API key configured; .*WANDB_MODE=offline"):
        Wandb("speech", tmp_path / "tensorboard", {})


@pytest.mark.usefixtures("no_curves")
def test_other_processes_begin_no_run(wandb: FakeWandb, tmp_path: Path):
    TrainingMeter(tmp_path / "tensorboard", 10.0, 100, 0, main=False, wandb="speech")
    assert not wandb.begun

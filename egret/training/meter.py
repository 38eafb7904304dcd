"""What training tells: a line every few seconds, curves for TensorBoard and, where asked for, Weights & Biases."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from egret.base.errors import EgretError
from egret.base.files import read_json, write_json
from egret.base.log import log
from egret.training.checkpoints import Progress
from egret.training.measure import SPEECH, Measure

LINES = 10  # so many lines back lies the speed from which the time left is told


def hours_and_minutes(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


class Curves(Protocol):
    """Where numbers go that change with the steps."""

    def add(self, values: dict[str, float], step: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a folder; one that was written by a run which got further than `done` loses what lies beyond."""

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Even a run that begins at 0 may find events: of one that was killed before its first checkpoint.
        self.writer = SummaryWriter(str(folder), purge_step=done)

    def add(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of a project of Weights & Biases, with the experiment's name; gone on with, it stays the same run."""

    def __init__(self, project: str, folder: Path, config: dict[str, Any]) -> None:
        """Begin, or go on with, the run whose id is kept in `folder`, the one of TensorBoard's events.

        Raises:
          EgretError: the package is not installed, or it refuses.
        """
        wandb = import_wandb()
        kept = folder / "wandb.json"
        name = read_json(kept)["id"] if kept.exists() else None
        experiment = folder.absolute().parent
        try:
            self.run = wandb.init(project=project, name=experiment.name, dir=str(experiment), id=name, resume="allow",
                                  config=config)  # fmt: skip
        except Exception as error:  # no key, no network, no such project: each a class of its own
            why = " ".join(str(error).split())
            raise EgretError(f"--wandb {project}: {why}; log in with `wandb login`, set WANDB_MODE=offline, or "
                             f"leave the option out") from None  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"project": project, "id": self.run.id})

    def add(self, values: dict[str, float], step: int) -> None:
        # Steps done again after a kill it has already; it leaves them out, and they are the same.
        self.run.log(values, step=step)

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        self.run.finish()


def import_wandb() -> Any:
    """Raises EgretError where --wandb cannot be served."""
    try:
        import wandb
    except ImportError:
        raise EgretError("--wandb: the package wandb is not installed; install it (python -m pip install wandb), "
                         "or leave the option out: curves are in TensorBoard anyway") from None  # fmt: skip
    return wandb


@dataclass(frozen=True)
class Mark:
    """A moment: seconds, steps done, how much was trained on, and seconds spent waiting for data."""

    time: float
    step: int
    amount: float
    waited: float


class TrainingMeter:
    """Speed, share of time waiting for data, time left; loss, learning rate and gradient norm as curves.

    Of several processes only the main one tells anything; the others have a meter that keeps quiet.
    """

    def __init__(
        self,
        tensorboard: Path,
        every: float,
        steps: int,
        done: int,
        main: bool = True,
        wandb: str = "",
        config: dict[str, Any] | None = None,
        measure: Measure = SPEECH,
    ) -> None:
        """Begin at `done` of `steps` steps, with a line every `every` seconds.

        Args:
          tensorboard: folder of the events, in that of the experiment.
          main: false in all processes but one.
          wandb: project of Weights & Biases; empty: none.
          config: what is shown of the experiment there.
          measure: the words for what is trained on.

        Raises:
          EgretError: Weights & Biases is asked for and is not installed (in every process), or refuses.
        """
        if wandb:
            import_wandb()
        self.every, self.steps, self.main, self.measure = every, steps, main, measure
        self.amount = self.waited = 0.0
        self.curves: list[Curves] = [TensorBoard(tensorboard, done)] if main else []
        if wandb and main:
            self.curves.append(Wandb(wandb, tensorboard, config or {}))
        self.began = self.line = self.epoch_began = self._mark(done)
        self.lines = deque([self.began], maxlen=LINES)

    def _mark(self, step: int) -> Mark:
        return Mark(time.monotonic(), step, self.amount, self.waited)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is time that training waits for data."""
        begun = time.monotonic()
        yield
        self.waited += time.monotonic() - begun

    def step(self, progress: Progress, loss: float, rate: float, norm: float, amount: float) -> None:
        """Count a step, the one that `progress.step` has the number of: its loss per token, learning rate, gradient
        norm, and how much all processes were given, such as seconds of speech."""
        self.amount += amount
        if not self.main:
            return
        self._add({"train/loss": loss, "train/lr": rate, "train/grad_norm": norm}, progress.step)
        now = self._mark(progress.step + 1)
        if now.time - self.line.time < self.every:
            return
        speed, waiting = per_second(self.line, now), share_waiting(self.line, now)
        self._add({f"train/{self.measure.curve}": speed, "train/waiting": waiting}, progress.step)
        log.info(
            "epoch %d, step %d of %d: loss %.3f, lr %.2e, grad norm %.2f, %s, %.1f %% waiting, %s left",
            progress.epoch + 1, now.step, self.steps, loss, rate, norm, self.measure.speed % speed, waiting,
            hours_and_minutes(self._left(now)),
        )  # fmt: skip
        self.line = now
        self.lines.append(now)
        self.flush()

    def _left(self, now: Mark) -> float:
        """Seconds to the last step at the speed of the last few lines, dev parts and checkpoints included."""
        since = self.lines[0]
        return (now.time - since.time) / max(1, now.step - since.step) * max(0, self.steps - now.step)

    def epoch(self, progress: Progress) -> None:
        """Say how an epoch, just finished, went."""
        if not self.main:
            return
        now = self._mark(progress.step)
        dev = "" if progress.dev_loss is None else f", dev loss {progress.dev_loss:.4f}"
        speed = self.measure.speed % per_second(self.epoch_began, now)
        log.info("epoch %d: train loss %.4f%s, %s, %s", progress.epoch, progress.train_loss or 0.0, dev, speed,
                 hours_and_minutes(now.time - self.epoch_began.time))  # fmt: skip
        values = {"train/epoch_loss": progress.train_loss or 0.0}
        if progress.dev_loss is not None:
            values["dev/loss"] = progress.dev_loss
        # At the last step that was done: what lies at the next one is dropped when a run goes on from here.
        self._add(values, max(0, progress.step - 1))
        self.flush()
        self.line = self.epoch_began = self._mark(progress.step)  # the dev part is no part of the next line's speed

    def _add(self, values: dict[str, float], step: int) -> None:
        for curves in self.curves:
            curves.add(values, step)

    @property
    def overall(self) -> float:
        """What was trained on in a second since the meter was made; of speech, hours in an hour."""
        return per_second(self.began, self._mark(0))

    def flush(self) -> None:
        """Write what was told so far; before a checkpoint, so that a run that goes on from it has no gap."""
        for curves in self.curves:
            curves.flush()

    def close(self) -> None:
        for curves in self.curves:
            curves.close()


def per_second(since: Mark, now: Mark) -> float:
    """What was trained on in a second; of speech, hours in an hour."""
    return (now.amount - since.amount) / max(1e-9, now.time - since.time)


def share_waiting(since: Mark, now: Mark) -> float:
    """Percent of the time that was spent waiting for data."""
    return 100 * (now.waited - since.waited) / max(1e-9, now.time - since.time)

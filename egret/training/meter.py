"""What training tells: a line every few seconds, curves for TensorBoard."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from egret.base.log import log
from egret.training.checkpoints import Progress


def hours_and_minutes(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s` or `12 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


class TrainingMeter:
    """Speed, share of time waiting for data, time left; loss, learning rate and gradient norm go to TensorBoard."""

    def __init__(self, tensorboard: Path, every: float, steps: int, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(tensorboard), purge_step=done or None)
        self.every, self.steps, self.first = every, steps, done
        self.started = self.shown = time.monotonic()
        self.waited = self.speech = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is time that training waits for data."""
        begun = time.monotonic()
        yield
        self.waited += time.monotonic() - begun

    def step(self, progress: Progress, loss: float, rate: float, norm: float, speech: float) -> None:
        """Count a step with its loss per token, learning rate, gradient norm and seconds of speech."""
        self.speech += speech
        for name, value in {"train/loss": loss, "train/lr": rate, "train/grad_norm": norm}.items():
            self.writer.add_scalar(name, value, progress.step)
        now = time.monotonic()
        if now - self.shown < self.every:
            return
        self.shown = now
        elapsed = now - self.started
        done = progress.step + 1
        left = elapsed / (done - self.first) * (self.steps - done)
        log.info(
            "epoch %d, step %d of %d: loss %.3f, lr %.2e, grad norm %.2f, %.1f h of speech/h, %.1f %% waiting, %s left",
            progress.epoch + 1, done, self.steps, loss, rate, norm,
            self.speech / elapsed, 100 * self.waited / elapsed, hours_and_minutes(left),
        )  # fmt: skip

    def epoch(self, progress: Progress) -> None:
        """Say how an epoch, just finished, went."""
        dev = "" if progress.dev_loss is None else f", dev loss {progress.dev_loss:.4f}"
        elapsed = time.monotonic() - self.started
        log.info("epoch %d: train loss %.4f%s, %.1f h of speech/h",
                 progress.epoch, progress.train_loss or 0.0, dev, self.speech / elapsed)  # fmt: skip
        if progress.dev_loss is not None:
            self.writer.add_scalar("dev/loss", progress.dev_loss, progress.step)
        self.writer.add_scalar("train/epoch_loss", progress.train_loss or 0.0, progress.step)

    def close(self) -> None:
        self.writer.close()

"""What keeps a training alive: batches that do not fit the memory, and those without a finite loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError, counted, first_few
from egret.base.log import log
from egret.base.memory import available, forget_peak, out_of_memory, resident, return_memory
from egret.training.measure import Measure
from egret.training.plan import Table
from egret.training.task import Batch

USABLE = 0.9  # of the memory: allocators keep some that they cannot use


def first_line(error: Exception) -> str:
    """The beginning of a library's message, which may go on for pages."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def describe(ids: Sequence[str], measure: Measure) -> str:
    """A batch in a message."""
    return f"{counted(len(ids), measure.item)} ({first_few(ids, 3)})"


def blamed(batches: Sequence[Batch]) -> str:
    """What to say besides of batches without a finite loss: the utterances whose features are at fault, if any are."""
    ids = [name for batch in batches for name in batch.not_finite()]
    return f"; the features of {first_few(ids, 3)} are not finite, make them again or leave them out" if ids else ""


@dataclass
class Buffers:
    """A model's running statistics as they were, for a batch that must not count."""

    model: torch.nn.Module
    kept: list[Tensor]

    @classmethod
    def of(cls, model: torch.nn.Module) -> "Buffers":
        return cls(model, [buffer.detach().clone() for buffer in model.buffers()])

    @torch.no_grad()
    def put_back(self) -> None:
        for buffer, kept in zip(self.model.buffers(), self.kept, strict=True):
            buffer.copy_(kept)


def largest(batches: list[np.ndarray], table: Table) -> list[np.ndarray]:
    """The batches that ask for most: the longest with padding, and the one with most tokens."""
    padded = [float(table.lengths[rows].max()) * len(rows) for rows in batches]
    tokens = [int(table.tokens[rows].max()) * len(rows) for rows in batches]
    places = dict.fromkeys([int(np.argmax(padded)), int(np.argmax(tokens))])
    return [batches[place] for place in places]


class MemoryCheck:
    """Tries batches forward and backward, and says how much memory they take and what would fit."""

    def __init__(
        self,
        device: torch.device,
        compute: Callable[[Batch], None],
        optimiser_bytes: int,
        measure: Measure,
        sharing: int = 1,
    ) -> None:
        """`compute` does all of a step but the optimiser's part, which will take `optimiser_bytes` more; so many
        processes share the memory of a machine without GPUs."""
        self.device, self.compute, self.optimiser_bytes, self.sharing = device, compute, optimiser_bytes, sharing
        self.measure = measure

    def __call__(self, batches: list[Batch], limit: float) -> None:
        """Try batches, the largest first; `limit` is what the measure's option bounds them by.

        Raises:
          EgretError: the largest does not fit; says what would.
        """
        peaks: dict[float, int] = {}
        for batch in [batches[0], *(batches[0].halves() if len(batches[0].ids) > 1 else []), *batches[1:]]:
            peaks[batch.padded] = max(peaks.get(batch.padded, 0), self.peak(batch))
        total, option, amount = self.total(), self.measure.limit, self.measure.amount
        most = max(peaks)
        if peaks[most] == 0 or not total:  # it is not measured here, or does not show beside the rest
            log.info("the largest batch, %.0f %s with padding, fits", most, amount)
            return
        fits = would_fit(peaks, total)
        log.info(
            "the largest batch, %.0f %s with padding: %.2f GB of %.1f GB%s",
            most, amount, peaks[most] / 1e9, total / 1e9,
            f"; {option} {fits:.0f} would fit" if 0 < fits < 10 * limit else "",
        )  # fmt: skip
        if peaks[most] > total and fits:
            log.warning("memory may run out: %s %.0f would fit, and it is %.0f", option, fits, limit)

    def peak(self, batch: Batch) -> int:
        """The most memory in bytes that a batch takes beside all that is there already.

        Raises:
          EgretError: not even the batch fits.
        """
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            return_memory()  # what the batch before held would hide what this one takes
            forget_peak()
        before = 0 if on_gpu else resident("VmRSS")
        try:
            self.compute(batch.to(self.device))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EgretError(
                f"memory is too small for a batch of {batch.padded:.0f} {self.measure.amount} with padding, "
                f"{describe(batch.ids, self.measure)}; lower {self.measure.limit} (half of it, to begin with)"
            ) from None
        used = torch.cuda.max_memory_allocated(self.device) if on_gpu else max(0, resident("VmHWM") - before)
        return used + self.optimiser_bytes if used else 0

    def total(self) -> int:
        """Bytes that training may use; 0: nothing says how many."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory * USABLE)
        return int((available() or 0) * USABLE / self.sharing)


def would_fit(peaks: dict[float, int], total: int) -> float:
    """The size of a batch with which the memory would be full: a straight line through the smallest and the largest
    batch that were tried; 0 where they do not show one."""
    small, large = min(peaks), max(peaks)
    if large - small < 0.2 * large or peaks[large] <= peaks[small]:
        return 0.0
    slope = (peaks[large] - peaks[small]) / (large - small)
    return max(0.0, large + (total - peaks[large]) / slope)

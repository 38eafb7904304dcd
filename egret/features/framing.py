"""Cutting waves into frames, many at a time."""

from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

CHUNK = 400  # frames at a time: what fits into a core's cache


def by_frames(
    waves: "list[np.ndarray]",
    length: int,
    shift: int,
    size: int,
    compute: "Callable[[Tensor], Tensor]",
    dither: float = 0.0,
) -> "list[np.ndarray]":
    """Features float32 [T, size] of each of the waves float32 [S], T being S over the shift, rounded.

    As many frames at a time as fit into a core's cache, of whatever waves they are.

    Args:
      length, shift: samples that a frame sees, and from one frame to the next.
      compute: features [T, size] of the samples [(T - 1) * shift + length] that so many frames see.
      dither: standard deviation of the noise added to the samples.
    """
    import numpy as np
    import torch

    counts = [(len(wave) + shift // 2) // shift for wave in waves]
    between = -(-length // shift) - 1  # frames that would see two waves
    firsts = list(accumulate((count + between for count in counts), initial=0))
    total = firsts[-1]
    with torch.inference_mode():
        sound = torch.from_numpy(_laid_out(waves, counts, firsts, length, shift))
        if dither:
            sound += torch.randn(len(sound)) * dither
        parts = [
            compute(sound[first * shift : (min(first + CHUNK, total) - 1) * shift + length])
            for first in range(0, total, CHUNK)
        ]
        features = torch.cat(parts).numpy() if parts else np.zeros((0, size), np.float32)
    return [features[first : first + count] for first, count in zip(firsts, counts, strict=False)]


def _laid_out(waves: "list[np.ndarray]", counts: list[int], firsts: list[int], length: int, shift: int) -> "np.ndarray":
    """Waves one after the other, each from a multiple of the shift on and mirrored at both ends, so that it has a frame
    for each shift."""
    import numpy as np

    sound = np.zeros(firsts[-1] * shift + length, np.float32)
    before = (length - shift) // 2
    for wave, count, first in zip(waves, counts, firsts, strict=False):
        place = sound[first * shift : (first + count - 1) * shift + length]
        place[:before] = wave[:before][::-1]
        inside = place[before : before + len(wave)]
        inside[:] = wave[: len(inside)]
        after = place[before + len(wave) :]
        after[:] = wave[len(wave) - len(after) :][::-1]
    return sound

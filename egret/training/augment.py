"""Augmentation of features: what a batch is changed by before the model sees it. Uses torch's random numbers.

SpecAugment (Park et al. 2019): time warp, then stretches of time and bands of frequency hidden from the model.
Frequency warp: speakers of other sizes, as by vocal tract length perturbation (Jaitly and Hinton 2013).
"""

import torch
from torch import Tensor

from egret.training.options import SpecAugmentOptions


def spec_augment(features: Tensor, lengths: Tensor, fill: Tensor, options: SpecAugmentOptions) -> Tensor:
    """Features [N, T, C] of lengths [N] warped, and masked with `fill` [C], the mean.

    The number of time masks grows with the utterance, so that short ones keep something to be recognised by.
    """
    masked = features.clone()
    for row, frames in enumerate(lengths.tolist()):
        own = masked[row, :frames]
        if options.time_warp:
            own[:] = warp(own, time_warp(frames, options.time_warp).to(own.device))
        if options.frequency_warp:
            places = frequency_warp(own.shape[1], options.frequency_warp).to(own.device)
            own[:] = warp(own.T, places).T
        for _ in range(round(options.time_masks * frames / 100)):
            width = min(frames, below(options.time_width + 1))
            start = below(frames - width + 1)
            own[start : start + width] = fill
        for _ in range(options.frequency_masks):
            width = min(own.shape[1], below(options.frequency_width + 1))
            start = below(own.shape[1] - width + 1)
            own[:, start : start + width] = fill[start : start + width]
    return masked


def time_warp(frames: int, furthest: int) -> Tensor:
    """For each frame the place [T] in the recording that it shows: a random point is moved by at most `furthest`
    frames, and what lies before and behind it stretched or squeezed linearly (both ends stay where they are)."""
    furthest = min(furthest, (frames - 1) // 2)
    point = furthest + below(max(1, frames - 2 * furthest))
    moved = point + below(2 * furthest + 1) - furthest
    if not 0 < point < frames - 1 or not 0 < moved < frames - 1:
        return torch.arange(frames, dtype=torch.float)
    before = torch.linspace(0, point, moved + 1)
    return torch.cat([before[:-1], torch.linspace(point, frames - 1, frames - moved)])


def frequency_warp(bins: int, furthest: float) -> Tensor:
    """For each mel bin the place [C] that it shows: the axis stretched by a factor within 1 +- `furthest`."""
    factor = 1 + furthest * (2 * float(torch.rand(())) - 1)
    return (torch.arange(bins) * factor).clamp(max=bins - 1)


def warp(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x [T, C] at places [T'] between them, by linear interpolation: [T', C]."""
    first = places.long().clamp(max=max(0, len(x) - 2))
    return torch.lerp(x[first], x[(first + 1).clamp(max=len(x) - 1)], (places - first).unsqueeze(1))


def below(limit: int) -> int:
    """A random whole number from 0 to limit - 1."""
    return int(torch.randint(0, limit, ()))

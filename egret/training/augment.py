"""Augmentation of features: what a batch is changed by before the model sees it. Uses torch's random numbers.

SpecAugment (Park et al. 2019): time warp, then stretches of time and bands of frequency hidden from the model.
Frequency warp: speakers of other sizes, as by vocal tract length perturbation (Jaitly and Hinton 2013).

What happens is drawn on the CPU, utterance by utterance. A GPU, which would wait for each of hundreds of masks,
changes the whole batch in a few operations; a CPU, whose cache one utterance fits, does so with one after the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from egret.training.options import SpecAugmentOptions


@dataclass
class Drawn:
    """What is to happen to a batch [N, T, C]: the places that its frames [N, T] and its mel bins [N, C] show, and
    for each utterance the stretches of frames and bands of mel bins that are hidden."""

    frames: Tensor
    bins: Tensor
    stretches: list[list[slice]]
    bands: list[list[slice]]


def spec_augment(features: Tensor, lengths: Tensor, fill: Tensor, options: SpecAugmentOptions) -> Tensor:
    """Features [N, T, C] of lengths [N] warped and masked; the padding and the features themselves stay.

    `fill` is what hides, the mean of all features [C] or of each utterance [N, C]; with `options.fill` lowest it is
    the lowest value of the utterance instead.
    """
    drawn = draw(lengths.tolist(), features.shape[1], features.shape[2], options)
    change = change_at_once if features.is_cuda else change_each
    return change(features, lengths, fill.expand(len(features), features.shape[2]), drawn, options)


def draw(lengths: list[int], frames: int, bins: int, options: SpecAugmentOptions) -> Drawn:
    """What is to happen to utterances of so many frames each in a batch of [`frames`, `bins`]."""
    every_frame, every_bin = torch.arange(frames, dtype=torch.float), torch.arange(bins, dtype=torch.float)
    drawn = Drawn(every_frame.repeat(len(lengths), 1), every_bin.repeat(len(lengths), 1), [], [])
    for row, own in enumerate(lengths):
        if options.time_warp:
            drawn.frames[row, :own] = time_warp(own, options.time_warp)
        if options.frequency_warp:
            drawn.bins[row] = frequency_warp(bins, options.frequency_warp)
        in_time, in_frequency = kinds(options)
        stretches = (options.fixed_time_masks + round(options.time_masks * own / 100)) * in_time
        bands = options.frequency_masks * in_frequency
        widths = (options.time_width, options.time_part), (options.frequency_width, options.frequency_part)
        drawn.stretches.append([mask(own, *widths[0], options.mask_chance) for _ in range(stretches)])
        drawn.bands.append([mask(bins, *widths[1], options.mask_chance) for _ in range(bands)])
    return drawn


def change_each(x: Tensor, lengths: Tensor, fill: Tensor, drawn: Drawn, options: SpecAugmentOptions) -> Tensor:
    """x [N, T, C] of lengths [N] as was drawn, with `fill` [N, C] where it is hidden: one thing after the other."""
    x = x.clone()
    for row, frames in enumerate(lengths.tolist()):
        own, shown = x[row, :frames], fill[row]
        if options.time_warp:
            own[:] = warp(own, drawn.frames[row, :frames])
        if options.frequency_warp:
            own[:] = warp(own.T, drawn.bins[row]).T
        if options.fill == "lowest":
            shown = own.min().expand_as(shown)
        for stretch in drawn.stretches[row]:
            own[stretch] = shown
        for band in drawn.bands[row]:
            own[:, band] = shown[band]
    return x


def change_at_once(x: Tensor, lengths: Tensor, fill: Tensor, drawn: Drawn, options: SpecAugmentOptions) -> Tensor:
    """The same for all utterances at once."""
    inside = (torch.arange(x.shape[1], device=x.device) < lengths.to(x.device).unsqueeze(1)).unsqueeze(2)
    if options.time_warp:
        x = warp(x, drawn.frames.to(x.device))
    if options.frequency_warp:
        x = torch.where(inside, warp(x.transpose(1, 2), drawn.bins.to(x.device)).transpose(1, 2), x)
    if not options.masks:
        return x
    if options.fill == "lowest":
        fill = x.masked_fill(~inside, float("inf")).amin((1, 2)).unsqueeze(1)
    stretches, bands = hidden(drawn.stretches, x.shape[1]).to(x.device), hidden(drawn.bands, x.shape[2]).to(x.device)
    return torch.where(stretches.unsqueeze(2) | bands.unsqueeze(1) & inside, fill.unsqueeze(1), x)


def hidden(masks: list[list[slice]], size: int) -> Tensor:
    """Which of so many places [N, size] are in a mask of their utterance."""
    places = torch.zeros(len(masks), size, dtype=torch.bool)
    array = places.numpy()  # whose slices cost less
    for row, own in enumerate(masks):
        for each in own:
            array[row, each] = True
    return places


def kinds(options: SpecAugmentOptions) -> tuple[bool, bool]:
    """Whether this utterance gets time masks, and whether frequency masks."""
    if not options.kind_chances:
        return True, True
    neither, time, frequency, _ = options.kind_chances
    drawn = float(torch.rand(())) - neither
    return 0 <= drawn < time or drawn >= time + frequency, drawn >= time


def mask(length: int, widest: int, part: float, chance: float) -> slice:
    """A random stretch of a length: at most `widest` wide (0: whatever) and at most that part of the length."""
    limit = widest or length
    if part < 1:
        limit = min(limit, int(part * length + 1e-6))  # 0.29 * 100 is 28.999999999999996
    width = min(length, below(limit + 1))
    start = below(length - width + 1)
    if chance < 1 and float(torch.rand(())) >= chance:
        width = 0
    return slice(start, start + width)


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
    """Rows of x [T, C] at places [T'] between them, by linear interpolation: [T', C]; or all that with N before."""
    first = places.long().clamp(max=max(0, x.shape[-2] - 2))
    second = (first + 1).clamp(max=x.shape[-2] - 1)
    if x.dim() == 2:
        before, behind = x[first], x[second]
    else:
        batch = torch.arange(len(x), device=x.device).unsqueeze(1)
        before, behind = x[batch, first], x[batch, second]
    return torch.lerp(before, behind, (places - first).unsqueeze(-1))


def below(limit: int) -> int:
    """A random whole number from 0 to limit - 1."""
    return int(torch.randint(0, limit, ()))

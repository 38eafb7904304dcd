"""SpecAugment: stretches of time and bands of frequency are hidden from the model (Park et al. 2019)."""

import torch
from torch import Tensor

from egret.training.options import SpecAugmentOptions


def spec_augment(features: Tensor, lengths: Tensor, fill: Tensor, options: SpecAugmentOptions) -> Tensor:
    """Mask features [N, T, C] of lengths [N] with `fill` [C], the mean; uses torch's random numbers.

    The number of time masks grows with the utterance, so that short ones keep something to be recognised by.
    """
    masked = features.clone()
    for row, frames in enumerate(lengths.tolist()):
        for _ in range(round(options.time_masks * frames / 100)):
            width = min(frames, int(torch.randint(0, options.time_width + 1, ())))
            start = int(torch.randint(0, frames - width + 1, ()))
            masked[row, start : start + width] = fill
        for _ in range(options.frequency_masks):
            width = min(features.shape[2], int(torch.randint(0, options.frequency_width + 1, ())))
            start = int(torch.randint(0, features.shape[2] - width + 1, ()))
            masked[row, :, start : start + width] = fill[start : start + width]
    return masked

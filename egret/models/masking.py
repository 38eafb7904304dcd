"""Frames beyond an utterance's end must not be seen."""

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """bool [N, T]: true where a frame belongs to its utterance."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def mask_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """[N, T, C] with zeros beyond each utterance's end."""
    return x * frame_mask(lengths, x.shape[1]).unsqueeze(2)

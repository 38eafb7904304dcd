"""Frames beyond an utterance's end must not be seen."""

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """bool [N, T]: true where a frame belongs to its utterance."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def mask_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """[N, T, C] with zeros beyond each utterance's end."""
    return x * frame_mask(lengths, x.shape[1]).unsqueeze(2)


def mask_images(x: Tensor, lengths: Tensor) -> Tensor:
    """[N, C, T, F] with zeros beyond each utterance's end."""
    return x * frame_mask(lengths, x.shape[2]).unsqueeze(1).unsqueeze(3)


def strided(lengths: Tensor, stride: int) -> Tensor:
    """Lengths divided by a stride, rounded up."""
    return torch.div(lengths + stride - 1, stride, rounding_mode="floor")


def hidden_frames(lengths: Tensor, frames: int, chunk: int, left_chunks: int) -> Tensor:
    """Which frames self-attention must not see: bool [N, 1, T] without chunks, [N, T, T] with them.

    Args:
      lengths: [N]; frames beyond are hidden.
      frames: T.
      chunk: frames that are seen together, and none after them; 0: the whole utterance.
      left_chunks: chunks that are seen before; -1: all.
    """
    hidden = ~frame_mask(lengths, frames).unsqueeze(1)
    if chunk == 0:
        return hidden
    place = torch.div(torch.arange(frames, device=lengths.device), chunk, rounding_mode="floor")
    back = place.unsqueeze(1) - place  # chunks from the frame that looks to the one that is looked at
    outside = back < 0
    if left_chunks >= 0:
        outside = outside | (back > left_chunks)
    return hidden | outside

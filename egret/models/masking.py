"""Frames beyond an utterance's end must not be seen."""

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """bool [N, T]: true where a frame belongs to its utterance."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def full_lengths(x: Tensor, time: int = 1) -> Tensor:
    """Lengths int64 [N] of a batch without padding, whose frames are its dimension `time`."""
    return torch.full((x.shape[0],), x.shape[time], dtype=torch.int64, device=x.device)


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
    return hidden | outside_chunks(0, frames, chunk, left_chunks, lengths)


def hidden_in_stream(heard: Tensor, past: int, frames: int, chunk: int, left_chunks: int) -> Tensor:
    """Which frames self-attention must not see in a piece of T frames that begins with a chunk, bool
    [N, T, past + T]: of the `past` frames before it only as many are there as were heard, int64 [N]."""
    absent = torch.arange(past + frames, device=heard.device) < past - heard.unsqueeze(1)
    return absent.unsqueeze(1) | outside_chunks(past, frames, chunk, left_chunks, heard)


def outside_chunks(past: int, frames: int, chunk: int, left_chunks: int, like: Tensor) -> Tensor:
    """bool [T, past + T], on the device of `like`: where the frame that is looked at, of the column, is in a later
    chunk than the one that looks, of the row, or too many chunks before. The first row is that of column `past`."""
    place = torch.div(torch.arange(past + frames, device=like.device), chunk, rounding_mode="floor")
    back = place[past:].unsqueeze(1) - place
    outside = back < 0
    if left_chunks >= 0:
        outside = outside | (back > left_chunks)
    return outside

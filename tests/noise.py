"""Features of noise, as a batch of utterances."""

from collections.abc import Sequence

import torch
from torch import Tensor


def noise_batch(lengths: Sequence[int], features: int, seed: int = 1, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    """Features [N, T, C] with `padding` beyond each utterance's end, and lengths [N]."""
    torch.manual_seed(seed)
    frames = [torch.randn(length, features) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True, padding_value=padding), torch.tensor(lengths)

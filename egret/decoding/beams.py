"""Beams of hypotheses, of all utterances of a batch at once."""

import torch
from torch import Tensor

LOST = -1e30  # of a place in the beam that no hypothesis has; infinity would make NaN of a difference


def pick(x: Tensor, places: Tensor) -> Tensor:
    """Rows [N, B', ...] of x [N, B, ...] at places [N, B']."""
    # Whole rows are copied, which `gather` would do number by number.
    rows = places + torch.arange(len(x), device=x.device).unsqueeze(1) * x.shape[1]
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(*places.shape, *x.shape[2:])


def length_penalty(count: int | Tensor, penalty: float) -> float | Tensor:
    """What scores of hypotheses of so many tokens are divided by to compare them (Wu et al. 2016, section 7)."""
    return ((5.0 + count) / 6.0) ** penalty

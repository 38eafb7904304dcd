"""Beams of hypotheses, of all utterances of a batch at once."""

from torch import Tensor

LOST = -1e30  # of a place in the beam that no hypothesis has; infinity would make NaN of a difference


def pick(x: Tensor, places: Tensor) -> Tensor:
    """Rows [N, B', ...] of x [N, B, ...] at places [N, B']."""
    index = places.view(*places.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)

"""Self-attention that knows how far apart two frames are."""

import math

import torch
from torch import Tensor, nn


def relative_positions(frames: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoids [2 T - 1, dim] of the distances T - 1, ..., 0, ..., -(T - 1), of the type and device of `like`.

    Vaswani et al. 2017, section 3.5; by distance as in Dai et al. 2019.
    """
    distances = torch.arange(frames - 1, -frames, -1.0, device=like.device)
    rates = torch.exp(torch.arange(0, dim, 2, device=like.device) * (-math.log(10000.0) / dim))
    angles = distances.unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim].to(like.dtype)


class RelativeAttention(nn.Module):
    """Multi-head self-attention with relative positions (Dai et al. 2019, "Transformer-XL", section 3.3)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(dim, 3 * dim)  # queries, keys and values
        self.project_positions = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self.narrow = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] to the same shape.

        Args:
          positions: [2 T - 1, dim], what relative_positions gives.
          hidden: bool [N, T], true where a frame must not be seen.
        """
        batch, frames, dim = x.shape
        size = dim // self.heads
        query, key, value = (
            part.view(batch, frames, self.heads, size).transpose(1, 2) for part in self.project(x).chunk(3, dim=2)
        )
        distance = self.project_positions(positions).view(-1, self.heads, size).permute(1, 2, 0)
        by_content = (query + self.content_bias.unsqueeze(1)) @ key.transpose(2, 3)
        by_distance = shift((query + self.position_bias.unsqueeze(1)) @ distance)
        scores = (by_content + by_distance) * size**-0.5
        # A large number and not infinity: an utterance without frames would give NaN.
        weights = scores.masked_fill(hidden[:, None, None, :], -1e4).softmax(dim=3)
        return self.narrow((self.dropout(weights) @ value).transpose(1, 2).reshape(batch, frames, dim))


def shift(scores: Tensor) -> Tensor:
    """Scores by distance [N, H, T, 2 T - 1] to scores by key [N, H, T, T], a view: row t begins at column T - 1 - t,
    the distance of t from the first key (the relative shift of Dai et al. 2019, appendix B)."""
    batch, heads, frames, distances = scores.shape
    scores = scores.contiguous()
    rows = (heads * frames * distances, frames * distances, distances - 1, 1)
    return scores.as_strided((batch, heads, frames, frames), rows, scores.storage_offset() + frames - 1)


def attention_weights(attention: RelativeAttention, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
    """What `attention` gives each frame's values, [N, H, T, T]: row t sums to 1 and says where frame t looks.

    For pictures; takes what the module itself is called with, and no dropout.
    """
    batch, frames, dim = x.shape
    size = dim // attention.heads
    query, key, _ = (
        part.view(batch, frames, attention.heads, size).transpose(1, 2) for part in attention.project(x).chunk(3, dim=2)
    )
    distance = attention.project_positions(positions).view(-1, attention.heads, size).permute(1, 2, 0)
    by_content = (query + attention.content_bias.unsqueeze(1)) @ key.transpose(2, 3)
    by_distance = shift((query + attention.position_bias.unsqueeze(1)) @ distance)
    scores = (by_content + by_distance) * size**-0.5
    return scores.masked_fill(hidden[:, None, None, :], -1e4).softmax(dim=3)

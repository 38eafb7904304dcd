"""Self-attention that knows how far apart two frames are."""

import math

import torch
from torch import Tensor, nn

from egret.models.streaming import remember


def sinusoids(places: Tensor, dim: int) -> Tensor:
    """[U, dim] of places [U] (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2, device=places.device) * (-math.log(10000.0) / dim))
    angles = places.unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :dim]


def relative_positions(frames: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoids [2 T - 1, dim] of the distances T - 1, ..., 0, ..., -(T - 1) (Dai et al. 2019), of the type and device
    of `like`."""
    return sinusoids(torch.arange(frames - 1, -frames, -1.0, device=like.device), dim).to(like.dtype)


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
          hidden: bool [N, T] or [N, T, T], true where a frame must not be seen, by all frames or by that of the row.
        """
        query, key, value = self.by_head(x)
        return self.seen(query, key, value, positions, hidden)

    def start(self, batch: int, past: int) -> list[Tensor]:
        """Keys and values [N, past, 2, H, dim / H], of frames that `hidden` must hide."""
        dim = self.narrow.in_features
        return [self.narrow.weight.new_zeros(batch, past, 2, self.heads, dim // self.heads)]

    def stream(self, x: Tensor, positions: Tensor, hidden: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; see egret.models.streaming.

        Args:
          positions: [S + T - 1, dim] of the distances S - 1, ..., -(T - 1), S frames being those in the state and T.
          hidden: bool [N, T, S].
          past: how many frames to remember.
        """
        parts = self.parts(x)
        key, value = remember(parts[:, :, 1:], state, past).permute(2, 3, 0, 1, 4).unbind(0)
        return self.seen(parts[:, :, 0].permute(2, 0, 1, 3), key, value, positions, hidden)

    def seen(self, query: Tensor, key: Tensor, value: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] of queries [H, N, T, dim / H], keys and values [H, N, S, dim / H]."""
        heads, batch, frames, size = query.shape
        weights = self.dropout(self.weights(query, key, positions, hidden))
        seen = torch.bmm(weights.flatten(0, 1), value.flatten(0, 1)).view(heads, batch, frames, -1)
        return self.narrow(seen.permute(1, 2, 0, 3).reshape(batch, frames, heads * size))

    def by_head(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [N, T, dim], each [H, N, T, dim / H]."""
        query, key, value = self.parts(x).permute(2, 3, 0, 1, 4).unbind(0)
        return query, key, value

    def parts(self, x: Tensor) -> Tensor:
        """[N, T, 3, H, dim / H]: queries, keys and values of x [N, T, dim]."""
        return self.project(x).view(x.shape[0], x.shape[1], 3, self.heads, -1)

    def weights(self, query: Tensor, key: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """How much of each frame's value each frame gets, [H, N, T, S]: row t sums to 1 and says where frame t looks.

        Heads come first, so that those of all utterances meet the distances in one product.
        """
        heads, batch, frames, size = query.shape
        distance = self.project_positions(positions).view(-1, heads, size).permute(1, 2, 0)
        for_content = (query + self.content_bias[:, None, None]) * size**-0.5
        for_distance = (query + self.position_bias[:, None, None]) * size**-0.5
        by_distance = torch.bmm(for_distance.flatten(1, 2), distance).view(heads, batch, frames, -1)
        scores = torch.baddbmm(
            shift(by_distance).flatten(0, 1), for_content.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        ).view(heads, batch, frames, -1)
        with torch.no_grad():  # the gradient of a weight that is zero is zero without autograd's seeing to it
            # A large number and not infinity: an utterance without frames would give NaN.
            scores.masked_fill_(hidden if hidden.dim() == 3 else hidden.unsqueeze(1), -1e4)
        return scores.softmax(dim=3)


def shift(scores: Tensor) -> Tensor:
    """Scores by distance [H, N, T, S + T - 1] to scores by key [H, N, T, S], a view: row t begins at column T - 1 - t,
    the distance of t from the first key (the relative shift of Dai et al. 2019, appendix B). Of S keys the last T are
    those of the frames that look."""
    heads, batch, frames, distances = scores.shape
    scores = scores.contiguous()
    rows = (batch * frames * distances, frames * distances, distances - 1, 1)
    keys = distances - frames + 1
    return scores.as_strided((heads, batch, frames, keys), rows, scores.storage_offset() + frames - 1)


def attention_weights(attention: RelativeAttention, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
    """What `attention` gives each frame's values, [N, H, T, T]: row t sums to 1 and says where frame t looks.

    For pictures; takes what the module itself is called with, and no dropout.
    """
    query, key, _ = attention.by_head(x)
    return attention.weights(query, key, positions, hidden).transpose(0, 1)

"""Attention of a decoder to the encoder's frames, of the kinds that spellers have used.

Every kind takes queries [N, B, D] against the frames of N utterances, and gives contexts [N, B, E] and the weights
[N, B, T], rows that sum to 1 over an utterance's own frames. B is the number of hypotheses of each utterance in a
search, or the number of tokens where they are all known: the utterances' keys and values are there once.
"""

import torch
from torch import Tensor, nn


def shares(scores: Tensor, hidden: Tensor) -> Tensor:
    """Softmax over the last dimension, next to nothing where `hidden` is true."""
    # A large number and not infinity: an utterance without frames would give NaN.
    return scores.masked_fill(hidden, -1e4).softmax(dim=-1)


class DotAttention(nn.Module):
    """Scaled dot products, in one head or several (Vaswani et al. 2017, section 3.2; Chan et al. 2016 for one)."""

    def __init__(self, query_dim: int, frame_dim: int, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.out_dim = heads, dim
        self.query = nn.Linear(query_dim, dim)
        self.key = nn.Linear(frame_dim, dim)
        self.value = nn.Linear(frame_dim, dim)
        self.narrow = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [N, H, T, dim / H] of frames [N, T, frame_dim]."""
        return self.by_head(self.key(x)), self.by_head(self.value(x))

    def by_head(self, x: Tensor) -> Tensor:
        batch, count, _ = x.shape
        return x.view(batch, count, self.heads, -1).transpose(1, 2)

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Contexts [N, B, dim], and the mean over the heads of the weights [N, B, T].

        Args:
          query: [N, B, query_dim].
          hidden: bool, true where a frame must not be seen: [N, T], or [N, B, T] where queries see different frames.
          before: the weights of the token before [N, B, T], of which only LocationAttention takes notice.
        """
        batch, count, _ = query.shape
        queries = self.by_head(self.query(query))
        scores = torch.matmul(queries * queries.shape[3] ** -0.5, keys.transpose(2, 3))
        hidden = hidden.unsqueeze(1) if hidden.dim() == 2 else hidden
        weights = shares(scores, hidden.unsqueeze(1))
        context = torch.matmul(self.dropout(weights), values).transpose(1, 2).reshape(batch, count, self.out_dim)
        return self.narrow(context), weights.mean(dim=1)


class AdditiveAttention(nn.Module):
    """A small network over query and key (Bahdanau et al. 2015)."""

    def __init__(self, query_dim: int, frame_dim: int, dim: int) -> None:
        super().__init__()
        self.out_dim = frame_dim
        self.query = nn.Linear(query_dim, dim, bias=False)
        self.key = nn.Linear(frame_dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [N, T, dim] of frames [N, T, frame_dim], and the frames themselves."""
        return self.key(x), x

    def forward(
        self, query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As DotAttention; contexts are [N, B, frame_dim]."""
        energy = self.score(torch.tanh(self.asked(query, before) + keys.unsqueeze(1))).squeeze(3)
        weights = shares(energy, hidden.unsqueeze(1))
        return torch.bmm(weights, values), weights

    def asked(self, query: Tensor, before: Tensor) -> Tensor:
        """What is added to the keys: [N, B, 1 or T, dim]."""
        return self.query(query).unsqueeze(2)


class LocationAttention(AdditiveAttention):
    """Additive attention that also sees where the token before looked (Chorowski et al. 2015, section 2.1)."""

    def __init__(self, query_dim: int, frame_dim: int, dim: int, channels: int, kernel: int) -> None:
        super().__init__(query_dim, frame_dim, dim)
        self.convolution = nn.Conv1d(1, channels, kernel, padding=kernel // 2, bias=False)
        self.location = nn.Linear(channels, dim, bias=False)

    def asked(self, query: Tensor, before: Tensor) -> Tensor:
        batch, count, frames = before.shape
        places = self.convolution(before.reshape(batch * count, 1, frames)).transpose(1, 2)
        return self.query(query).unsqueeze(2) + self.location(places).view(batch, count, frames, -1)

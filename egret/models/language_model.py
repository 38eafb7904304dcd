"""Neural language models: recurrent networks and a Transformer, which score each token by those before it.

Tokens are numbered as decoders number them: END begins what a model is given and ends what it gives.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import sinusoids
from egret.models.cross_attention import DotAttention
from egret.models.decoder import with_ends
from egret.models.language_model_options import LanguageModelOptions, RecurrentLmOptions, TransformerLmOptions
from egret.models.norm import LayerNorm

AT_ONCE = 1 << 25  # numbers in the largest tensor of what is computed together: 128 MB


class LanguageModel(nn.Module):
    """Tokens [N, U] to scores of the next token [N, U, V], row u of what follows tokens 0 to u."""

    def __init__(self, vocabulary: int, options: LanguageModelOptions) -> None:
        super().__init__()
        chosen: Any = getattr(options, options.network)
        self.scale = math.sqrt(chosen.dim)
        self.embedding = nn.Embedding(vocabulary, chosen.dim)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)  # as an output's, it being multiplied as an input
        self.network = NETWORKS[options.network](chosen)
        self.output = nn.Linear(chosen.dim, vocabulary)
        if options.tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.network(self.embedding(tokens) * self.scale))

    def widest(self, length: int) -> int:
        """How many numbers are computed together for a place of a sentence of this length."""
        return max(self.output.out_features, self.network.widest(length))

    def bound(self, step: float) -> None:
        """Called after every step of training: no weight has limits."""


class Lstm(nn.Module):
    """Layers of LSTM (Zaremba et al. 2014, "Recurrent neural network regularization")."""

    def __init__(self, options: RecurrentLmOptions) -> None:
        super().__init__()
        self.rnn = nn.LSTM(options.dim, options.dim, options.layers, batch_first=True, dropout=between(options))
        self.dropout = nn.Dropout(options.dropout)

    def widest(self, length: int) -> int:
        return 4 * self.rnn.hidden_size  # the gates and the cell

    def forward(self, x: Tensor) -> Tensor:
        """[N, U, dim] to the same shape."""
        y, _ = self.rnn(self.dropout(x))
        return self.dropout(y)


class Gru(nn.Module):
    """Layers of gated recurrent units (Cho et al. 2014)."""

    def __init__(self, options: RecurrentLmOptions) -> None:
        super().__init__()
        self.rnn = nn.GRU(options.dim, options.dim, options.layers, batch_first=True, dropout=between(options))
        self.dropout = nn.Dropout(options.dropout)

    def widest(self, length: int) -> int:
        return 3 * self.rnn.hidden_size  # the gates and what is new

    def forward(self, x: Tensor) -> Tensor:
        """[N, U, dim] to the same shape."""
        y, _ = self.rnn(self.dropout(x))
        return self.dropout(y)


def between(options: RecurrentLmOptions) -> float:
    """Dropout between layers, of which PyTorch warns where there is but one."""
    return options.dropout if options.layers > 1 else 0.0


class CausalTransformer(nn.Module):
    """A Transformer's blocks (Vaswani et al. 2017) with normalisation before each part and at the end."""

    def __init__(self, options: TransformerLmOptions) -> None:
        super().__init__()
        self.dim, self.inner, self.heads = options.dim, options.feed_forward * options.dim, options.heads
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(CausalBlock(options) for _ in range(options.layers))
        self.norm = LayerNorm(options.dim)

    def widest(self, length: int) -> int:
        return max(3 * self.dim, self.inner, self.heads * length)  # queries, keys and values; attention

    def forward(self, x: Tensor) -> Tensor:
        """[N, U, dim] to the same shape."""
        count = x.shape[1]
        later = torch.ones(count, count, device=x.device, dtype=torch.bool).triu(1).expand(len(x), -1, -1)
        y = self.dropout(x + sinusoids(torch.arange(count, device=x.device), self.dim))
        for block in self.blocks:
            y = block(y, later)
        return self.norm(y)


class CausalBlock(nn.Module):
    """Attention to the tokens so far and feed-forward, each added to what came in."""

    def __init__(self, options: TransformerLmOptions) -> None:
        super().__init__()
        dim, inner = options.dim, options.feed_forward * options.dim
        self.norm = LayerNorm(dim)
        self.attention = DotAttention(dim, dim, dim, options.heads, options.attention_dropout)
        self.feed_forward_norm = LayerNorm(dim)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, y: Tensor, later: Tensor) -> Tensor:
        """[N, U, dim] to the same shape; `later` is true where a token must not be seen, bool [N, U, U]."""
        own = self.norm(y)
        keys, values = self.attention.prepare(own)
        y = y + self.dropout(self.attention(own, keys, values, later, own)[0])
        inner = self.dropout(functional.relu(self.widen(self.feed_forward_norm(y))))
        return y + self.dropout(self.narrow(inner))


NETWORKS: dict[str, Any] = {"lstm": Lstm, "gru": Gru, "transformer": CausalTransformer}


@torch.no_grad()
def token_scores(model: LanguageModel, sentences: Sequence[Sequence[int]]) -> list[list[float]]:
    """The logarithms of the probabilities of each sentence's tokens and of its end, by a model in evaluation mode.

    Sentences of similar length are scored together, on the device where the model lies.
    """
    device = model.embedding.weight.device
    scores: list[list[float]] = [[] for _ in sentences]
    order = sorted(range(len(sentences)), key=lambda place: len(sentences[place]))
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and size(model, end + 1 - begin, len(sentences[order[end]]) + 1) <= AT_ONCE:
            end += 1
        chosen = order[begin:end]
        given, wanted = with_ends([sentences[place] for place in chosen], device)
        losses = functional.cross_entropy(
            model(given).float().transpose(1, 2), wanted, ignore_index=-1, reduction="none"
        ).tolist()
        for place, row in zip(chosen, losses):
            scores[place] = [-loss for loss in row[: len(sentences[place]) + 1]]
        begin = end
    return scores


def size(model: LanguageModel, count: int, length: int) -> int:
    """How many numbers the largest tensor has of so many sentences of this length."""
    return count * length * model.widest(length)

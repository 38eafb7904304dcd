"""The Transformer's encoder over subsampled frames: blocks of self-attention and feed-forward.

Vaswani et al. 2017; for speech Dong et al. 2018, "Speech-Transformer". Positions are relative, as in the conformer, and
normalisation comes before each part and once more at the end.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import RelativeAttention
from egret.models.norm import LayerNorm
from egret.models.options import TransformerOptions
from egret.models.self_attention import SelfAttentionEncoder


class Transformer(SelfAttentionEncoder):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution."""

    def __init__(self, features: int, options: TransformerOptions) -> None:
        super().__init__(features, options, partial(TransformerBlock, options), LayerNorm(options.dim))


class TransformerBlock(nn.Module):
    """Self-attention, then feed-forward; each added to what came in."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        dim, inner = options.dim, options.feed_forward * options.dim
        self.attention_norm = LayerNorm(dim)
        self.attention = RelativeAttention(dim, options.heads, options.attention_dropout)
        self.feed_forward_norm = LayerNorm(dim)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, lengths: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] of lengths [N] to the same shape; `hidden` is what hidden_frames gives."""
        return self.behind(x, self.attention(self.attention_norm(x), positions, hidden))

    def start(self, batch: int, past: int) -> list[Tensor]:
        return self.attention.start(batch, past)

    def stream(self, x: Tensor, positions: Tensor, hidden: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; the rest as of RelativeAttention."""
        return self.behind(x, self.attention.stream(self.attention_norm(x), positions, hidden, past, state))

    def behind(self, x: Tensor, seen: Tensor) -> Tensor:
        """What becomes of a block's input x when attention has `seen` so much in it, both [N, T, dim]."""
        x = x + self.dropout(seen)
        inner = self.dropout(functional.relu(self.widen(self.feed_forward_norm(x))))
        return x + self.dropout(self.narrow(inner))

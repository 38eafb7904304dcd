"""The Transformer's encoder over subsampled frames: blocks of self-attention and feed-forward.

Vaswani et al. 2017; for speech Dong et al. 2018, "Speech-Transformer". Positions are relative, as in the conformer, and
normalisation comes before each part and once more at the end.
"""

from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import RelativeAttention, relative_positions
from egret.models.masking import hidden_frames
from egret.models.norm import LayerNorm
from egret.models.options import TransformerOptions
from egret.models.subsampling import ConvSubsampling


class Transformer(nn.Module):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution."""

    def __init__(self, features: int, options: TransformerOptions) -> None:
        super().__init__()
        self.out_dim = options.dim
        self.strides = options.strides
        self.chunk, self.left_chunks = options.chunk, options.left_chunks
        self.subsampling = ConvSubsampling(features, options.channels, options.strides, options.dim)
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(options) for _ in range(options.layers))
        self.norm = LayerNorm(options.dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', dim], their lengths [N], and what came out of the
        block in the middle [N, T', dim]."""
        x, lengths = self.subsampling(x, lengths)
        middle = x
        x = self.dropout(x)
        positions = relative_positions(x.shape[1], self.out_dim, x)
        hidden = hidden_frames(lengths, x.shape[1], self.chunk, self.left_chunks)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, positions, hidden)
            if number == len(self.blocks) // 2:
                middle = self.norm(x)
        return self.norm(x), lengths, middle


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

    def forward(self, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] to the same shape; `hidden` is what hidden_frames gives."""
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, hidden))
        inner = self.dropout(functional.relu(self.widen(self.feed_forward_norm(x))))
        return x + self.dropout(self.narrow(inner))

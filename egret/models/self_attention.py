"""What encoders of blocks with self-attention over subsampled frames have in common."""

from collections.abc import Callable

from torch import Tensor, nn

from egret.models.attention import relative_positions
from egret.models.masking import hidden_frames
from egret.models.options import SelfAttentionOptions
from egret.models.subsampling import ConvSubsampling


class SelfAttentionEncoder(nn.Module):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution.

    Args:
      make_block: a block, called with x [N, T', dim], lengths, relative positions, and what hidden_frames gives.
      norm: of what comes out, and of what comes out of the middle.
    """

    def __init__(
        self, features: int, options: SelfAttentionOptions, make_block: Callable[[], nn.Module], norm: nn.Module
    ) -> None:
        super().__init__()
        self.out_dim = options.dim
        self.strides = options.strides
        self.chunk, self.left_chunks = options.chunk, options.left_chunks
        self.subsampling = ConvSubsampling(features, options.channels, options.strides, options.dim)
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(make_block() for _ in range(options.layers))
        self.norm = norm

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', dim], their lengths [N], and what came out of the
        block in the middle [N, T', dim]."""
        x, lengths = self.subsampling(x, lengths)
        middle = x
        x = self.dropout(x)
        positions = relative_positions(x.shape[1], self.out_dim, x)
        hidden = hidden_frames(lengths, x.shape[1], self.chunk, self.left_chunks)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, lengths, positions, hidden)
            if number == len(self.blocks) // 2:
                middle = self.norm(x)
        return self.norm(x), lengths, middle

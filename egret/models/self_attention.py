"""What encoders of blocks with self-attention over subsampled frames have in common."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from egret.models.attention import relative_positions
from egret.models.masking import hidden_frames, hidden_in_stream
from egret.models.options import SelfAttentionOptions
from egret.models.streaming import refuse, unchanged, whole_chunks
from egret.models.subsampling import ConvSubsampling


class SelfAttentionEncoder(nn.Module):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution.

    In chunks it can stream (egret.models.streaming).

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
        self.piece = options.chunk * math.prod(options.strides)
        self.delay = self.subsampling.delay()
        self.cannot_stream = "" if options.chunk else options.whole()

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

    @torch.jit.export
    def start(self, batch: int) -> list[Tensor]:
        """The state of `batch` utterances of which nothing has been heard."""
        refuse(self.cannot_stream, self.training)
        weight = self.subsampling.linear.weight
        heard = torch.zeros(batch, dtype=torch.int64, device=weight.device)  # frames
        state = self.subsampling.start(batch)
        state += [weight.new_zeros(batch, 0, self.out_dim), heard]
        for block in self.blocks:
            state += block.start(batch, max(self.left_chunks, 0) * self.chunk)
        return state

    @torch.jit.export
    def stream(self, x: Tensor, state: list[Tensor], last: bool = False) -> tuple[Tensor, list[Tensor]]:
        """A piece of features [N, T, C] to the outputs [N, T', dim] that are settled by now, and the next state."""
        batch = x.shape[0]
        state = state.copy()
        x = whole_chunks(self.subsampling.stream(x, state, last), state, self.chunk, last)
        frames = x.shape[1]
        heard = state.pop(0)
        state.append(heard + frames)
        if frames:
            past = state[0].shape[1]  # of the first block's attention
            positions = relative_positions(past + frames, self.out_dim, x)[: past + 2 * frames - 1]
            hidden = hidden_in_stream(heard, past, frames, self.chunk, self.left_chunks)
            if self.left_chunks < 0:
                past += frames  # nothing is forgotten
            for block in self.blocks:
                x = block.stream(x, positions, hidden, past, state)
        else:
            unchanged(state, len(state) - len(self.strides) - 2)  # all but those of the subsampling and of this module
        return self.norm(x), self.start(batch) if last else state

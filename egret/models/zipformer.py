"""Zipformer: stacks of blocks at several frame rates, wide in the middle, where frames are few.

Yao et al. 2024, "Zipformer: A faster and better encoder for automatic speech recognition", arXiv:2310.11230. Trained
with the optimiser scaled_adam and the schedule eden. What the paper's authors use besides, in training only, is left
out: their balancer and whitener, which change gradients where activations leave a range or are correlated, and the
random leaving out of blocks, channels and attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.masking import hidden_frames, mask_frames, mask_images, strided
from egret.models.zipformer_modules import (
    AttentionWeights,
    BiasNorm,
    Bypass,
    ConvolutionModule,
    Downsample,
    FeedForward,
    NonLinearAttention,
    SelfAttention,
    compact_positions,
    swoosh_l,
    swoosh_r,
)
from egret.models.zipformer_options import ZipformerOptions


class Zipformer(nn.Module):
    """[N, T, C] at 100 frames a second to [N, T', widest stack] at 25, T' = T / 2 / 2, rounded up twice."""

    def __init__(self, features: int, options: ZipformerOptions) -> None:
        super().__init__()
        self.out_dim = max(options.dims)
        self.strides = [2, 2]
        self.bypass_warmup = options.bypass_warmup
        self.embedding = ConvEmbedding(features, options)
        self.stacks = nn.ModuleList(Stack(options, number) for number in range(len(options.dims)))
        self.downsample = Downsample(2)
        self.bound(0)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', out_dim], their lengths [N], and what the stacks up to
        the one in the middle would give alone [N, T', out_dim]; channels that none of them has are zero there."""
        x, lengths = self.embedding(x, lengths)
        outputs: list[Tensor] = []
        for stack in self.stacks:
            x = stack(x, lengths)
            outputs.append(x)
        middle, _ = self.downsample(joined(outputs[: len(outputs) // 2 + 1], self.out_dim), lengths)
        x, lengths = self.downsample(joined(outputs, self.out_dim), lengths)
        return x, lengths, middle

    @torch.jit.unused
    def bound(self, step: float) -> None:
        """Keep what the bypasses take of what blocks make between 0.9, or after `bypass_warmup` steps 0.2, and 1.

        Between steps and not in the formula, where a weight at its limit would get no gradient ever again.
        """
        least = 0.9 if step < self.bypass_warmup else 0.2
        for module in self.modules():
            if isinstance(module, Bypass) and module.scale.requires_grad:
                module.scale.data.clamp_(least, 1.0)


def joined(outputs: list[Tensor], dim: int) -> Tensor:
    """One output [N, T, dim] of those of the stacks: the last one's, and channels that it has not from the latest one
    that has them (section 3.1)."""
    parts = [outputs[-1]]
    width = outputs[-1].shape[2]
    for back in range(2, len(outputs) + 1):
        output = outputs[-back]
        if output.shape[2] > width:
            parts.append(output[:, :, width:])
            width = output.shape[2]
    return with_channels(torch.cat(parts, dim=2), dim)


def with_channels(x: Tensor, dim: int) -> Tensor:
    """[N, T, C] to [N, T, dim]: the first channels, or zeros behind those that there are."""
    return functional.pad(x, [0, dim - x.shape[2]]) if x.shape[2] < dim else x[:, :, :dim]


class ConvEmbedding(nn.Module):
    """[N, T, C] to [N, T / 2, first stack's width], rounded up: three convolutions, of which the second halves time and
    the last two halve frequency, a ConvNeXt layer (Liu et al. 2022, "A ConvNet for the 2020s"), a linear layer
    (section 3.1)."""

    def __init__(self, features: int, options: ZipformerOptions) -> None:
        super().__init__()
        self.filled = max(7 - features, 0)  # numbers that a frame is given more, for the convolutions to leave one
        first, second, third = options.channels
        self.causal = options.chunk > 0
        self.convolution1 = nn.Conv2d(1, first, 3, padding=1)
        self.convolution2 = nn.Conv2d(first, second, 3, stride=2, padding=(1, 0))
        self.convolution3 = nn.Conv2d(second, third, 3, stride=(1, 2), padding=(1, 0))
        self.depthwise = nn.Conv2d(third, third, 7, padding=3, groups=third)
        self.widen = nn.Linear(third, 3 * third)
        self.narrow = nn.Linear(3 * third, third)
        frequencies = ((features + self.filled - 1) // 2 - 1) // 2
        self.linear = nn.Linear(frequencies * third, options.dims[0])
        self.norm = BiasNorm(options.dims[0])
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.pad(mask_frames(x, lengths), [0, self.filled])
        x = self.later(x.unsqueeze(1), 1)
        x = swoosh_r(self.cut(self.convolution1(x), 1))
        x = swoosh_r(self.convolution2(mask_images(x, lengths)))
        lengths = strided(lengths, 2)
        x = swoosh_r(self.cut(self.convolution3(self.later(mask_images(x, lengths), 1)), 1))
        # Channels last: half the time on a CPU, and the pointwise convolutions are then products.
        x = mask_images(x, lengths).contiguous(memory_format=torch.channels_last)
        wide = self.widen(self.cut(self.depthwise(self.later(x, 3)), 3).permute(0, 2, 3, 1))
        x = x.permute(0, 2, 3, 1) + self.narrow(swoosh_l(wide))
        return self.dropout(self.norm(self.linear(x.flatten(2)))), lengths

    def later(self, x: Tensor, frames: int) -> Tensor:
        """[N, C, T, F] for a convolution that sees so many frames on both sides: where it must be causal, moved by them
        to a later time."""
        return functional.pad(x, [0, 0, frames, 0]) if self.causal else x

    def cut(self, x: Tensor, frames: int) -> Tensor:
        """The convolution's output without the frames by which that has made it longer."""
        return x[:, :, :-frames] if self.causal else x


class Stack(nn.Module):
    """Blocks at a frame rate of their own. What they make is brought back to the rate of their input by repetition, and
    mixed with the input."""

    def __init__(self, options: ZipformerOptions, number: int) -> None:
        super().__init__()
        self.dim, self.position_dim = options.dims[number], options.position_dim
        self.stride = options.downsampling[number]
        self.chunk, self.left_chunks = 2 * options.chunk // self.stride, options.left_chunks
        self.blocks = nn.ModuleList(Block(options, number) for _ in range(options.layers[number]))
        self.downsample = Downsample(self.stride) if self.stride > 1 else None
        self.bypass = Bypass(self.dim) if self.stride > 1 else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[N, T, C] of lengths [N] to [N, T, dim]."""
        x = with_channels(x, self.dim)
        y = x
        if self.downsample is not None:
            y, lengths = self.downsample(x, lengths)
        positions = compact_positions(y.shape[1], self.position_dim, y)
        hidden = hidden_frames(lengths, y.shape[1], self.chunk, self.left_chunks)
        for block in self.blocks:
            y = block(y, lengths, positions, hidden)
        if self.bypass is not None:
            y = self.bypass(x, repeated(y, self.stride)[:, : x.shape[1]])
        return y


def repeated(x: Tensor, times: int) -> Tensor:
    """Each frame of [N, T, C] so many times: [N, times T, C]."""
    return x.unsqueeze(2).expand(-1, -1, times, -1).flatten(1, 2)


class Block(nn.Module):
    """Attention weights, made once, for three modules that use them; feed-forward and convolution modules between
    them; a bypass of the first half, and one of the whole, behind the norm (section 3.2)."""

    def __init__(self, options: ZipformerOptions, number: int) -> None:
        super().__init__()
        dim, inner, heads = options.dims[number], options.feed_forward[number], options.heads[number]
        kernel, causal, dropout = options.kernels[number], options.chunk > 0, options.dropout
        self.weights = AttentionWeights(
            dim, heads, options.query_dim, options.position_query_dim, options.position_dim, options.attention_dropout
        )
        self.feed_forward1 = FeedForward(dim, inner * 3 // 4, dropout)
        self.non_linear_attention = NonLinearAttention(dim)
        self.attention1 = SelfAttention(dim, heads, options.value_dim)
        self.convolution1 = ConvolutionModule(dim, kernel, causal)
        self.feed_forward2 = FeedForward(dim, inner, dropout)
        self.middle_bypass = Bypass(dim)
        self.attention2 = SelfAttention(dim, heads, options.value_dim)
        self.convolution2 = ConvolutionModule(dim, kernel, causal)
        self.feed_forward3 = FeedForward(dim, inner * 5 // 4, dropout)
        self.norm = BiasNorm(dim)
        self.bypass = Bypass(dim)

    def forward(self, x: Tensor, lengths: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] of lengths [N] to the same shape; `hidden` is what hidden_frames gives."""
        weights = self.weights(x, positions, hidden)
        y = x + self.feed_forward1(x)
        y = y + self.non_linear_attention(y, weights[0])
        y = y + self.attention1(y, weights)
        y = y + self.convolution1(y, lengths)
        y = y + self.feed_forward2(y)
        y = self.middle_bypass(x, y)
        y = y + self.attention2(y, weights)
        y = y + self.convolution2(y, lengths)
        y = y + self.feed_forward3(y)
        return self.bypass(x, self.norm(y))

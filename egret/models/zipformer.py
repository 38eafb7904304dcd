"""Zipformer: stacks of blocks at several frame rates, wide in the middle, where frames are few.

Yao et al. 2024, "Zipformer: A faster and better encoder for automatic speech recognition", arXiv:2310.11230. Trained
with the optimiser scaled_adam and the schedule eden. What the paper's authors use besides, in training only, is left
out: their balancer and whitener, which change gradients where activations leave a range or are correlated, and the
random leaving out of blocks, channels and attention.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.masking import full_lengths, hidden_frames, hidden_in_stream, mask_frames, mask_images, strided
from egret.models.streaming import convolve, refuse, unchanged, whole_chunks
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
    """[N, T, C] at 100 frames a second to [N, T', widest stack] at 25, T' = T / 2 / 2, rounded up twice.

    In chunks it can stream (egret.models.streaming).
    """

    def __init__(self, features: int, options: ZipformerOptions) -> None:
        super().__init__()
        self.out_dim = max(options.dims)
        self.strides = [2, 2]
        self.bypass_warmup = options.bypass_warmup
        self.embedding = ConvEmbedding(features, options)
        self.stacks = nn.ModuleList(Stack(options, number) for number in range(len(options.dims)))
        self.downsample = Downsample(2)
        self.bound(0)
        self.chunk = 2 * options.chunk  # at 50 frames a second
        self.piece, self.delay = 4 * options.chunk, 0
        self.cannot_stream = "" if options.chunk else options.whole()

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

    @torch.jit.export
    def start(self, batch: int) -> list[Tensor]:
        """The state of `batch` utterances of which nothing has been heard."""
        refuse(self.cannot_stream, self.training)
        weight = self.embedding.linear.weight
        heard = torch.zeros(batch, dtype=torch.int64, device=weight.device)  # frames, 50 a second
        state = self.embedding.start(batch)
        state += [weight.new_zeros(batch, 0, weight.shape[0]), heard]
        for stack in self.stacks:
            state += stack.start(batch)
        return state

    @torch.jit.export
    def stream(self, x: Tensor, state: list[Tensor], last: bool = False) -> tuple[Tensor, list[Tensor]]:
        """A piece of features [N, T, C] to the outputs [N, T', out_dim] that are settled by now, and the next state."""
        batch = x.shape[0]
        state = state.copy()
        x = whole_chunks(self.embedding.stream(x, state, last), state, self.chunk, last)
        heard = state.pop(0)
        state.append(heard + x.shape[1])
        if x.shape[1]:
            outputs: list[Tensor] = []
            for stack in self.stacks:
                x = stack.stream(x, heard, state)
                outputs.append(x)
            x, _ = self.downsample(joined(outputs, self.out_dim), full_lengths(x))
        else:
            unchanged(state, len(state) - 6)  # all but those of the embedding and of this module itself
            x = x.new_zeros(batch, 0, self.out_dim)
        return x, self.start(batch) if last else state

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
        self.bins = features + self.filled
        self.convolution1 = nn.Conv2d(1, first, 3, padding=1)
        self.convolution2 = nn.Conv2d(first, second, 3, stride=2, padding=(1, 0))
        self.convolution3 = nn.Conv2d(second, third, 3, stride=(1, 2), padding=(1, 0))
        self.depthwise = nn.Conv2d(third, third, 7, padding=3, groups=third)
        self.widen = nn.Linear(third, 3 * third)
        self.narrow = nn.Linear(3 * third, third)
        frequencies = ((self.bins - 1) // 2 - 1) // 2
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
        return self.behind(x, self.cut(self.depthwise(self.later(x, 3)), 3)), lengths

    def behind(self, x: Tensor, convolved: Tensor) -> Tensor:
        """[N, T, width] of what the third convolution made, and of what the depthwise one made of it,
        both [N, C, T, F]."""
        wide = self.widen(convolved.permute(0, 2, 3, 1))
        x = x.permute(0, 2, 3, 1) + self.narrow(swoosh_l(wide))
        return self.dropout(self.norm(self.linear(x.flatten(2))))

    def start(self, batch: int) -> list[Tensor]:
        weight, bins = self.convolution1.weight, self.bins
        return [
            weight.new_zeros(batch, 1, 2, bins),
            weight.new_zeros(batch, self.convolution1.out_channels, 1, bins),
            weight.new_zeros(batch, self.convolution2.out_channels, 2, (bins - 1) // 2),
            weight.new_zeros(batch, self.convolution3.out_channels, 6, ((bins - 1) // 2 - 1) // 2),
        ]

    def stream(self, x: Tensor, state: list[Tensor], last: bool) -> Tensor:
        """[N, T, C] to as many frames [N, T', width] as can be made by now; see egret.models.streaming. It must be
        causal."""
        first, second, third, deep = self.convolution1, self.convolution2, self.convolution3, self.depthwise
        x = functional.pad(x, [0, self.filled]).unsqueeze(1)
        x = swoosh_r(convolve(x, state, last, first.weight, first.bias, [1, 1], padding=1, after=0))
        x = swoosh_r(convolve(x, state, last, second.weight, second.bias, [2, 2], padding=0, after=1))
        x = swoosh_r(convolve(x, state, last, third.weight, third.bias, [1, 2], padding=0, after=0))
        groups = x.shape[1]
        return self.behind(x, convolve(x, state, last, deep.weight, deep.bias, [1, 1], 3, after=0, groups=groups))

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
        return self.at_input_rate(x, y)

    def at_input_rate(self, x: Tensor, y: Tensor) -> Tensor:
        """What the blocks made, y [N, T / stride, dim], at the rate of x [N, T, dim] and mixed with it."""
        if self.bypass is not None:
            y = self.bypass(x, repeated(y, self.stride)[:, : x.shape[1]])
        return y

    def start(self, batch: int) -> list[Tensor]:
        state: list[Tensor] = []
        for block in self.blocks:
            state += block.start(batch, max(self.left_chunks, 0) * self.chunk)
        return state

    def stream(self, x: Tensor, heard: Tensor, state: list[Tensor]) -> Tensor:
        """A piece [N, T, C] that begins with a chunk to [N, T, dim]; `heard` [N] frames were before it."""
        x = with_channels(x, self.dim)
        y = x
        if self.downsample is not None:
            y, _ = self.downsample(x, full_lengths(x))
            heard = torch.div(heard, self.stride, rounding_mode="floor")
        past, frames = state[0].shape[1], y.shape[1]  # past: of the first block's attention
        positions = compact_positions(past + frames, self.position_dim, y)[: past + 2 * frames - 1]
        hidden = hidden_in_stream(heard, past, frames, self.chunk, self.left_chunks)
        if self.left_chunks < 0:
            past += frames  # nothing is forgotten
        for block in self.blocks:
            y = block.stream(y, positions, hidden, past, state)
        return self.at_input_rate(x, y)


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

    def start(self, batch: int, past: int) -> list[Tensor]:
        return (
            self.weights.start(batch, past)
            + self.non_linear_attention.start(batch, past)
            + self.attention1.start(batch, past)
            + self.convolution1.start(batch)
            + self.attention2.start(batch, past)
            + self.convolution2.start(batch)
        )

    def stream(self, x: Tensor, positions: Tensor, hidden: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; the rest as of AttentionWeights."""
        weights = self.weights.stream(x, positions, hidden, past, state)
        y = x + self.feed_forward1(x)
        y = y + self.non_linear_attention.stream(y, weights[0], past, state)
        y = y + self.attention1.stream(y, weights, past, state)
        y = y + self.convolution1.stream(y, state)
        y = y + self.feed_forward2(y)
        y = self.middle_bypass(x, y)
        y = y + self.attention2.stream(y, weights, past, state)
        y = y + self.convolution2.stream(y, state)
        y = y + self.feed_forward3(y)
        return self.bypass(x, self.norm(y))

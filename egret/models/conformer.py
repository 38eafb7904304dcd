"""Conformer: blocks of self-attention over the utterance and convolution over its neighbourhood.

Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition".
"""

from functools import partial
from typing import Optional

from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import RelativeAttention
from egret.models.masking import full_lengths, mask_frames
from egret.models.norm import NORMS, LayerNorm
from egret.models.options import ConformerOptions
from egret.models.self_attention import SelfAttentionEncoder
from egret.models.streaming import convolve


class Conformer(SelfAttentionEncoder):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution."""

    def __init__(self, features: int, options: ConformerOptions) -> None:
        # Blocks have norms of their own.
        super().__init__(features, options, partial(ConformerBlock, options), norm=nn.Identity())


class ConformerBlock(nn.Module):
    """Half a feed-forward, self-attention, convolution, half a feed-forward; each added to what came in."""

    def __init__(self, options: ConformerOptions) -> None:
        super().__init__()
        dim = options.dim
        self.feed_forward1 = FeedForward(dim, options.feed_forward * dim, options.dropout)
        self.attention_norm = LayerNorm(dim)
        self.attention = RelativeAttention(dim, options.heads, options.attention_dropout)
        self.convolution = ConvolutionModule(dim, options.kernel, options.norm, causal=options.chunk > 0)
        self.feed_forward2 = FeedForward(dim, options.feed_forward * dim, options.dropout)
        self.norm = LayerNorm(dim)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, lengths: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] of lengths [N] to the same shape; `hidden` is what hidden_frames gives."""
        x = x.add(self.dropout(self.feed_forward1(x)), alpha=0.5)
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, hidden))
        x = x + self.dropout(self.convolution(x, lengths))
        x = x.add(self.dropout(self.feed_forward2(x)), alpha=0.5)
        return self.norm(x)

    def start(self, batch: int, past: int) -> list[Tensor]:
        return self.attention.start(batch, past) + self.convolution.start(batch)

    def stream(self, x: Tensor, positions: Tensor, hidden: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; the rest as of RelativeAttention."""
        x = x.add(self.dropout(self.feed_forward1(x)), alpha=0.5)
        x = x + self.dropout(self.attention.stream(self.attention_norm(x), positions, hidden, past, state))
        x = x + self.dropout(self.convolution.stream(x, state))
        x = x.add(self.dropout(self.feed_forward2(x)), alpha=0.5)
        return self.norm(x)


class FeedForward(nn.Sequential):
    """Normalise, widen, swish, narrow."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__(LayerNorm(dim), nn.Linear(dim, inner), nn.SiLU(), nn.Dropout(dropout), nn.Linear(inner, dim))


class ConvolutionModule(nn.Module):
    """Gated pointwise convolution, depthwise convolution over `kernel` frames, none of them later if it is causal,
    pointwise convolution."""

    def __init__(self, dim: int, kernel: int, norm: str, causal: bool = False) -> None:
        super().__init__()
        self.later = 0 if causal else kernel // 2  # frames after its own that an output sees
        self.norm_in = LayerNorm(dim)
        self.widen = nn.Linear(dim, 2 * dim)  # a pointwise convolution, in the layout [N, T, C]
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = NORMS[norm](dim)
        self.narrow = nn.Linear(dim, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = functional.glu(self.widen(self.norm_in(x)), dim=2)
        x = depthwise(mask_frames(x, lengths), self.depthwise.weight, self.depthwise.bias, self.later)
        return self.narrow(functional.silu(self.norm(x, lengths)))

    def start(self, batch: int) -> list[Tensor]:
        return depthwise_start(self.depthwise.weight, batch)

    def stream(self, x: Tensor, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; the module must be causal."""
        x = functional.glu(self.widen(self.norm_in(x)), dim=2)
        x = depthwise_stream(x, self.depthwise.weight, self.depthwise.bias, state)
        return self.narrow(functional.silu(self.norm(x, full_lengths(x))))


def depthwise(x: Tensor, weight: Tensor, bias: Optional[Tensor], later: int) -> Tensor:
    """A convolution over time of each channel by itself, weights [C, 1, kernel], [N, T, C] to the same shape;
    an output sees as many frames after its own as `later` says.

    As images one pixel wide whose channels lie last: frames are not copied to [N, C, T] and back, and on a CPU it takes
    a sixth of the time (as images one pixel high, the gradient of the weights would take ten times as long again).
    """
    before = weight.shape[2] - 1 - later
    if before != later:
        x = functional.pad(x, [0, 0, before, later])
        before = 0
    images = x.unsqueeze(2).permute(0, 3, 1, 2)
    x = functional.conv2d(images, weight.unsqueeze(3), bias, padding=[before, 0], groups=weight.shape[0])
    return x.squeeze(3).transpose(1, 2)


def depthwise_start(weight: Tensor, batch: int) -> list[Tensor]:
    """The state with which depthwise_stream starts: the zeros before the first frame of so many utterances."""
    return [weight.new_zeros(batch, weight.shape[0], weight.shape[2] - 1, 1)]


def depthwise_stream(x: Tensor, weight: Tensor, bias: Optional[Tensor], state: list[Tensor]) -> Tensor:
    """What `depthwise` gives where no later frame is seen, of a piece [N, T, C]; see egret.models.streaming."""
    images = x.unsqueeze(2).permute(0, 3, 1, 2)
    x = convolve(images, state, False, weight.unsqueeze(3), bias, [1, 1], padding=0, after=0, groups=weight.shape[0])
    return x.squeeze(3).transpose(1, 2)

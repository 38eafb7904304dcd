"""What a zipformer is made of: activations, normalisation, bypass, change of frame rate, attention, convolution.

Yao et al. 2024, "Zipformer: A faster and better encoder for automatic speech recognition", arXiv:2310.11230. Layouts
are [N, T, C]; attention weights are [H, N, T, T], so that those of the first head lie together.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import shift
from egret.models.conformer import depthwise, depthwise_start, depthwise_stream
from egret.models.masking import frame_mask, mask_frames, strided
from egret.models.streaming import remember


class _Swoosh(torch.autograd.Function):
    """log(1 + exp(x - bend)) - 0.08 x - offset, keeping one array for the way back and going over few."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bend: float, offset: float) -> Tensor:
        bent = x - bend
        ctx.save_for_backward(bent)
        with torch.autocast(x.device.type, enabled=False):  # in the precision of x, of which the gradient then is too
            return functional.softplus(bent).add_(bent, alpha=-0.08).sub_(offset + 0.08 * bend)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (bent,) = ctx.saved_tensors
        return torch.ops.aten.softplus_backward(gradient, bent, 1.0, 20.0).add_(gradient, alpha=-0.08), None, None


def swoosh(x: Tensor, bend: float, offset: float) -> Tensor:
    """log(1 + exp(x - bend)) - 0.08 x - offset, of any shape."""
    if torch.jit.is_scripting():
        return functional.softplus(x - bend) - 0.08 * x - offset
    else:  # TorchScript leaves out the branch that it cannot compile only where there is an else
        return _Swoosh.apply(x, bend, offset)


def swoosh_l(x: Tensor) -> Tensor:
    """For modules that are off as a rule, to which it gives a slope where they are."""
    return swoosh(x, 4.0, 0.035)


def swoosh_r(x: Tensor) -> Tensor:
    """For convolutions: zero at zero."""
    return swoosh(x, 1.0, 0.313261687)


class BiasNorm(nn.Module):
    """x / RMS(x - bias) * exp(scale): the length of x is not lost altogether (section 3.3). `scale` is one number."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(dim))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, C] to the same shape, in the precision of the weights; a frame of zeros stays one."""
        x = x.to(self.bias.dtype)
        power = (x - self.bias).square().mean(dim=2, keepdim=True) + 1e-8
        return x * (power.rsqrt() * self.scale.exp())


class Bypass(nn.Module):
    """(1 - c) x + c y, c learned for each channel (section 3.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Of x and what a module made of it, y, both [N, T, C]. Zipformer.bound keeps c within its limits."""
        return torch.lerp(x, y, self.scale)


class Downsample(nn.Module):
    """`stride` frames to one: their weighted mean, the weights learned, a softmax over the place in the group (section
    3.1). In a last group that is not full the frames that there are share the weight."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.zeros(stride))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[N, T, C] of lengths [N] to [N, T / stride, C] and the new lengths, both rounded up."""
        batch, frames, dim = x.shape
        groups = (frames + self.stride - 1) // self.stride
        x = functional.pad(x, [0, 0, 0, groups * self.stride - frames])
        inside = frame_mask(lengths, groups * self.stride).view(batch, groups, self.stride)
        weight = self.weight.softmax(0) * inside
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-9)
        x = (x.view(batch, groups, self.stride, dim) * weight.unsqueeze(3)).sum(dim=2)
        return x, strided(lengths, self.stride)


class FeedForward(nn.Sequential):
    """Widen, SwooshL, narrow."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, inner), SwooshL(), nn.Dropout(dropout), begin_small(nn.Linear(inner, dim), 0.1))


class SwooshL(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return swoosh_l(x)


class AttentionWeights(nn.Module):
    """How much each frame looks at each other one, by head; the modules of a block share it (section 3.2).

    Scores are those of queries with keys, and of further short queries with the distance of the two frames.
    """

    def __init__(
        self, dim: int, heads: int, query_dim: int, position_query_dim: int, position_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.query_dim = heads, query_dim
        self.sizes = [query_dim, query_dim, position_query_dim]
        # Queries and keys begin small instead of their product's being divided by the root of their size.
        self.project = begin_small(nn.Linear(dim, heads * sum(self.sizes)), query_dim**-0.25)
        self.project_positions = begin_small(nn.Linear(position_dim, heads * position_query_dim, bias=False), 0.05)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """[N, T, dim] to [H, N, T, T]: row t sums to 1 and says where frame t looks.

        Args:
          positions: [2 T - 1, position_dim], what compact_positions gives.
          hidden: what hidden_frames gives.
        """
        query, key, position_query = self.parts(x)
        return self.weigh(query, key, position_query, positions, hidden)

    def start(self, batch: int, past: int) -> list[Tensor]:
        """Keys [N, past, H, query_dim], of frames that `hidden` must hide."""
        return [self.project.weight.new_zeros(batch, past, self.heads, self.query_dim)]

    def stream(self, x: Tensor, positions: Tensor, hidden: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to [H, N, T, S], S frames being those in the state and T; see egret.models.streaming.

        Args:
          positions: [S + T - 1, position_dim] of the distances S - 1, ..., -(T - 1).
          hidden: bool [N, T, S].
          past: how many frames to remember.
        """
        query, key, position_query = self.parts(x)
        return self.weigh(query, remember(key, state, past), position_query, positions, hidden)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and queries of positions of x [N, T, dim], each [N, T, H, size]."""
        parts = self.project(x).view(x.shape[0], x.shape[1], self.heads, -1).split(self.sizes, dim=3)
        return parts[0], parts[1], parts[2]

    def weigh(self, query: Tensor, key: Tensor, position_query: Tensor, positions: Tensor, hidden: Tensor) -> Tensor:
        """The weights [H, N, T, S] of queries [N, T, H, size] and keys [N, S, H, size]."""
        batch, frames = query.shape[:2]
        query, key = query.permute(2, 0, 1, 3), key.permute(2, 0, 1, 3)
        position_query = position_query.permute(2, 0, 1, 3)
        distance = self.project_positions(positions).view(-1, self.heads, self.sizes[2]).permute(1, 2, 0)
        by_distance = torch.bmm(position_query.flatten(1, 2), distance).view(self.heads, batch, frames, -1)
        scores = torch.baddbmm(
            shift(by_distance).flatten(0, 1), query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
        ).view(self.heads, batch, frames, -1)
        with torch.no_grad():  # as in egret.models.attention
            scores.masked_fill_(hidden, -1e4)
        return self.dropout(scores.softmax(dim=3))


class SelfAttention(nn.Module):
    """Short values, seen through attention weights that were made before."""

    def __init__(self, dim: int, heads: int, value_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.values = nn.Linear(dim, heads * value_dim)
        self.narrow = begin_small(nn.Linear(heads * value_dim, dim), 0.05)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """[N, T, dim] and [H, N, T, T] to [N, T, dim]."""
        return self.seen(self.values(x), weights)

    def start(self, batch: int, past: int) -> list[Tensor]:
        """Values [N, past, H * value_dim]."""
        return [self.values.weight.new_zeros(batch, past, self.values.out_features)]

    def stream(self, x: Tensor, weights: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] and [H, N, T, S] to [N, T, dim]; `past` frames are remembered."""
        return self.seen(remember(self.values(x), state, past), weights)

    def seen(self, values: Tensor, weights: Tensor) -> Tensor:
        """[N, T, dim] of values [N, S, H * value_dim] and weights [H, N, T, S]."""
        heads, batch, frames, keys = weights.shape
        values = values.view(batch, keys, heads, -1).permute(2, 0, 1, 3)
        seen = torch.bmm(weights.flatten(0, 1), values.flatten(0, 1)).view(heads, batch, frames, -1)
        return self.narrow(seen.permute(1, 2, 0, 3).reshape(batch, frames, -1))


class NonLinearAttention(nn.Module):
    """Wide values, gated before they are seen through the weights of one head, and multiplied after (section 3.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, 3 * (3 * dim // 4))
        self.narrow = begin_small(nn.Linear(3 * dim // 4, dim), 0.05)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """[N, T, dim] and the weights of one head [N, T, T] to [N, T, dim]."""
        gate, values, factor = self.widen(x).chunk(3, dim=2)
        return self.narrow(torch.bmm(weights, values * gate.tanh()) * factor)

    def start(self, batch: int, past: int) -> list[Tensor]:
        """Gated values [N, past, 3 dim / 4]."""
        return [self.narrow.weight.new_zeros(batch, past, self.narrow.in_features)]

    def stream(self, x: Tensor, weights: Tensor, past: int, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] and the weights of one head [N, T, S] to [N, T, dim]; `past` frames are remembered."""
        gate, values, factor = self.widen(x).chunk(3, dim=2)
        return self.narrow(torch.bmm(weights, remember(values * gate.tanh(), state, past)) * factor)


class ConvolutionModule(nn.Module):
    """Gated pointwise convolution, depthwise convolution over `kernel` frames, none of them later if it is causal,
    SwooshR, pointwise convolution."""

    def __init__(self, dim: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.later = 0 if causal else kernel // 2  # frames after its own that an output sees
        self.widen = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.narrow = begin_small(nn.Linear(dim, dim), 0.05)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = mask_frames(functional.glu(self.widen(x), dim=2), lengths)
        return self.narrow(swoosh_r(depthwise(x, self.depthwise.weight, self.depthwise.bias, self.later)))

    def start(self, batch: int) -> list[Tensor]:
        return depthwise_start(self.depthwise.weight, batch)

    def stream(self, x: Tensor, state: list[Tensor]) -> Tensor:
        """A piece [N, T, dim] to the same shape; the module must be causal."""
        x = functional.glu(self.widen(x), dim=2)
        return self.narrow(swoosh_r(depthwise_stream(x, self.depthwise.weight, self.depthwise.bias, state)))


def begin_small(linear: nn.Linear, factor: float) -> nn.Linear:
    """The layer with its first weights multiplied, so that a module that is added to its input begins as next to
    nothing."""
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.mul_(factor)
    return linear


def compact_positions(frames: int, dim: int, like: Tensor) -> Tensor:
    """Cosines and sines [2 T - 1, dim] that stand for the distances T - 1, ..., 0, ..., -(T - 1), of the type and
    device of `like`.

    A distance is squeezed twice, by a logarithm and by an arc tangent, to an angle between minus and plus a quarter of
    a circle: near frames are told apart well, far ones roughly, and dim can be small. The last sine gives its place to
    a 1, for what does not depend on the distance.
    """
    distances = torch.arange(frames - 1, -frames, -1.0, device=like.device)
    root = math.sqrt(dim)
    squeezed = distances.sign() * root * (1 + distances.abs() / root).log()
    angles = (squeezed * (2 * math.pi / dim)).atan().unsqueeze(1)
    angles = angles * torch.arange(1, dim // 2 + 1, device=like.device)
    positions = torch.cat([angles.cos(), angles.sin()], dim=1)
    positions[:, -1] = 1.0
    return positions.to(like.dtype)

"""Convolutions over time and frequency that leave fewer frames."""

import math

import torch
from torch import Tensor, nn

from egret.models.masking import mask_frames, strided
from egret.models.streaming import convolve


class ConvSubsampling(nn.Module):
    """[N, T, C] to [N, T', dim]: a 3 x 3 convolution with ReLU for each stride (of time; frequency is halved by
    each), then a linear layer. T' = T divided by the strides, rounded up at each."""

    def __init__(self, features: int, channels: int, strides: list[int], dim: int) -> None:
        super().__init__()
        self.strides = strides
        inputs = [1] + [channels] * (len(strides) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(planes, channels, 3, stride=(stride, 2), padding=1)
            for planes, stride in zip(inputs, strides, strict=True)
        )
        self.bins = []  # frequencies that each convolution sees
        for _ in strides:
            self.bins.append(features)
            features = (features + 1) // 2
        self.linear = nn.Linear(channels * features, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = mask_frames(x, lengths).unsqueeze(1)
        for number, convolution in enumerate(self.convolutions):
            stride = self.strides[number]
            x = convolution(x)
            lengths = strided(lengths, stride)
            x = silence_end(x, lengths).relu_()
        return self.linear(x.transpose(1, 2).flatten(2)), lengths

    def start(self, batch: int) -> list[Tensor]:
        state: list[Tensor] = []
        for number, convolution in enumerate(self.convolutions):
            weight = convolution.weight
            state.append(weight.new_zeros(batch, weight.shape[1], 1, self.bins[number]))
        return state

    def stream(self, x: Tensor, state: list[Tensor], last: bool) -> Tensor:
        """[N, T, C] to as many frames [N, T', dim] as can be made by now; see egret.models.streaming."""
        x = x.unsqueeze(1)
        for number, convolution in enumerate(self.convolutions):
            stride = [self.strides[number], 2]
            x = convolve(x, state, last, convolution.weight, convolution.bias, stride, padding=1, after=1).relu_()
        return self.linear(x.transpose(1, 2).flatten(2))

    def delay(self) -> int:
        """How many frames must be heard after those that an output stands for."""
        seen = 0  # the last frame that the first output sees
        for stride in reversed(self.strides):
            seen = stride * seen + 1
        return max(0, seen - (math.prod(self.strides) - 1))


def silence_end(x: Tensor, lengths: Tensor) -> Tensor:
    """The output [N, C, T, F] of a convolution, in place, with a zero frame behind each utterance's end, whatever the
    batch pads it to. The next convolution sees no further from within the utterance.

    Made outside autograd, which would copy the gradient, the largest array of all: ReLU passes none on where it is 0.
    """
    ended = (lengths < x.shape[2]).nonzero().squeeze(1)
    with torch.no_grad():
        x[ended, :, lengths[ended]] = 0
    return x

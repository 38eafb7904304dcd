"""Convolutions over time and frequency that leave fewer frames."""

import torch
from torch import Tensor, nn

from egret.models.masking import frame_mask


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
        for _ in strides:
            features = (features + 1) // 2
        self.linear = nn.Linear(channels * features, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = x.unsqueeze(1)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            # Beyond its end an utterance is silent whatever the batch pads it to.
            x = x * frame_mask(lengths, x.shape[2])[:, None, :, None]
            x = torch.relu(convolution(x))
            lengths = torch.div(lengths + stride - 1, stride, rounding_mode="floor")
        return self.linear(x.transpose(1, 2).flatten(2)), lengths

"""Time-delay network: convolutions over time, each followed by normalisation and ReLU.

Waibel et al. 1989; in the form of Peddinti, Povey and Khudanpur 2015: dilated and subsampled.
"""

import torch
from torch import Tensor, nn

from egret.models.masking import mask_frames, strided
from egret.models.norm import NORMS
from egret.models.options import TdnnOptions


class Tdnn(nn.Module):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each layer."""

    def __init__(self, features: int, options: TdnnOptions) -> None:
        super().__init__()
        self.out_dim = options.dim
        self.strides = options.strides
        inputs = [features] + [options.dim] * (len(options.kernels) - 1)
        shapes = zip(inputs, options.kernels, options.dilations, options.strides, strict=True)
        self.layers = nn.ModuleList(
            nn.Conv1d(dim, options.dim, kernel, stride, padding=dilation * (kernel - 1) // 2, dilation=dilation)
            for dim, kernel, dilation, stride in shapes
        )
        self.norms = nn.ModuleList(NORMS[options.norm](options.dim) for _ in options.kernels)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, None]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', dim] and their lengths [N]; it has no middle."""
        for number, (conv, norm) in enumerate(zip(self.layers, self.norms)):
            stride = self.strides[number]
            x = conv(mask_frames(x, lengths).transpose(1, 2)).transpose(1, 2)
            lengths = strided(lengths, stride)
            x = self.dropout(torch.relu(norm(x, lengths)))
        return x, lengths, None

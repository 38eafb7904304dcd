"""Normalisation of activations, each in a form that padding does not enter."""

from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.masking import frame_mask


class LayerNorm(nn.LayerNorm):
    """Each frame by itself (Ba, Kiros and Hinton 2016); an utterance does not depend on its batch."""

    def forward(self, x: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """[N, T, C] to the same shape, in the precision of the weights: halves are too coarse for a variance, and
        PyTorch 1.13 does not see to that by itself on a CPU."""
        x = x.to(self.weight.dtype)
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class BatchNorm(nn.Module):
    """Each channel over the frames of the batch (Ioffe and Szegedy 2015), padding left out.

    Its noise keeps small corpora from being learnt by heart. In evaluation running averages take the batch's
    place, so that an utterance does not depend on the others.
    """

    def __init__(self, dim: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[N, T, C] of lengths [N] to the same shape, in the precision of the weights."""
        x = x.to(self.weight.dtype)
        if not self.training:
            return torch.addcmul(self.bias, x - self.mean, torch.rsqrt(self.variance + self.epsilon) * self.weight)
        return self.of_batch(x, lengths)

    @torch.jit.unused
    def of_batch(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x [N, T, C] normalised by its own mean and variance, of which the running averages take notice."""
        with torch.autocast(x.device.type, enabled=False):  # which would make halves of sums over thousands of frames
            # Sums as products with the mask: to pick frames and put gradients back would take several times as long.
            inside = frame_mask(lengths, x.shape[1]).to(x.dtype).flatten()
            frames = inside.sum()
            mean = (inside @ x.flatten(0, 1)) / frames
            centred = x - mean
            variance = (inside @ centred.square().flatten(0, 1)) / frames
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance, self.momentum)
            return torch.addcmul(self.bias, centred, torch.rsqrt(variance + self.epsilon) * self.weight)


NORMS = {"layer": LayerNorm, "batch": BatchNorm}

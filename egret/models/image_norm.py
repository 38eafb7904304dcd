"""Batch normalisation of images, made of fewer passes over memory than autograd would make of it."""

from typing import Any

import torch
from torch import Tensor

from egret.models.masking import frame_mask
from egret.models.norm import BatchNorm


class ImageNorm(BatchNorm):
    """Each channel over the frames and frequencies of the batch, padding left out and made zero."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Images [N, C, T, F] of lengths [N], in frames, to the same shape, zero beyond each utterance's end. It is
        quickest where channels lie last in memory."""
        frames, bins = x.shape[2], x.shape[3]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        if self.training:
            pixels = self._of_batch(pixels, lengths * bins)
        else:
            pixels, scale = pixels.to(self.weight.dtype), torch.rsqrt(self.variance + self.epsilon) * self.weight
            inside = frame_mask(lengths * bins, frames * bins).unsqueeze(2)
            pixels = torch.addcmul(self.bias, pixels - self.mean, scale) * inside
        return pixels.unflatten(1, [frames, bins]).permute(0, 3, 1, 2)

    @torch.jit.unused
    def _of_batch(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        inside = frame_mask(lengths, x.shape[1]).to(x.dtype).flatten()
        with torch.autocast(x.device.type, enabled=False):  # as BatchNorm
            y, mean, variance = _Normalise.apply(x.flatten(0, 1), inside, self.weight, self.bias, self.epsilon)
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        return y.view_as(x)


class _Normalise(torch.autograd.Function):
    """Rows [R, C] normalised by the mean and variance [C] of those that are inside [R], 1 or 0; the others become 0.
    Returns mean and variance besides, which have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, inside: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = inside.sum()
        mean = torch.mv(x.t(), inside) / count
        centred = (x - mean).mul_(inside.unsqueeze(1))
        variance = centred.square().sum(0) / count
        inverse = torch.rsqrt(variance + epsilon)
        ctx.save_for_backward(centred, inside, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(bias, centred, inverse * weight).mul_(inside.unsqueeze(1)), mean, variance

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor, _mean: Tensor, _variance: Tensor
    ) -> tuple[Tensor, None, Tensor, Tensor, None]:
        """Ioffe and Szegedy 2015, section 3."""
        centred, inside, weight, inverse, count = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_bias = torch.mv(gradient.t(), inside)
        of_weight = (gradient * centred).sum(0) * inverse
        offset = of_bias * (inverse * weight / count)
        slope = of_weight * (inverse.square() * weight / count)
        x = torch.addcmul(-offset, centred, -slope).addcmul_(gradient, inverse * weight).mul_(inside.unsqueeze(1))
        return x, None, of_weight, of_bias, None

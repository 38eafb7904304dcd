"""Convolutions over frequency and time below recurrent layers, in which padding has no part."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.image_norm import ImageNorm
from egret.models.masking import frame_mask, full_lengths, mask_frames, mask_images, strided
from egret.models.norm import LayerNorm
from egret.models.recurrent import ACTIVATIONS
from egret.models.streaming import convolve


class DeepSpeechExtractor(nn.Module):
    """The convolutions of Deep Speech 2 (Amodei et al. 2015, section 3.5), each followed by normalisation and
    activation.

    [N, T, C] to [N, T', out_dim], T' = T divided by the strides over time, rounded up at each; frequencies likewise.

    Args:
      channels, frequency_kernels, frequency_strides, time_kernels, time_strides: one for each convolution.
      norm: `batch`: each channel over all frequencies and frames; `layer`: each frame over channels and frequencies.
      causal: no convolution sees later frames.
    """

    def __init__(
        self,
        features: int,
        channels: list[int],
        frequency_kernels: list[int],
        frequency_strides: list[int],
        time_kernels: list[int],
        time_strides: list[int],
        activation: str = "hardtanh",
        norm: str = "batch",
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.strides = time_strides
        layers = []
        sizes = zip(channels, frequency_kernels, frequency_strides, time_kernels, time_strides, strict=True)
        planes = 1
        for made, height, down, width, along in sizes:
            layer = WideConvolution(planes, made, features, (height, width), (down, along), activation, norm, causal)
            layers.append(layer)
            planes, features = made, layer.features
        self.layers = nn.ModuleList(layers)
        self.out_dim = planes * features

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = mask_frames(x, lengths).unsqueeze(1)
        for layer in self.layers:
            x, lengths = layer(x, lengths)
        return x.permute(0, 2, 3, 1).flatten(2), lengths

    def start(self, batch: int) -> list[Tensor]:
        state: list[Tensor] = []
        for layer in self.layers:
            state += layer.start(batch)
        return state

    def stream(self, x: Tensor, state: list[Tensor], last: bool) -> Tensor:
        """[N, T, C] to as many frames [N, T', out_dim] as can be made by now; see egret.models.streaming."""
        x = x.unsqueeze(1)
        for layer in self.layers:
            x = layer.stream(x, state, last)
        return x.permute(0, 2, 3, 1).flatten(2)


class VggExtractor(nn.Module):
    """Two pairs of 3 x 3 convolutions with batch normalisation and activation, each pair followed by max-pooling of
    2 x 2; the second pair has twice the channels (Simonyan and Zisserman 2014; for speech Hori et al. 2017).

    [N, T, C] to [N, T', out_dim], T' = T / 4, rounded up at each half; frequencies likewise.
    """

    def __init__(self, features: int, channels: int, activation: str = "hardtanh") -> None:
        super().__init__()
        self.strides = [2, 2]
        planes = [1, channels, channels, 2 * channels, 2 * channels]
        # Batch normalisation takes away what a bias adds.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(planes[number], planes[number + 1], 3, padding=1, bias=False) for number in range(4)
        )
        self.norms = nn.ModuleList(ImageNorm(made) for made in planes[1:])
        self.activation = ACTIVATIONS[activation]()
        self.out_dim = planes[-1] * ((features + 3) // 4)
        # Of images: quicker on a CPU, above all with normalisation.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = mask_frames(x, lengths).unsqueeze(1)
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            x = self.activation(norm(convolution(x), lengths))
            if number % 2:
                x, lengths = masked_pool(x, lengths)
        return x.permute(0, 2, 3, 1).flatten(2), lengths


class WideConvolution(nn.Module):
    """A convolution of an image [N, planes, T, F], normalisation over real frames, activation. Beyond each utterance's
    end there are zeros, before and after: a convolution sees what it would see of the utterance alone.

    Within, time lies along the rows: wide kernels then take a quarter of the time on a CPU (oneDNN, both ways).

    Args:
      kernel, stride: of frequency and of time.

    Attributes:
      features: F of the output.
    """

    def __init__(
        self,
        planes: int,
        channels: int,
        features: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        activation: str,
        norm: str,
        causal: bool = False,
    ) -> None:
        super().__init__()
        height, width = kernel
        self.before = width - 1 if causal else width // 2  # frames of zeros before the first
        self.after = 0 if causal else width // 2
        self.stride = stride[1]
        # Batch normalisation takes away what a bias adds.
        self.convolution = nn.Conv2d(planes, channels, kernel, stride, (height // 2, 0), bias=norm != "batch")
        self.bins = features  # frequencies that come in
        self.features = (features + stride[0] - 1) // stride[0]
        self.norm = ImageNorm(channels) if norm == "batch" else FrameNorm(channels * self.features)
        self.activation = ACTIVATIONS[activation]()  # of 0, all give 0

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.pad(x.transpose(2, 3).contiguous(), (self.before, self.after))
        x = self.convolution(x).transpose(2, 3)
        lengths = strided(lengths, self.stride)
        return self.activation(self.norm(x, lengths)), lengths

    def start(self, batch: int) -> list[Tensor]:
        weight = self.convolution.weight
        return [weight.new_zeros(batch, weight.shape[1], self.bins, self.before)]

    def stream(self, x: Tensor, state: list[Tensor], last: bool) -> Tensor:
        """[N, planes, T, F] to as many frames [N, channels, T', features] as can be made by now."""
        weight, stride = self.convolution.weight, [self.convolution.stride[0], self.stride]
        x = convolve(
            x.transpose(2, 3),
            state,
            last,
            weight,
            self.convolution.bias,
            stride,
            padding=weight.shape[2] // 2,
            after=self.after,
            time=3,
        ).transpose(2, 3)
        return self.activation(self.norm(x, full_lengths(x, 2)))


class FrameNorm(nn.Module):
    """Layer normalisation of images [N, planes, T, F]: each frame over its planes and frequencies."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """To the same shape, zero beyond each utterance's end."""
        frames = self.norm(x.transpose(1, 2).flatten(2))
        return mask_frames(frames, lengths).unflatten(2, [x.shape[1], x.shape[3]]).transpose(1, 2)


def masked_pool(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Max-pooling of 2 x 2 of an image [N, planes, T, F]; a last frame or frequency without a second stands for
    itself. Beyond each utterance's end there are zeros."""
    outside = ~frame_mask(lengths, x.shape[2])[:, None, :, None]
    x = functional.max_pool2d(x.masked_fill(outside, -1e4), 2, ceil_mode=True)
    lengths = strided(lengths, 2)
    return mask_images(x, lengths), lengths

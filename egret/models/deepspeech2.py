"""Deep Speech 2: convolutions over frequency and time, then recurrent layers.

Amodei et al. 2015, "Deep Speech 2: End-to-End Speech Recognition in English and Mandarin". Normalisation stands behind
each recurrent layer, not within its sum over input and past as in the paper's section 3.2, so that any cells do.
"""

from functools import partial
from itertools import accumulate
from math import prod
from operator import mul
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.extractors import DeepSpeechExtractor
from egret.models.masking import mask_frames
from egret.models.recurrent import RecurrentLayer, RecurrentStack
from egret.models.recurrent_options import DeepSpeech2Options
from egret.models.streaming import convolve, refuse

BACKWARDS = (
    "--model.deepspeech2.bidirectional true: layers that run backwards need the whole utterance, so that this model "
    "cannot stream; train one with --model.deepspeech2.bidirectional false"
)


class DeepSpeech2(nn.Module):
    """[N, T, C] to [N, T', out_dim], T' = T divided by the convolutions' strides over time, rounded up at each.

    In one direction it can stream (egret.models.streaming), best with causal convolutions.

    Attributes:
      look_ahead: how many later frames of features an output sees; None: all that follow.
    """

    def __init__(self, features: int, options: DeepSpeech2Options) -> None:
        super().__init__()
        self.strides = options.time_strides
        self.look_ahead = look_ahead(options)
        self.convolutions = DeepSpeechExtractor(
            features,
            options.channels,
            options.frequency_kernels,
            options.frequency_strides,
            options.time_kernels,
            options.time_strides,
            options.activation,
            options.norm,
            options.causal,
        )
        layer = partial(
            RecurrentLayer,
            dim=options.dim,
            cell=options.cell,
            bidirectional=options.bidirectional,
            directions=options.directions,
            shared=options.shared,
            activation=options.rnn_activation,
        )
        self.recurrent = RecurrentStack(self.convolutions.out_dim, options.layers, layer, options.norm, options.dropout)
        self.out_dim = self.recurrent.out_dim
        self.row = RowConvolution(self.out_dim, options.row_convolution) if options.row_convolution else None
        self.piece = prod(self.strides)
        self.delay = max(0, (self.look_ahead or 0) - (self.piece - 1))
        self.cannot_stream = BACKWARDS if options.bidirectional else ""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Optional[Tensor]]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', out_dim], their lengths [N], and what came out of the
        recurrent layer in the middle [N, T', out_dim] (None: there is but one layer)."""
        x, lengths = self.convolutions(x, lengths)
        x, middle = self.recurrent(x, lengths)
        if self.row is not None:
            x = self.row(x, lengths)
        return x, lengths, middle

    @torch.jit.export
    def start(self, batch: int) -> list[Tensor]:
        """The state of `batch` utterances of which nothing has been heard."""
        refuse(self.cannot_stream, self.training)
        state = self.convolutions.start(batch) + self.recurrent.start(batch)
        if self.row is not None:
            state += self.row.start(batch)
        return state

    @torch.jit.export
    def stream(self, x: Tensor, state: list[Tensor], last: bool = False) -> tuple[Tensor, list[Tensor]]:
        """A piece of features [N, T, C] to the outputs [N, T', out_dim] that are settled by now, and the next state."""
        state = state.copy()
        x = self.recurrent.stream(self.convolutions.stream(x, state, last), state)
        if self.row is not None:
            x = self.row.stream(x, state, last)
        return x, self.start(x.shape[0]) if last else state


def look_ahead(options: DeepSpeech2Options) -> Optional[int]:
    """How many later frames of features an output sees; None: all that follow."""
    if options.bidirectional:
        return None
    rates = list(accumulate(options.time_strides, mul, initial=1))  # frames of features to one of each layer's input
    ahead = 0 if options.causal else sum(k // 2 * rate for k, rate in zip(options.time_kernels, rates, strict=False))
    return ahead + options.row_convolution * rates[-1]


class RowConvolution(nn.Module):
    """Each channel of a frame weighed with the same channel of some later frames (section 3.7 of the paper)."""

    def __init__(self, dim: int, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.weight = nn.Parameter(torch.zeros(dim, 1, ahead + 1))
        nn.init.ones_(self.weight[:, :, 0])  # at first a frame is what it was

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = functional.pad(mask_frames(x, lengths), (0, 0, 0, self.ahead)).transpose(1, 2)
        return functional.conv1d(x, self.weight, groups=x.shape[1]).transpose(1, 2)

    def start(self, batch: int) -> list[Tensor]:
        return [self.weight.new_zeros(batch, self.weight.shape[0], 0, 1)]

    def stream(self, x: Tensor, state: list[Tensor], last: bool) -> Tensor:
        """[N, T, C] to as many frames [N, T', C] as can be made by now; see egret.models.streaming."""
        images, weight = x.transpose(1, 2).unsqueeze(3), self.weight.unsqueeze(3)
        x = convolve(images, state, last, weight, None, [1, 1], padding=0, after=self.ahead, groups=x.shape[2])
        return x.squeeze(3).transpose(1, 2)

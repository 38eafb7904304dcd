"""Deep convolutional network: pairs of convolutions over time and frequency, most of them followed by pooling.

The CNN-CTC family of ASRT, https://github.com/nl8590687/ASRT_SpeechRecognition (its models 24, 25, 251 and 251bn).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from egret.models.image_norm import ImageNorm
from egret.models.masking import mask_frames, strided
from egret.models.options import DcnnOptions
from egret.models.subsampling import silence_end

EPSILON = 2e-4  # of batch normalisation, as published


class Dcnn(nn.Module):
    """[N, T, C] to [N, T', dense], T' = T divided by the product of the pools, rounded up at each."""

    def __init__(self, features: int, options: DcnnOptions) -> None:
        super().__init__()
        self.out_dim = options.dense
        self.strides = options.pools
        dropout = options.dropout or [0.0] * (2 * len(options.channels) + 1)
        planes = [1, *options.channels]
        self.pairs = nn.ModuleList(
            ConvPair(planes[number], planes[number + 1], pool, options, bias=options.first_bias or number > 0,
                     dropout=dropout[2 * number : 2 * number + 2])
            for number, pool in enumerate(options.pools)
        )  # fmt: skip
        for pool in options.pools:
            features = -(-features // pool)
        self.dense = nn.Linear(planes[-1] * features, options.dense)
        self.dropout = nn.Dropout(dropout[-1])
        # Of images: quicker on a CPU, above all with normalisation.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, None]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', dense] and their lengths [N]; it has no middle."""
        x = mask_frames(x, lengths).unsqueeze(1)
        for pair in self.pairs:
            x, lengths = pair(x, lengths)
        x = x.permute(0, 2, 3, 1).flatten(2)
        return self.dropout(relu(self.dense(x))), lengths, None


class ConvPair(nn.Module):
    """Two convolutions of 3 x 3 that keep time and frequency, then the largest of each pool x pool of them.

    Beyond an utterance's end there are zeros as far as the next convolution sees, as there are around a batch; among
    positive numbers they change no maximum.
    """

    def __init__(
        self, inputs: int, outputs: int, pool: int, options: DcnnOptions, bias: bool, dropout: list[float]
    ) -> None:
        super().__init__()
        self.pool = pool
        batch = options.norm == "batch"
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.first_norm = ImageNorm(outputs, epsilon=EPSILON) if batch else None
        self.first_dropout = nn.Dropout(dropout[0])
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.second_norm = ImageNorm(outputs, epsilon=EPSILON) if batch else None
        self.second_dropout = nn.Dropout(dropout[1])

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, T, F] of lengths [N] to [N, C', T', F'] and their lengths; T' and F' are T and F divided by the
        pool, rounded up."""
        x = self.first(x)
        x = silence_end(x, lengths) if self.first_norm is None else self.first_norm(x, lengths)
        x = self.second(self.first_dropout(relu(x)))
        if self.second_norm is not None:
            x = self.second_norm(x, lengths)
        else:
            for ahead in range(2 * self.pool):  # what the last pool and the one behind it see
                x = silence_end(x, lengths + ahead)
        x = relu(x)
        if self.pool > 1:
            x = max_pool2d(x, self.pool, ceil_mode=True)
            lengths = strided(lengths, self.pool)
        return self.second_dropout(x), lengths

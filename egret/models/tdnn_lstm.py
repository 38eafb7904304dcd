"""Time-delay network with LSTM layers on top, a small model for phones.

Peddinti et al. 2018, "Low latency acoustic modeling using temporal convolution and LSTMs", made plain: convolutions
below, recurrent layers with residual connections above.
"""

from functools import partial
from typing import Optional

from torch import Tensor, nn

from egret.models.options import TdnnOptions
from egret.models.recurrent import RecurrentLayer, RecurrentStack
from egret.models.recurrent_options import TdnnLstmOptions
from egret.models.tdnn import Tdnn


class TdnnLstm(nn.Module):
    """[N, T, C] to [N, T', dim], T' = T divided by the product of the strides, rounded up at each convolution."""

    def __init__(self, features: int, options: TdnnLstmOptions) -> None:
        super().__init__()
        self.out_dim = options.dim
        self.strides = options.strides
        shape = TdnnOptions(
            dim=options.dim,
            kernels=options.kernels,
            dilations=options.dilations,
            strides=options.strides,
            norm=options.norm,
            dropout=options.dropout,
        )
        self.tdnn = Tdnn(features, shape)
        layer = partial(RecurrentLayer, dim=options.dim, bidirectional=options.bidirectional)
        self.recurrent = RecurrentStack(
            options.dim, options.layers, layer, options.norm, options.dropout, residual=True
        )

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Optional[Tensor]]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', dim], their lengths [N], and what came out of the LSTM
        layer in the middle [N, T', dim] (None: there is but one layer)."""
        x, lengths, _ = self.tdnn(x, lengths)
        x, middle = self.recurrent(x, lengths)
        return x, lengths, middle

"""The options of every model. They live apart from the models so that reading them does not import PyTorch."""

from dataclasses import dataclass
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import group, option


@dataclass(kw_only=True)
class TdnnOptions:
    """A time-delay network."""

    dim: int = option(256, "channels of each layer", minimum=1)
    kernels: list[int] = option([3, 3, 3, 3, 3], "frames each layer sees")
    dilations: list[int] = option([1, 1, 2, 3, 3], "frames between those that a layer sees", minimum=1)
    strides: list[int] = option([1, 3, 1, 1, 1], "frames from one output to the next; product: subsampling", minimum=1)
    norm: Literal["layer", "batch"] = option("layer", "normalisation; batch: for small corpora and few steps")
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if not len(self.kernels) == len(self.dilations) == len(self.strides):
            raise UsageError("--model.tdnn: kernels, dilations and strides need one number for each layer")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise UsageError("--model.tdnn.kernels: odd numbers, so that a frame stands in the middle")


@dataclass(kw_only=True)
class ModelOptions:
    """The acoustic model."""

    encoder: Literal["tdnn"] = option("tdnn", "which encoder")
    tdnn: TdnnOptions = group(TdnnOptions)

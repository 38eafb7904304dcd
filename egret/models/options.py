"""The options of every model. They live apart from the models so that reading them does not import PyTorch."""

from dataclasses import dataclass, fields
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
class ConformerOptions:
    """A conformer; the defaults are the paper's size S (its kernel of 32 made odd)."""

    dim: int = option(144, "width of each block", minimum=2)
    layers: int = option(16, "blocks", minimum=1)
    heads: int = option(4, "attention heads", minimum=1)
    feed_forward: int = option(4, "width inside a feed-forward module, as a multiple of dim", minimum=1)
    kernel: int = option(31, "frames that a convolution module sees", minimum=1)
    channels: int = option(144, "channels of the convolutions that subsample", minimum=1)
    strides: list[int] = option([2, 2], "frames from one output to the next; product: subsampling", minimum=1)
    norm: Literal["batch", "layer"] = option("batch", "normalisation in the convolution modules")
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)
    attention_dropout: float = option(0.1, "probability, of attention weights", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"--model.conformer: dim {self.dim} does not divide by heads {self.heads}")
        if self.kernel % 2 == 0:
            raise UsageError("--model.conformer.kernel: an odd number, so that a frame stands in the middle")
        if not self.strides:
            raise UsageError("--model.conformer.strides: one number for each convolution, and at least one")


@dataclass(kw_only=True)
class ModelOptions:
    """The acoustic model."""

    encoder: Literal["tdnn", "conformer"] = option("tdnn", "which encoder; its options are in the group of its name")
    utterance_mean: bool = option(
        False, "features lose the mean of their own utterance, not that of the training part: for other microphones"
    )
    tdnn: TdnnOptions = group(TdnnOptions)
    conformer: ConformerOptions = group(ConformerOptions)

    def other_encoders(self) -> list[str]:
        """The groups whose options do not matter, for they are of encoders that are not chosen."""
        return [item.name for item in fields(self) if item.metadata["kind"] == "group" and item.name != self.encoder]

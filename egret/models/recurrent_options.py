"""Options of the recurrent encoders; a part of egret.models.options, without PyTorch like that."""

from dataclasses import dataclass
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import option

Cell = Literal["lstm", "gru", "rnn"]
Directions = Literal["sum", "concat"]
Activation = Literal["hardtanh", "relu", "tanh", "elu"]


@dataclass(kw_only=True)
class DeepSpeech2Options:
    """Deep Speech 2."""

    channels: list[int] = option([32, 32], "of each of 1 to 3 convolutions", minimum=1)
    frequency_kernels: list[int] = option([41, 21], "frequencies that each convolution sees", minimum=1)
    frequency_strides: list[int] = option([2, 2], "frequencies from one output to the next", minimum=1)
    time_kernels: list[int] = option([11, 11], "frames that each convolution sees", minimum=1)
    time_strides: list[int] = option([2, 1], "frames from one output to the next; product: subsampling", minimum=1)
    causal: bool = option(False, "convolutions see no later frames: for streaming")
    activation: Activation = option("hardtanh", "behind each convolution; hardtanh: from 0 to 20")
    cell: Cell = option("lstm", "of the recurrent layers")
    layers: int = option(5, "recurrent layers", minimum=1, maximum=7)
    dim: int = option(512, "cells of each layer and direction", minimum=1)
    bidirectional: bool = option(True, "layers that also run backwards; not for streaming")
    directions: Directions = option("sum", "how the outputs of both directions become one")
    shared: bool = option(False, "both directions weigh the layer's input alike, and only their own past differently")
    rnn_activation: Literal["tanh", "relu", "hardtanh", "elu"] = option("tanh", "of cells of the kind rnn")
    row_convolution: int = option(0, "later frames that a layer on top sees: for streaming; 0: none", minimum=0)
    norm: Literal["batch", "layer"] = option("batch", "normalisation behind each convolution and each recurrent layer")
    dropout: float = option(0.1, "probability, behind each recurrent layer", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        count = len(self.channels)
        sizes = (self.frequency_kernels, self.frequency_strides, self.time_kernels, self.time_strides)
        if not 1 <= count <= 3 or any(len(each) != count for each in sizes):
            raise UsageError("--model.deepspeech2: channels, and the kernels and strides over frequency and time need "
                             "one number for each of 1 to 3 convolutions")  # fmt: skip
        for name in ("frequency_kernels", "time_kernels"):
            if any(kernel % 2 == 0 for kernel in getattr(self, name)):
                raise UsageError(f"--model.deepspeech2.{name.replace('_', '-')}: odd numbers, so that one stands in "
                                 f"the middle")  # fmt: skip
        if self.rnn_activation != "tanh" and self.cell != "rnn":
            raise UsageError(f"--model.deepspeech2.rnn-activation: {self.cell} has its own; take --model.deepspeech2."
                             f"cell rnn, or leave it out")  # fmt: skip
        if self.bidirectional and self.row_convolution:
            raise UsageError("--model.deepspeech2.row-convolution: layers that run backwards see all that follows; "
                             "take --model.deepspeech2.bidirectional false, or leave it out")  # fmt: skip
        if not self.bidirectional and (self.shared or self.directions != "sum"):
            raise UsageError("--model.deepspeech2: shared and directions go with --model.deepspeech2.bidirectional "
                             "true; leave them out")  # fmt: skip


@dataclass(kw_only=True)
class ListenerOptions:
    """The encoder of Listen, Attend and Spell."""

    extractor: Literal["none", "vgg", "deepspeech2"] = option("none", "convolutions below the recurrent layers")
    channels: int = option(0, "of the extractor's first convolution; 0: vgg 64, deepspeech2 32", minimum=0)
    activation: Activation = option("hardtanh", "of the extractor; hardtanh: from 0 to 20")
    cell: Cell = option("lstm", "of the recurrent layers")
    layers: int = option(4, "bidirectional recurrent layers", minimum=1)
    pyramidal: int = option(3, "how many of them, the last, take two frames of the layer below as one", minimum=0)
    dim: int = option(256, "cells of each layer and direction", minimum=1)
    norm: Literal["none", "layer", "batch"] = option("none", "normalisation behind each recurrent layer")
    dropout: float = option(0.1, "probability, behind each recurrent layer", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if self.pyramidal > self.layers:
            raise UsageError(f"--model.listener.pyramidal {self.pyramidal}: there are {self.layers} layers")
        if self.extractor == "none" and (self.channels or self.activation != "hardtanh"):
            raise UsageError("--model.listener: channels and activation go with --model.listener.extractor vgg or "
                             "deepspeech2; leave them out")  # fmt: skip


@dataclass(kw_only=True)
class TdnnLstmOptions:
    """A time-delay network with recurrent layers on top."""

    dim: int = option(256, "channels of each convolution, and cells of each recurrent layer", minimum=1)
    kernels: list[int] = option([3, 3, 3], "frames each convolution sees", minimum=1)
    dilations: list[int] = option([1, 1, 1], "frames between those that a convolution sees", minimum=1)
    strides: list[int] = option([1, 1, 3], "frames from one output to the next; product: subsampling", minimum=1)
    layers: int = option(3, "LSTM layers, each added to what came in", minimum=1)
    bidirectional: bool = option(False, "layers that also run backwards, both directions summed")
    norm: Literal["layer", "batch"] = option("batch", "normalisation; batch: for small corpora and few steps")
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if not self.kernels or not len(self.kernels) == len(self.dilations) == len(self.strides):
            raise UsageError("--model.tdnn-lstm: kernels, dilations and strides need one number for each convolution, "
                             "and at least one")  # fmt: skip
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise UsageError("--model.tdnn-lstm.kernels: odd numbers, so that a frame stands in the middle")

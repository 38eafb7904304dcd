"""The options of every model. They live apart from the models so that reading them does not import PyTorch."""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from egret.base.errors import UsageError
from egret.base.options import group, option
from egret.models.chunk_options import ChunkOptions
from egret.models.recurrent_options import DeepSpeech2Options, ListenerOptions, TdnnLstmOptions
from egret.models.zipformer_options import ZipformerOptions

MAX_RATIO = 0.3  # a decoder's tokens to a frame of features: nobody says more than 30 a second


@dataclass(kw_only=True)
class TdnnOptions:
    """A time-delay network."""

    dim: int = option(256, "channels of each layer", minimum=1)
    kernels: list[int] = option([3, 3, 3, 3, 3], "frames each layer sees", minimum=1)
    dilations: list[int] = option([1, 1, 2, 3, 3], "frames between those that a layer sees", minimum=1)
    strides: list[int] = option([1, 3, 1, 1, 1], "frames from one output to the next; product: subsampling", minimum=1)
    norm: Literal["layer", "batch"] = option("layer", "normalisation; batch: for small corpora and few steps")
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if not self.kernels or not len(self.kernels) == len(self.dilations) == len(self.strides):
            raise UsageError(
                "--model.tdnn: kernels, dilations and strides need one number for each layer, and at least one"
            )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise UsageError("--model.tdnn.kernels: odd numbers, so that a frame stands in the middle")


@dataclass(kw_only=True)
class SelfAttentionOptions(ChunkOptions):
    """What encoders of blocks with self-attention have in common."""

    dim: int = option(256, "width of each block", minimum=2)
    layers: int = option(12, "blocks", minimum=1)
    heads: int = option(4, "attention heads", minimum=1)
    feed_forward: int = option(8, "width inside a feed-forward module, as a multiple of dim", minimum=1)
    channels: int = option(256, "channels of the convolutions that subsample", minimum=1)
    strides: list[int] = option([2, 2], "frames from one output to the next; product: subsampling", minimum=1)
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)
    attention_dropout: float = option(0.1, "probability, of attention weights", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"{self.name()}: dim {self.dim} does not divide by heads {self.heads}")
        if not self.strides:
            raise UsageError(f"{self.name()}.strides: one number for each convolution, and at least one")
        super().__post_init__()


@dataclass(kw_only=True)
class TransformerOptions(SelfAttentionOptions):
    """A Transformer's encoder; the defaults are those of Dong et al. 2018 and later recipes."""


@dataclass(kw_only=True)
class ConformerOptions(SelfAttentionOptions):
    """A conformer; the defaults are the paper's size S (its kernel of 32 made odd)."""

    dim: int = option(144, "width of each block", minimum=2)
    layers: int = option(16, "blocks", minimum=1)
    feed_forward: int = option(4, "width inside a feed-forward module, as a multiple of dim", minimum=1)
    kernel: int = option(31, "frames that a convolution module sees", minimum=1)
    channels: int = option(144, "channels of the convolutions that subsample", minimum=1)
    norm: Literal["batch", "layer"] = option("batch", "normalisation in the convolution modules")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise UsageError("--model.conformer.kernel: an odd number, so that a frame stands in the middle")


@dataclass(kw_only=True)
class DcnnOptions:
    """A deep convolutional network; the defaults are ASRT's model 251bn."""

    channels: list[int] = option([32, 64, 128, 128, 128], "of both convolutions of each pair", minimum=1)
    pools: list[int] = option(
        [2, 2, 2, 1, 1], "frames, and frequencies, that are pooled after each pair; product: subsampling", minimum=1
    )
    dense: int = option(128, "width of the layer after them", minimum=1)
    norm: Literal["none", "batch"] = option("batch", "normalisation before each ReLU")
    first_bias: bool = option(True, "whether the first convolution has biases, as the others have")
    dropout: list[float] = option(
        [], "probabilities: after each convolution (and its pooling), and after the dense layer; none given: 0",
        minimum=0, maximum=0.99,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.pools):
            raise UsageError("--model.dcnn: channels and pools need one number for each pair, and at least one")
        due = 2 * len(self.channels) + 1
        if self.dropout and len(self.dropout) != due:
            raise UsageError(f"--model.dcnn.dropout: {len(self.dropout)} probabilities where {due} are due: one for "
                             f"each convolution, two a pair, and one for the dense layer")  # fmt: skip


@dataclass(kw_only=True)
class TransformerDecoderOptions:
    """The Transformer's decoder."""

    GROUP: ClassVar[str] = "--model.transformer-decoder"  # in messages
    dim: int = option(256, "width of each block", minimum=2)
    layers: int = option(6, "blocks", minimum=1)
    heads: int = option(4, "attention heads", minimum=1)
    feed_forward: int = option(8, "width inside a feed-forward module, as a multiple of dim", minimum=1)
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)
    attention_dropout: float = option(0.0, "probability, of attention weights", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"{self.GROUP}: dim {self.dim} does not divide by heads {self.heads}")


@dataclass(kw_only=True)
class SpellerOptions:
    """A recurrent decoder with attention."""

    dim: int = option(256, "cells of each recurrent layer", minimum=1)
    layers: int = option(2, "recurrent layers (LSTM)", minimum=1)
    embedding: int = option(256, "numbers that stand for a token", minimum=1)
    attention: Literal["additive", "location_aware", "scaled_dot", "multi_head"] = option(
        "additive", "how frames are looked at; location_aware: additive, and by where the token before looked"
    )
    attention_dim: int = option(256, "width inside attention", minimum=1)
    heads: int = option(4, "of multi_head", minimum=1)
    channels: int = option(10, "filters over the places looked at before, of location_aware", minimum=1)
    kernel: int = option(31, "frames that each of them sees", minimum=1)
    feed_context: bool = option(True, "the recurrent layers see what was looked at for the token before")
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        for name, user in [("heads", "multi_head"), ("channels", "location_aware"), ("kernel", "location_aware")]:
            if self.attention != user and getattr(self, name) != getattr(SpellerOptions, name):
                raise UsageError(f"--model.speller.{name} goes with attention {user}, not with {self.attention}; "
                                 f"leave it out")  # fmt: skip
        if self.attention == "multi_head" and self.attention_dim % self.heads:
            raise UsageError(
                f"--model.speller: attention-dim {self.attention_dim} does not divide by heads {self.heads}"
            )
        if self.kernel % 2 == 0:
            raise UsageError("--model.speller.kernel: an odd number, so that a frame stands in the middle")


@dataclass(kw_only=True)
class ModelOptions:
    """The acoustic model."""

    encoder: Literal[
        "tdnn", "transformer", "conformer", "dcnn", "tdnn_lstm", "deepspeech2", "listener", "zipformer"
    ] = option("tdnn", "which encoder; its options are in the group of its name")
    decoder: Literal["none", "transformer_decoder", "speller"] = option(
        "none", "an attention decoder beside CTC or in its place; its options are in the group of its name"
    )
    ctc_weight: float = option(
        None, "of CTC's loss against the decoder's; 0: no CTC; without a decoder 1, with one 0.3 unless set",
        minimum=0, maximum=1,
    )  # fmt: skip
    utterance_mean: bool = option(
        False, "features lose the mean of their own utterance, not that of the training part: for other microphones"
    )
    tdnn: TdnnOptions = group(TdnnOptions)
    transformer: TransformerOptions = group(TransformerOptions)
    conformer: ConformerOptions = group(ConformerOptions)
    dcnn: DcnnOptions = group(DcnnOptions)
    tdnn_lstm: TdnnLstmOptions = group(TdnnLstmOptions)
    deepspeech2: DeepSpeech2Options = group(DeepSpeech2Options)
    listener: ListenerOptions = group(ListenerOptions)
    zipformer: ZipformerOptions = group(ZipformerOptions)
    transformer_decoder: TransformerDecoderOptions = group(TransformerDecoderOptions)
    speller: SpellerOptions = group(SpellerOptions)

    def __post_init__(self) -> None:
        if self.ctc_weight is None:
            self.ctc_weight = 1.0 if self.decoder == "none" else 0.3
        if self.decoder == "none" and self.ctc_weight != 1:
            raise UsageError(f"--model.ctc-weight {self.ctc_weight:g}: there is no decoder to share the loss with; "
                             f"choose one with --model.decoder, or leave it out")  # fmt: skip
        if self.decoder != "none" and self.ctc_weight == 1:
            raise UsageError(f"--model.ctc-weight 1: the {self.decoder} would not learn; lower it, or leave "
                             f"--model.decoder out")  # fmt: skip

    def unused(self) -> list[str]:
        """The groups whose options do not matter, for they are of encoders and decoders that are not chosen."""
        groups = [item.name for item in fields(self) if item.metadata["kind"] == "group"]
        return [name for name in groups if name not in (self.encoder, self.decoder)]

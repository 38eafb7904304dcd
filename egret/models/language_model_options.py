"""The options of language models. They live apart from the models so that reading them does not import PyTorch."""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from egret.base.options import group, option
from egret.models.options import TransformerDecoderOptions


@dataclass(kw_only=True)
class RecurrentLmOptions:
    """A recurrent network; the defaults are the medium size of Zaremba et al. 2014."""

    dim: int = option(650, "cells of each layer, and numbers that stand for a token", minimum=1)
    layers: int = option(2, "recurrent layers", minimum=1)
    dropout: float = option(
        0.5, "probability, between layers, before the first and behind the last", minimum=0, maximum=0.99
    )


@dataclass(kw_only=True)
class TransformerLmOptions(TransformerDecoderOptions):
    """A Transformer whose tokens see those before them only: a decoder that hears nothing."""

    GROUP: ClassVar[str] = "--model.transformer"
    dim: int = option(512, "width of each block", minimum=2)
    heads: int = option(8, "attention heads", minimum=1)
    feed_forward: int = option(4, "width inside a feed-forward module, as a multiple of dim", minimum=1)


@dataclass(kw_only=True)
class LanguageModelOptions:
    """The language model."""

    network: Literal["lstm", "gru", "transformer"] = option(
        "lstm", "which network; its options are in the group of its name"
    )
    tied: bool = option(
        True, "a token is scored with the numbers that stand for it where it is given (Press and Wolf 2017)"
    )
    lstm: RecurrentLmOptions = group(RecurrentLmOptions)
    gru: RecurrentLmOptions = group(RecurrentLmOptions)
    transformer: TransformerLmOptions = group(TransformerLmOptions)

    def unused(self) -> list[str]:
        """The groups whose options do not matter, for they are of networks that are not chosen."""
        return [item.name for item in fields(self) if item.metadata["kind"] == "group" and item.name != self.network]

"""What encoders that can be made causal by chunks have in common; a part of egret.models.options."""

from dataclasses import dataclass

from egret.base.errors import UsageError
from egret.base.options import option


@dataclass(kw_only=True)
class ChunkOptions:
    """For streaming: attention that ends with its chunk."""

    chunk: int = option(
        0, "for streaming: frames of the output that are seen together, and none after them; 0: the whole utterance",
        minimum=0,
    )  # fmt: skip
    left_chunks: int = option(-1, "of --chunk, chunks that are seen before it; -1: all", minimum=-1)

    def __post_init__(self) -> None:
        if self.left_chunks >= 0 and not self.chunk:
            raise UsageError(f"{self.name()}.left-chunks goes with chunk, which is 0; set it, or leave this out")

    @classmethod
    def whole(cls) -> str:
        """Why a model without chunks cannot stream, as a message."""
        name = f"{cls.name()}.chunk"
        return f"{name} 0: attention sees the whole utterance, so that this model cannot stream; train one with {name}"

    @classmethod
    def name(cls) -> str:
        """The group, as in messages."""
        return f"--model.{cls.__name__.removesuffix('Options').lower()}"

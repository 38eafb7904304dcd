"""What losses ask of a batch, without the modules that make one, and what is asked of them."""

from typing import Protocol

from torch import Tensor


class Transcribed(Protocol):
    """A batch's transcripts as token ids and as text, and what units the corpus says were spoken ("": it does not)."""

    @property
    def targets(self) -> list[list[int]]: ...

    @property
    def texts(self) -> list[str]: ...

    @property
    def spoken(self) -> list[str]: ...


class Loss(Protocol):
    """A loss of log probabilities [N, T, V] of lengths [N] against transcripts."""

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        """Summed over the utterances."""

    def per_utterance(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        """That of each utterance, [N]."""

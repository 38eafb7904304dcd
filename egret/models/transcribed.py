"""What a loss needs of a batch besides the model's output."""

from typing import Protocol


class Transcribed(Protocol):
    """What a loss needs of a batch: the transcripts, as token ids and as text."""

    @property
    def targets(self) -> list[list[int]]: ...

    @property
    def texts(self) -> list[str]: ...

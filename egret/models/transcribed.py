"""What losses ask of a batch, without the modules that make one."""

from typing import Protocol


class Transcribed(Protocol):
    """A batch's transcripts, as token ids and as text."""

    @property
    def targets(self) -> list[list[int]]: ...

    @property
    def texts(self) -> list[str]: ...

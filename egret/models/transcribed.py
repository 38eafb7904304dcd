"""What losses ask of a batch, without the modules that make one."""

from typing import Protocol


class Transcribed(Protocol):
    """A batch's transcripts as token ids and as text, and what units the corpus says were spoken ("": it does not)."""

    @property
    def targets(self) -> list[list[int]]: ...

    @property
    def texts(self) -> list[str]: ...

    @property
    def spoken(self) -> list[str]: ...

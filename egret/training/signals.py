"""A scheduler's warning: training saves what it has and ends with a code that means "run me again"."""

import signal
from pathlib import Path
from types import FrameType

from egret.base.errors import EgretError
from egret.base.program import AGAIN


class Interrupted(EgretError):
    """Training was told to stop, and can go on from what it saved."""

    exit_code = AGAIN


class Warned:
    """Whether SIGTERM or SIGUSR1 has come, or a file that stands for one, since training began."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.name = file, ""
        self.before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGUSR1)}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name

    def __bool__(self) -> bool:
        if not self.name and self.file and self.file.exists():
            self.name = self.file.read_text() or "a signal"  # just made, nothing may be in it yet
        return bool(self.name)

    def ignore(self) -> None:
        """Signals do again what they did before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

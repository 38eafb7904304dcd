"""A scheduler's warning: training saves what it has and ends with a code that means "run me again"."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from egret.base.errors import EgretError
from egret.base.signals import handle, handling
from egret.base.submit import AGAIN

GOES_ON = "the same command goes on"


class Interrupted(EgretError):
    """Training was told to stop, and can go on from what it saved."""

    exit_code = AGAIN


class Warned:
    """Whether SIGTERM or SIGUSR1 has come since it began to listen, or a file that stands for one."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.name = file, ""
        self.put_back: Callable[[], None] | None = None

    def listen(self) -> None:
        """From now on signals only leave word here."""
        self.put_back = self.put_back or handle(self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name

    def __bool__(self) -> bool:
        if not self.name and self.file and self.file.exists():
            self.name = self.file.read_text() or "a signal"  # just made, nothing may be in it yet
        return bool(self.name)

    def ignore(self) -> None:
        """Signals do again what they did before."""
        if self.put_back:
            self.put_back()
        self.put_back = None


@contextmanager
def ending_at_once(advice: str = GOES_ON) -> Iterator[None]:
    """What is done here has nothing to save when a signal comes, or listens for signals by itself.

    Raises:
      Interrupted: one came.
      KeyboardInterrupt: Ctrl-C came, also where a library has made another error of it.
    """
    came: list[str] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)
        raise told(came[0], advice)

    with handling(end):
        try:
            yield
        except Exception as error:
            if came:  # a library in whose midst it came may have made another error of it
                raise told(came[0], advice) from None
            if "KeyboardInterrupt" in str(error):
                raise KeyboardInterrupt from None
            raise


def told(name: str, advice: str = GOES_ON) -> Interrupted:
    """The end of what had nothing to save when a signal came."""
    return Interrupted(f"told to stop ({name or 'a signal'}); {advice}")

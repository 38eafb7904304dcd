"""Lines on standard output: time, then the message; nothing else writes to the screen."""

import io
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger("egret")


def set_up_logging(level: str = "info") -> None:
    """Send Egret's messages to standard output and other libraries' warnings along with them."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(level.upper())


def progress(items: Iterable[T], total: int, what: str, seconds: float = 10.0) -> Iterator[T]:
    """Pass `items` on and show how far they are: a bar on a terminal, a line every `seconds` in a log."""
    if sys.stdout.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, file=sys.stdout, leave=False)
        return
    started = shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= seconds:
            shown = now
            left = (now - started) / count * (total - count)
            log.info("%s: %d of %d, %.0f s left", what, count, total, left)


class Meter:
    """Wall-clock seconds and peak memory of a piece of work."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    @property
    def peak_mib(self) -> int:
        """Peak resident memory of this process so far, in MiB (getrusage counts KiB on Linux)."""
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

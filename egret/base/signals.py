"""A scheduler's SIGTERM and SIGUSR1, by which it asks a program to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGUSR1)
Handler = Callable[[int, FrameType | None], None]


def handle(handler: Handler) -> Callable[[], None]:
    """Let signals to stop be handled so; what is returned puts back how they were before."""
    before = {number: signal.signal(number, handler) for number in STOPS}

    def put_back() -> None:
        for number, known in before.items():
            signal.signal(number, known)

    return put_back


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Signals to stop are handled so within."""
    put_back = handle(handler)
    try:
        yield
    finally:
        put_back()

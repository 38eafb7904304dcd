"""Errors that a user can mend. Everything else is a bug of ours and keeps its traceback."""

import difflib
from collections.abc import Iterable


class EgretError(Exception):
    """Something a user can mend; the message names the thing, what is wrong with it and what to do."""

    exit_code = 1


class UsageError(EgretError):
    """A program was called wrongly."""

    exit_code = 2


class Refused(EgretError):
    """What was asked for would have destroyed what is there, or disturbed who is at work on it. That goes on as it was:
    `--status` does not call it failed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'lr'?` for a misspelt name, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def counted(number: int, thing: str, several: str = "") -> str:
    """`1 row`, `2 rows`: a number of things, whose plural is `several` where it is not made by an s."""
    return f"{number} {thing if number == 1 else several or thing + 's'}"


def first_few(names: Iterable[str], count: int = 5) -> str:
    """`a, b, c and 12 more`: what fits on an error line."""
    names = list(names)
    shown = ", ".join(names[:count])
    return f"{shown} and {len(names) - count} more" if len(names) > count else shown

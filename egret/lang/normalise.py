"""The one text normaliser: transcripts, LM text, scoring and serving pass through the same named function.

A name and a version identify what was done to a text; they are kept in `unit.json`, the package and
`score.json`. A version is raised when the output of a normaliser changes.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from egret.base.errors import UsageError, nearest


@dataclass(frozen=True)
class Normaliser:
    """`apply` of its own output gives the same text again."""

    version: int
    apply: Callable[[str], str]


def plain(text: str) -> str:
    """One space between words, composed characters (Unicode NFC), nothing invisible.

    Control characters, byte order marks, zero-width characters, directional marks (categories Cc and Cf) and
    unpaired surrogates make two words that look the same differ, so they go; every Unicode space is a space.
    """
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", "".join(map(_visible, text)))
    return " ".join(text.split())


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


NORMALISERS: dict[str, Normaliser] = {
    "plain": Normaliser(1, plain),
    "upper": Normaliser(1, lambda text: plain(plain(text).upper())),
    "lower": Normaliser(1, lambda text: plain(plain(text).lower())),
}


def _normaliser(name: str) -> Normaliser:
    if name not in NORMALISERS:
        known = ", ".join(NORMALISERS)
        raise UsageError(f"normaliser {name!r}: there is no such{nearest(name, NORMALISERS)}; known: {known}")
    return NORMALISERS[name]


def normalise(text: str, name: str = "plain") -> str:
    """`text` as the normaliser `name` writes it; "" when nothing visible is left.

    Raises:
      UsageError: there is no normaliser of that name.
    """
    return _normaliser(name).apply(text)


def identity(name: str) -> dict[str, str | int]:
    """`{"name": ..., "version": ...}` of a normaliser, to be kept with what was made by it.

    Raises:
      UsageError: there is no normaliser of that name.
    """
    return {"name": name, "version": _normaliser(name).version}

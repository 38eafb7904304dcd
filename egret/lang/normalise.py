"""The one text normaliser: transcripts, LM text, scoring and serving pass through the same named function.

A name and a version identify what was done to a text; they are kept in `unit.json`, the package and
`score.json`. A version is raised when the output of a normaliser changes.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from egret.base.errors import UsageError, nearest
from egret.lang import english, mandarin
from egret.lang.characters import visible


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
        text = unicodedata.normalize("NFC", "".join(map(visible, text)))
    return " ".join(text.split())


NORMALISERS: dict[str, Normaliser] = {
    "plain": Normaliser(1, plain),
    "upper": Normaliser(1, lambda text: plain(plain(text).upper())),
    "lower": Normaliser(1, lambda text: plain(plain(text).lower())),
    "english": Normaliser(english.VERSION, english.english),
    "mandarin": Normaliser(mandarin.VERSION, mandarin.mandarin),
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


def normalised_word(word: str, name: str = "plain") -> str:
    """A word of a lexicon in one piece, as it stands in words.txt; "" where it cannot be a word.

    A normaliser may take a word apart: `mandarin` makes 今 天 of 今天, which is joined again. Nothing is left of
    "!", and `english` makes two words of a hyphenated one, which no normalised text has in one piece: both are to
    be left out, and counted.

    Raises:
      UsageError: there is no normaliser of that name.
    """
    text = normalise(word, name)
    joined = text.replace(" ", "")
    return joined if normalise(joined, name) == text else ""


def identity(name: str) -> dict[str, str | int]:
    """`{"name": ..., "version": ...}` of a normaliser, to be kept with what was made by it.

    Raises:
      UsageError: there is no normaliser of that name.
    """
    return {"name": name, "version": _normaliser(name).version}

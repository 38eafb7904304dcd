"""Where words begin and end in a row of units, for what scores words while a search goes on."""

from dataclasses import dataclass

from egret.lang.bpe import BEGIN
from egret.lang.lang import Lang
from egret.lang.spelling import Characters, Pieces, Pronounced
from egret.lang.symbols import SPECIAL_TOKENS


@dataclass(frozen=True)
class Unit:
    """What a unit is to the words around it.

    Attributes:
      begins: the word before it is over.
      text: its part of a word; empty: none.
      ends: its word is over.
    """

    begins: bool
    text: str
    ends: bool


NOTHING = Unit(False, "", False)


def word_units(lang: Lang) -> list[Unit] | None:
    """Each token of a lang folder as part of a word, such that words come out as `lang.decode` makes them; None: it
    takes a lexicon to make words of these units, and where they end cannot be seen."""
    spelling = lang.spelling
    if isinstance(spelling, Pronounced):
        return _whole_words(lang, spelling)
    if isinstance(spelling, Pieces):
        pieces = frozenset(lang.units)
    else:
        assert isinstance(spelling, Characters)
        pieces = frozenset(spelling.bpe.pieces if spelling.bpe and not spelling.boundary else ())
        if spelling.boundary:
            return [NOTHING if name in SPECIAL_TOKENS else Unit(True, "", False) if name == spelling.boundary
                    else Unit(False, name, False) for name in lang.units]  # fmt: skip
    return [NOTHING if name in SPECIAL_TOKENS
            else Unit(name.startswith(BEGIN), name.replace(BEGIN, ""), False) if name in pieces
            else Unit(True, name, True) for name in lang.units]  # fmt: skip


def _whole_words(lang: Lang, spelling: Pronounced) -> list[Unit] | None:
    """Units of a lexicon in which each unit is one word."""
    from egret.lang.lexicon import read_lexicon

    rows = read_lexicon(spelling.path, literal=True)
    word_of = {tokens[0]: word for word, tokens in reversed(rows)}  # of homophones the first
    if any(len(tokens) != 1 for _, tokens in rows):
        return None
    none = {*SPECIAL_TOKENS, lang.silence}  # silence is heard between words, whatever else is spelled so
    return [Unit(True, word_of[name], True) if name in word_of and name not in none else NOTHING
            for name in lang.units]  # fmt: skip

"""From words to the names of units and back, one class for each way to do it."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

from egret.lang.bpe import BEGIN, Bpe
from egret.lang.lexicon import first_pronunciations, read_lexicon
from egret.lang.symbols import SPECIAL_TOKENS

# What --latin-bpe cuts into pieces: letters of the Latin script, digits, and the marks inside of words.
LATIN = re.compile(r"[A-Za-z0-9À-ÖØ-öø-ɏ'\-]+")


class Spelling(Protocol):
    """How a lang folder writes words in units.

    Attributes:
      unambiguous: a word has one sequence of units, and words that the lexicon lacks have one, too.
      remedy: what to do about words that have none.
    """

    unambiguous: bool
    remedy: str

    def outside(self, words: Sequence[str]) -> list[str]:
        """The words that have no units."""

    def encode(self, words: Sequence[str]) -> list[str]:
        """The units of words that are not outside."""

    def decode(self, names: Iterable[str]) -> list[str]:
        """The words that units stand for, without a language model; special tokens stand for nothing."""


class Characters:
    """Words spelled in characters, with the token `boundary` between words; empty: there is none.

    With `bpe`, stretches of Latin letters and digits are cut into its pieces.
    """

    unambiguous = True
    remedy = "give steps/prepare_lang.py cuts or a lexicon that has them"

    def __init__(self, units: Iterable[str], boundary: str, bpe: Bpe | None = None) -> None:
        self.boundary, self.bpe = boundary, bpe
        self.units = frozenset(units).difference(SPECIAL_TOKENS, {boundary})

    def spell(self, word: str) -> list[str]:
        """The units of one word, whether the folder has them or not."""
        if self.bpe is None:
            return list(word)
        return list(chain.from_iterable(
            self.bpe.encode([part])[0] if LATIN.fullmatch(part) else [part] for part in single(word)
        ))  # fmt: skip

    def outside(self, words: Sequence[str]) -> list[str]:
        taken = self.bpe is not None and BEGIN  # a piece by itself that no word may have
        return [word for word in words if (taken and taken in word) or not self.units.issuperset(self.spell(word))]

    def encode(self, words: Sequence[str]) -> list[str]:
        names: list[str] = []
        for word in words:
            names += [self.boundary, *self.spell(word)] if names and self.boundary else self.spell(word)
        return names

    def decode(self, names: Iterable[str]) -> list[str]:
        """Characters are joined from boundary to boundary; where there is no boundary, each is a word, and Latin
        pieces are joined into words."""
        spoken = [name for name in names if name not in SPECIAL_TOKENS]
        if self.boundary:
            return "".join(" " if name == self.boundary else name for name in spoken).split()
        if self.bpe is None:
            return spoken
        text, latin = "", False
        for name in spoken:
            was_latin, latin = latin, name in self._pieces
            text += name.replace(BEGIN, " ") if latin and was_latin else " " + name.removeprefix(BEGIN)
        return text.split()

    @cached_property
    def _pieces(self) -> frozenset[str]:
        return frozenset(self.bpe.pieces if self.bpe else [])


def single(word: str) -> list[str]:
    """A word as single characters and whole stretches of Latin letters and digits: `今天DVD` is 今, 天, DVD."""
    parts: list[str] = []
    for part in re.split(f"({LATIN.pattern})", word):
        parts += [part] if LATIN.fullmatch(part) else part
    return parts


class Pieces:
    """Words in pieces of byte-pair encoding."""

    unambiguous = True
    remedy = "give steps/prepare_lang.py cuts or texts that have their characters"

    def __init__(self, bpe: Bpe) -> None:
        self.bpe = bpe

    def outside(self, words: Sequence[str]) -> list[str]:
        return [word for word in words if not self.bpe.spells(word)]

    def encode(self, words: Sequence[str]) -> list[str]:
        return list(chain.from_iterable(self.bpe.encode(words)))

    def decode(self, names: Iterable[str]) -> list[str]:
        """A word goes on until a piece begins with `▁`."""
        return "".join(name for name in names if name not in SPECIAL_TOKENS).replace(BEGIN, " ").split()


class Pronounced:
    """Words as the lexicon has them: phones, syllables, or each its own unit."""

    unambiguous = False
    remedy = "add them, or map such words to one of its words with --oov (steps/prepare_lang.py)"

    def __init__(self, lexicon: Path, oov: str, silence: str | None) -> None:
        self.path, self.oov, self.silence = lexicon, oov, silence

    @cached_property
    def pronunciations(self) -> dict[str, list[str]]:
        """The units that a word is trained with."""
        return first_pronunciations(read_lexicon(self.path, literal=True))

    def outside(self, words: Sequence[str]) -> list[str]:
        return [] if self.oov else [word for word in words if word not in self.pronunciations]

    def known(self, words: Sequence[str]) -> list[str]:
        """The words, those that the lexicon lacks replaced by the one that stands for them."""
        return [word if word in self.pronunciations else self.oov for word in words]

    def encode(self, words: Sequence[str]) -> list[str]:
        return list(chain.from_iterable(self.pronunciations[word] for word in self.known(words)))

    def decode(self, names: Iterable[str]) -> list[str]:
        """Units are cut into words of the lexicon so that the fewest are left over, then with the fewest words (of
        homophones the first in the lexicon). Silence is no word, and no word goes on across it."""
        stretches: list[list[str]] = [[]]
        for name in names:
            if name == self.silence:
                stretches.append([])
            elif name not in SPECIAL_TOKENS:
                stretches[-1].append(name)
        return [word for stretch in stretches for word in self._segment(stretch)]

    @cached_property
    def _by_pronunciation(self) -> dict[tuple[str, ...], str]:
        table: dict[tuple[str, ...], str] = {}
        for word, tokens in read_lexicon(self.path, literal=True):
            table.setdefault(tuple(tokens), word)
        return table

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_pronunciation))

    def _segment(self, names: list[str]) -> list[str]:
        # Dynamic programming over the end of a prefix: (units left over, words, start of the last, last word).
        best: list[tuple[int, int, int, str | None]] = [(0, 0, -1, None)]
        for end in range(1, len(names) + 1):
            skipped, words, _, _ = best[end - 1]
            options: list[tuple[int, int, int, str | None]] = [(skipped + 1, words, end - 1, None)]
            for start in range(max(0, end - self._longest), end):
                word = self._by_pronunciation.get(tuple(names[start:end]))
                if word is not None:
                    options.append((best[start][0], best[start][1] + 1, start, word))
            best.append(min(options, key=lambda entry: entry[:2]))
        words_found, place = [], len(names)
        while place > 0:
            _, _, start, word = best[place]
            if word is not None:
                words_found.append(word)
            place = start
        return words_found[::-1]

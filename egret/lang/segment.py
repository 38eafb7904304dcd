"""Cutting text into the words of a vocabulary, for languages that write no space between words.

A unit is a Han character or a run of other characters without a space, so that a word never begins or ends within
a Latin word, and 卡拉OK may be one word of four units. Every unit of a text comes back in exactly one word, in its
place; a unit that no word of the vocabulary begins with is a word of its own.
"""

import importlib.util
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError
from egret.lang.characters import HAN

Segmentation = Literal["none", "lexicon", "jieba"]
Segmenter = Callable[[str], str]

UNIT = re.compile(f"[{HAN}]|[^\\s{HAN}]+")


def segmenter(how: Segmentation, words: Iterable[str]) -> Segmenter:
    """A function from a text to the same text in words of the vocabulary, one space between them.

    Args:
      how: `none`: words are what spaces separate; `lexicon`: from left to right always the longest word that fits;
        `jieba`: the likeliest sequence of words by jieba's word frequencies.

    Raises:
      EgretError: `jieba`, and its frequencies are not there.
    """
    if how == "none":
        return lambda text: text
    vocabulary = Vocabulary(words)
    if how == "lexicon":
        return lambda text: " ".join(vocabulary.longest(UNIT.findall(text)))
    frequent = WordFrequencies(vocabulary, jieba_frequencies())
    return lambda text: " ".join(frequent.likeliest(UNIT.findall(text)))


class Vocabulary:
    """Words by their first unit.

    Attributes:
      lengths: how many units the words of two and more units have that begin with a unit, longest first.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        # A text's units are looked up with a space between them: AB is not A B.
        self.by_units: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for word in self.words:
            units = UNIT.findall(word)
            if len(units) > 1:
                self.by_units[" ".join(units)] = word
                lengths.setdefault(units[0], set()).add(len(units))
        self.lengths = {unit: sorted(each, reverse=True) for unit, each in lengths.items()}

    def longest(self, units: list[str]) -> list[str]:
        """Longest match from left to right; its time grows with the number of units."""
        found = []
        place = 0
        while place < len(units):
            first = units[place]
            for length in self.lengths.get(first, ()):
                word = self.by_units.get(" ".join(units[place : place + length]))
                if word is not None:
                    found.append(word)
                    place += length
                    break
            else:
                found.append(first)
                place += 1
        return found


class WordFrequencies:
    """The vocabulary with log probabilities: jieba's way of cutting without its model of unknown words.

    A word that the frequencies lack counts a little more than its likeliest parts, so that it is not cut up.
    """

    def __init__(self, vocabulary: Vocabulary, frequencies: dict[str, int]) -> None:
        self.vocabulary = vocabulary
        total = math.log(sum(frequencies.values()))
        self.rare = -total  # a frequency of one: a unit that is no known word
        words = vocabulary.words
        self.scores = {word: math.log(frequencies[word] or 1) - total for word in words if word in frequencies}
        lacking = {}
        for joined, word in vocabulary.by_units.items():
            if word not in self.scores:
                lacking[word] = max(self.rare, self._route(joined.split(" "))[0][0] + 1e-6)
        self.scores |= lacking

    def _route(self, units: list[str]) -> list[tuple[float, int]]:
        """For each place, the best log probability of the units from there on, and where the next word begins."""
        best: list[tuple[float, int]] = [(0.0, 0)] * (len(units) + 1)
        scores, by_units = self.scores, self.vocabulary.by_units
        for place in range(len(units) - 1, -1, -1):
            first = units[place]
            choice = (scores.get(first, self.rare) + best[place + 1][0], place + 1)
            for length in self.vocabulary.lengths.get(first, ()):
                end = place + length
                if end <= len(units):
                    word = by_units.get(" ".join(units[place:end]))
                    if word is not None and word in scores:
                        choice = max(choice, (scores[word] + best[end][0], end))
            best[place] = choice
        return best

    def likeliest(self, units: list[str]) -> list[str]:
        """The words with the largest product of probabilities; of two equal ways that with the longer first word."""
        best = self._route(units)
        found = []
        place = 0
        while place < len(units):
            end = best[place][1]
            found.append(units[place] if end == place + 1 else self.vocabulary.by_units[" ".join(units[place:end])])
            place = end
        return found


def jieba_frequencies() -> dict[str, int]:
    """The word counts that jieba comes with; its code is not imported.

    Raises:
      EgretError: jieba is not installed, or is not as we know it.
    """
    spec = importlib.util.find_spec("jieba")
    if spec is None or spec.origin is None:
        raise EgretError("--segment jieba: jieba is not installed; run local/install.sh, or say --segment lexicon")
    path = Path(spec.origin).parent / "dict.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {fields[0]: int(fields[1]) for fields in map(str.split, lines)}
    except (OSError, ValueError, IndexError) as error:
        raise EgretError(f"{path}: jieba's dictionary cannot be read ({error}); run local/install.sh --force") from None

"""The second level of a syllable system: the likeliest texts of a row of syllables, by Viterbi in LG.

LG (egret.graph.syllable_graph) has an arc for each unit, words that sound alike beside each other. The search is
exact: nothing is pruned but what cannot be among the best texts any more. It goes on from where it is when the next
syllable comes. It needs NumPy only.

Where no word can end at a syllable, because LG does not have it there, the syllable may also pass by itself from
wherever a word could end before it: as the commonest character that is read so, where there is one, else as the
syllable in angle brackets. So there is always a text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from egret.base.errors import EgretError
from egret.decoding.lattice import best_of
from egret.graph import arcs
from egret.graph.arcs import FINAL_LABEL, ArcTable
from egret.graph.ragged import ranges
from egret.graph.syllable_graph import outputs
from egret.lang.lang import Lang
from egret.lang.pinyin import Dictionary, canonical, characters_of, is_han, marked, tone, toneless
from egret.lang.symbols import SPECIAL_TOKENS, is_disambiguation

BY_ITSELF = -30.0  # natural logarithm: of a syllable that LG does not have in its place
HASH_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Text:
    """Words with their score, the natural logarithm of their probability under G."""

    words: list[str]
    score: float

    def __str__(self) -> str:
        return " ".join("".join(map(written, self.words)).split())


def written(word: str) -> str:
    """A word as it stands in a text: Chinese without spaces, and so what is marked; others with one on either side."""
    return word if not word or is_han(word[0]) or word.startswith("<") else f" {word} "


class SyllableGraph:
    """LG laid out for the search, with the names of its units and words."""

    def __init__(self, graph: ArcTable, lang: Lang, dictionary: Dictionary | None = None) -> None:
        """`dictionary`: a user's, for syllables that LG lacks."""
        self.lang, self.dictionary = lang, dictionary
        ends = graph.arcs[:, 2] == FINAL_LABEL
        self.final = np.full(graph.num_states, -np.inf)
        np.maximum.at(self.final, graph.arcs[ends, 0], graph.scores[ends])
        self.boundary = np.isfinite(self.final)
        if not self.boundary[0]:
            self.final[0], self.boundary[0] = 0.0, True
        keys = graph.arcs[:, 0].astype(np.int64) * len(lang.tokens) + graph.arcs[:, 2]
        order = np.argsort(keys, kind="stable")
        order = order[~ends[order]]
        self.keys = keys[order]
        self.next = graph.arcs[order, 1].astype(np.int64)
        self.scores = graph.scores[order].astype(np.float64)
        self._words = outputs(graph).take(order)
        self._splits = self._words.splits

    @classmethod
    def read(cls, folder: Path, lang: Lang, dictionary: Dictionary | None = None) -> "SyllableGraph":
        """Load `LG.safetensors`.

        Raises:
          EgretError: it is not there, or was made for another lang folder.
        """
        path = folder / "LG.safetensors"
        if not path.exists():
            raise EgretError(f"{path}: not there; steps/compile_graph.py leaves it with --lg true")
        graph = arcs.load(path)
        if not arcs.is_for(arcs.about(path), lang):
            raise EgretError(f"{path}: made for other units or words than {lang.folder} has; compile it again")
        return cls(graph, lang, dictionary)

    def words(self, arc: int) -> list[str]:
        """What an arc says."""
        found = self._words.values[self._splits[arc] : self._splits[arc + 1]]
        return [self.lang.word_names[word] for word in found]

    @cached_property
    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each arc's text a hash, and the factor by which the hash of what precedes it is multiplied."""
        known = [hash_of(written(name)) for name in self.lang.word_names]
        values = np.zeros(len(self.keys), np.uint64)
        factors = np.ones(len(self.keys), np.uint64)
        counts = self._words.counts
        one = counts == 1
        words = self._words.values[self._splits[:-1][one]]
        values[one] = np.array([value for value, _ in known], np.uint64)[words]
        factors[one] = np.array([factor for _, factor in known], np.uint64)[words]
        for arc in np.flatnonzero(counts > 1).tolist():
            values[arc], factors[arc] = hash_of("".join(map(written, self.words(arc))))
        return values, factors

    @cached_property
    def units(self) -> dict[str, int]:
        """The units that can be said, by name."""
        return {name: number for name, number in self.lang.tokens.items()
                if name not in SPECIAL_TOKENS and not is_disambiguation(name)}  # fmt: skip

    @cached_property
    def by_toneless(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, number in self.units.items():
            if tone(name):
                found.setdefault(toneless(name), []).append(number)
        return found

    def labels(self, name: str, any_tone: bool) -> list[int]:
        """The units that a name stands for: itself, or with `any_tone` all tones of a syllable without one."""
        for spelt in (name, canonical(name)):
            if spelt in self.units:
                return [self.units[spelt]]
            if any_tone and spelt in self.by_toneless:
                return self.by_toneless[spelt]
        return []

    def by_itself(self, name: str, any_tone: bool) -> str:
        """What stands in the text for a syllable that LG does not have in its place."""
        spelt = canonical(name)
        known = self._toneless if any_tone and not tone(spelt) else self._toned
        return known[spelt][0] if spelt in known else marked(name)

    @cached_property
    def _toned(self) -> dict[str, list[str]]:
        return self._characters(tones=True)

    @cached_property
    def _toneless(self) -> dict[str, list[str]]:
        return self._characters(tones=False)

    def _characters(self, tones: bool) -> dict[str, list[str]]:
        try:
            return characters_of(self.dictionary, tones)
        except ImportError:  # pypinyin is not needed where the graph has every syllable
            return {}


def hash_of(text: str) -> tuple[int, int]:
    """A hash of 64 bits that texts put together have from their parts: hash(a + b) = hash(a) * factor(b) + hash(b)."""
    value, factor, base = 0, 1, int(HASH_BASE)
    for character in text:
        mixed = (ord(character) + 1) * 0xD6E8FEB86659FD93 & (1 << 64) - 1
        value = (value * base + (mixed ^ mixed >> 32)) & (1 << 64) - 1
        factor = factor * base & (1 << 64) - 1
    return value, factor


class SyllableSearch:
    """The best texts of the syllables given so far.

    Kept are, for each state of LG that they lead to, the `nbest` likeliest texts that differ.

    Attributes:
      alone: how many syllables could only, or also, stand by themselves.
    """

    def __init__(self, graph: SyllableGraph, nbest: int = 1, any_tone: bool = False) -> None:
        self.graph, self.nbest, self.any_tone = graph, nbest, any_tone
        self.states = np.zeros(1, np.int64)
        self.scores = np.zeros(1)
        self.texts = np.zeros(1, np.uint64)
        self.alone = 0
        # For each syllable: of each hypothesis kept the one before it and its arc, -1 for one by itself; and its text.
        self._trace: list[tuple[np.ndarray, np.ndarray, str]] = []

    def push(self, name: str) -> None:
        """Go on by one syllable."""
        graph = self.graph
        labels = graph.labels(name, self.any_tone)
        wanted = np.add.outer(np.array(labels, np.int64), self.states * len(graph.lang.tokens)).ravel()
        first = np.searchsorted(graph.keys, wanted, "left")
        counts = np.searchsorted(graph.keys, wanted, "right") - first
        taken = ranges(first, counts)
        before = np.repeat(np.tile(np.arange(len(self.states)), len(labels)), counts)
        states = graph.next[taken]
        scores = self.scores[before] + graph.scores[taken]
        alone = ""
        if not graph.boundary[states].any():
            alone = graph.by_itself(name, self.any_tone)
            self.alone += 1
            staying = np.flatnonzero(graph.boundary[self.states])
            before = np.concatenate([before, staying])
            taken = np.concatenate([taken, np.full(len(staying), -1)])
            states = np.concatenate([states, self.states[staying]])
            scores = np.concatenate([scores, self.scores[staying] + BY_ITSELF])
        texts = self._hash(before, taken, alone)
        kept = best_of(states, scores, texts, self.nbest)
        self.states, self.scores, self.texts = states[kept], scores[kept], texts[kept]
        self._trace.append((before[kept], taken[kept], alone))

    def _hash(self, before: np.ndarray, taken: np.ndarray, alone: str) -> np.ndarray:
        """The hash of each new hypothesis's text; of no use where but one of a state is kept."""
        if self.nbest == 1:
            return np.zeros(len(taken), np.uint64)
        values, factors = (each[taken] for each in self.graph.hashes)
        values[taken < 0], factors[taken < 0] = hash_of(written(alone))
        return self.texts[before] * factors + values

    def best(self) -> list[Text]:
        """The `nbest` likeliest texts, as if the last syllable were the sentence's last, the likeliest first."""
        complete = np.flatnonzero(self.graph.boundary[self.states])
        scores = self.scores[complete] + self.graph.final[self.states[complete]]
        kept = best_of(np.zeros_like(complete), scores, self.texts[complete], self.nbest)
        return [Text(self._words(int(complete[place])), float(scores[place])) for place in kept]

    def _words(self, hypothesis: int) -> list[str]:
        words: list[str] = []
        for before, taken, alone in reversed(self._trace):
            arc = int(taken[hypothesis])
            words += [alone] if arc < 0 else reversed(self.graph.words(arc))
            hypothesis = int(before[hypothesis])
        return words[::-1]


def texts_of(graph: SyllableGraph, names: Iterable[str], nbest: int = 1, any_tone: bool = False) -> list[Text]:
    """The `nbest` likeliest texts of a whole row of syllables, the likeliest first."""
    search = SyllableSearch(graph, nbest, any_tone)
    for name in names:
        search.push(name)
    return search.best()

"""Hot words in lattices: phrases are looked for in the words of paths, as `egret.decoding.hot_words` does in units."""

from pathlib import Path

import numpy as np

from egret.base.errors import EgretError
from egret.decoding.hot_words import HotWords, read_phrases
from egret.graph.arcs import FINAL_LABEL
from egret.lang.lang import Lang
from egret.lang.normalise import normalise

OPTION = "--hlg.hot-words"


class HotPhrases:
    """Phrases as an automaton of words (`egret.decoding.grammar_walk.Follower`).

    A word counts as what the normaliser makes of it, so that where it parts characters a phrase is found however the
    words of the graph divide it.
    """

    def __init__(self, path: Path, lang: Lang) -> None:
        """Read a file of lines of `word or phrase  score`.

        Raises:
          EgretError: it cannot be read as such; a phrase stands there twice, or has what is in no word of the folder.
        """
        self.names, self.normaliser = lang.word_names, lang.normaliser
        self.numbers: dict[str, int] = {}  # of the parts of words
        self.rows: dict[int, list[int]] = {}  # of words: their parts
        for word in range(1, len(self.names) - 3):  # the others are no words that are said
            self.rows[word] = [self._number(part) for part in normalise(self.names[word], self.normaliser).split()]
        phrases: dict[tuple[int, ...], tuple[int, float]] = {}
        for number, where, text, parts, score in read_phrases(path, OPTION, self.normaliser):
            if unknown := [part for part in parts if part not in self.numbers]:
                raise EgretError(f"{where}: no word of {lang.folder} has {' '.join(unknown)}, so that {text!r} cannot "
                                 f"be recognised; add it to the lexicon, or leave it out")  # fmt: skip
            row = tuple(self.numbers[part] for part in parts)
            if row in phrases:
                raise EgretError(f"{where}: the same words as line {phrases[row][0]}; leave one of them out")
            phrases[row] = number, score
        self.automaton = HotWords([(row, score) for row, (_, score) in phrases.items()], None, ())
        self.found: dict[tuple[int, int], tuple[int, float]] = {}

    def _number(self, part: str) -> int:
        return self.numbers.setdefault(part, len(self.numbers))

    def follow(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states [K] after `words` [K], ids or -1 for the end, and what they score, [K]."""
        pairs, which = np.unique(np.stack([states, words], axis=1), axis=0, return_inverse=True)
        steps = [self._step(state, word) for state, word in pairs.tolist()]
        after = np.array([state for state, _ in steps], np.int64)
        scores = np.array([score for _, score in steps], np.float64)
        return after[which.reshape(-1)], scores[which.reshape(-1)]

    def _step(self, state: int, word: int) -> tuple[int, float]:
        if (state, word) not in self.found:
            if word == FINAL_LABEL:
                self.found[state, word] = 0, self.automaton.end((state, False))
            else:
                context, score = (state, False), 0.0
                for part in self.rows.get(word, []):
                    more, context = self.automaton.step(context, part)
                    score += more
                self.found[state, word] = context[0], score
        return self.found[state, word]

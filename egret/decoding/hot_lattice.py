"""Hot words in lattices: phrases are looked for in the words of paths, as `egret.decoding.hot_words` does in units."""

from pathlib import Path

import numpy as np

from egret.decoding.hot_words import HotWords, read_phrases, refuse_twice, refuse_unknown
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
        phrases = read_phrases(path, OPTION, self.normaliser)
        refuse_unknown(
            phrases,
            lambda parts: [part for part in parts if part not in self.numbers],
            f"{OPTION} {path}: no word of {lang.folder} has",
            "these phrases cannot be recognised; add the words to the lexicon, or leave the phrases out",
        )
        rows = [tuple(self.numbers[part] for part in each.words) for each in phrases]
        refuse_twice(phrases, rows, "words")
        scored = [(row, each.score) for each, row in zip(phrases, rows, strict=True)]
        self.automaton = HotWords(scored, None, ())
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

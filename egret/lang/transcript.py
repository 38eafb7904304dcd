"""A text as a row of slots: every pronunciation of its words, silence where it may be.

Forced alignment and the graph loss both go by it. Where a word has one sequence of units (characters, pieces), and
where the corpus says which units were spoken, nothing else is possible but silence.
"""

from collections.abc import Sequence

from egret.lang.lang import Lang
from egret.lang.lexicon import read_lexicon

Slot = Sequence[Sequence[int]]


class Transcripts:
    """Texts in the units of a lang folder."""

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self.pause: Slot = [[], [lang.tokens[lang.silence]]] if lang.silence else []
        self.pause_probability: float = lang.about["silence"]["probability"] if lang.silence else 0.0
        self.known: dict[str, list[list[int]]] = {}
        if not lang.spelling.unambiguous:
            for word, names in read_lexicon(lang.folder / "lexicon.txt", literal=True):
                self.known.setdefault(word, []).append([lang.tokens[name] for name in names])

    def slots(self, text: str, spoken: str = "") -> list[Slot]:
        """What may be heard of a text, slot after slot; of each one of its sequences of token ids.

        With `spoken`, silence may stand between syllables, but of phones before the first and after the last only,
        for nothing says which of them begins a word.

        Raises:
          EgretError: a word, or a spoken unit, that the lang folder does not have.
        """
        tokens = self.lang.encode(text, spoken)
        if self.lang.spelling.unambiguous:
            return [[[token]] for token in tokens]
        if not spoken:
            words = text.split()
            return self._paused([self.known.get(word) or self.known[self.lang.about["oov"]] for word in words])
        return self._paused([[[token]] for token in tokens] if self.lang.kind == "syllable" else [[tokens]])

    def _paused(self, slots: Sequence[Slot]) -> list[Slot]:
        paused: list[Slot] = [self.pause] if self.pause else []
        for slot in slots:
            paused += [slot, self.pause] if self.pause else [slot]
        return paused

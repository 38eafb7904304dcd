"""A transcript as slots that may be heard, of which each belongs to one of its words or to none."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from egret.base.errors import EgretError
from egret.lang.lang import Lang
from egret.lang.transcript import Slot, Transcripts

NO_WORD = -1
GAP = "\0"  # kaldialign's sign for nothing; no unit is called so


@dataclass(frozen=True)
class Text:
    """A transcript.

    Attributes:
      words: as they are written, in their order.
      slots: what may be heard, one after the other.
      owners: of each slot the place of its word; NO_WORD: it is silence, or the boundary between words.
    """

    words: list[str]
    slots: list[Slot]
    owners: list[int]


class Texts:
    """Transcripts in the units of a lang folder."""

    def __init__(self, lang: Lang) -> None:
        self.lang, self.transcripts = lang, Transcripts(lang)

    def read(self, text: str, spoken: str = "") -> Text:
        """The slots of a text; of the units that were spoken, where the corpus says so.

        Raises:
          EgretError: a word or a spoken unit that the lang folder does not have; or a word for which there is no
            spoken unit.
        """
        words, slots = text.split(), list(self.transcripts.slots(text, spoken))
        if self.lang.spelling.unambiguous:
            return Text(words, slots, self._spelled(words))
        if not spoken:
            return Text(words, slots, self._around(range(len(words))))
        owners = self._shared_out(words, spoken.split())
        if self.lang.kind == "syllable":
            return Text(words, slots, self._around(owners))
        single: list[Slot] = [[[self.lang.tokens[name]]] for name in spoken.split()]
        pause = [self.transcripts.pause] if self.transcripts.pause else []
        return Text(words, [*pause, *single, *pause], [NO_WORD] * len(pause) + owners + [NO_WORD] * len(pause))

    def _spelled(self, words: Sequence[str]) -> list[int]:
        owners: list[int] = []
        for place, word in enumerate(words):
            if place and self.lang.boundary:
                owners.append(NO_WORD)
            owners += [place] * len(self.lang.spelling.encode([word]))
        return owners

    def _around(self, owners: Sequence[int]) -> list[int]:
        """With the pauses between, before and after, where the lang folder has silence."""
        if not self.transcripts.pause:
            return list(owners)
        return [NO_WORD, *chain.from_iterable((owner, NO_WORD) for owner in owners)]

    def _shared_out(self, words: Sequence[str], spoken: Sequence[str]) -> list[int]:
        """The word of each spoken unit."""
        readings = [self._reading(word) for word in words]
        if self.lang.kind == "syllable" and sum(map(len, readings)) == len(spoken):
            return [place for place, units in enumerate(readings) for _ in units]
        return _most_alike(words, readings, spoken)

    def _reading(self, word: str) -> list[str]:
        """The units of a word; of one that the lexicon lacks, as many as it has characters, and none of them known."""
        known = self.transcripts.known.get(word)
        return [self.lang.units[token] for token in known[0]] if known else [f"{GAP}?"] * len(word)


def _most_alike(words: Sequence[str], readings: Sequence[Sequence[str]], spoken: Sequence[str]) -> list[int]:
    """The word of each spoken unit, by the fewest differences from how the words are usually read.

    Raises:
      EgretError: there is a word to which none comes.
    """
    import kaldialign

    read = [(unit, place) for place, units in enumerate(readings) for unit in units]
    owners: list[int] = []
    owner, number = 0, 0
    for usual, heard in kaldialign.align([unit for unit, _ in read], list(spoken), GAP):
        if usual != GAP:
            owner, number = read[number][1], number + 1
        if heard != GAP:
            owners.append(owner)
    if lacking := [words[place] for place in sorted(set(range(len(words))).difference(owners))]:
        raise EgretError(f"its spoken units leave none for {lacking[0]!r}")
    return owners

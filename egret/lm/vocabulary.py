"""What neural language models count: the words of a lang folder, or its tokens.

Both are numbered as attention decoders number tokens: `<blk>` 0, which no text has, `<sos/eos>` 1 and `<unk>` 2 come
first.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from egret.base.files import digest
from egret.lang.lang import Lang
from egret.lang.symbols import SPECIAL_TOKENS, UNKNOWN
from egret.lm.arpa import UNKNOWN_NAMES
from egret.lm.ngram import RESERVED

Unit = Literal["word", "token"]
UNKNOWN_ID = SPECIAL_TOKENS.index(UNKNOWN)


def usual_unit(lang: Lang) -> Unit:
    """Tokens where texts are spelled in them (characters, pieces). Where a lexicon says how words are spoken (phones,
    syllables), words: texts would be hidden in their pronunciations."""
    return "token" if lang.spelling.unambiguous else "word"


class Vocabulary:
    """The words or tokens of a lang folder.

    Attributes:
      names: by number.
    """

    def __init__(self, lang: Lang, unit: Unit) -> None:
        self.lang, self.unit = lang, unit
        self.names = lang.units
        if unit == "word":
            stand_for_unknown = {*UNKNOWN_NAMES, lang.about.get("oov")}
            self.names = [*SPECIAL_TOKENS, *(name for name in lang.words if name not in RESERVED | stand_for_unknown)]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @property
    def digest(self) -> str:
        """Differs from that of any other vocabulary."""
        return digest([self.unit, *self.names])

    def outside(self, words: Sequence[str]) -> list[str]:
        """The words that have no tokens, for which nothing can stand; none where words are counted."""
        return self.lang.outside(" ".join(words)) if self.unit == "token" else []

    def encode(self, words: Sequence[str]) -> list[int]:
        """The numbers of a normalised sentence; other words than there are are `<unk>`.

        Raises:
          EgretError: a word has no tokens.
        """
        if self.unit == "token":
            return self.lang.encode(" ".join(words))
        return [self.numbers.get(word, UNKNOWN_ID) for word in words]

"""A lang folder: `data/lang_<unit>/` with tokens, words and lexicon, and from words to tokens and back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json
from egret.lang.bpe import Bpe
from egret.lang.spelling import Characters, Pieces, Pronounced, Spelling
from egret.lang.symbols import SPECIAL_TOKENS, Symbols, is_disambiguation, read_symbols


@dataclass(frozen=True)
class Lang:
    """A lang folder as read by training, graph building and decoding.

    Attributes:
      folder: where it lies.
      tokens: token name to id, disambiguation symbols included.
      words: word to id.
      about: the content of unit.json.
    """

    folder: Path
    tokens: Symbols
    words: Symbols
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Lang":
        """Read a lang folder.

        Raises:
          EgretError: it is not there or a file of it is damaged.
        """
        if not (folder / "unit.json").exists():
            raise EgretError(f"{folder}: no lang folder; it is made by steps/prepare_lang.py (stage 2)")
        about = read_json(folder / "unit.json")
        return cls(folder, read_symbols(folder / "tokens.txt"), read_symbols(folder / "words.txt"), about)

    @cached_property
    def units(self) -> list[str]:
        """Token names by id, without the disambiguation symbols: what a model gives scores for."""
        return [name for name in self.tokens if not is_disambiguation(name)]

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.units).difference(SPECIAL_TOKENS)

    @cached_property
    def word_names(self) -> list[str]:
        return list(self.words)

    @property
    def normaliser(self) -> str:
        """Name of the normaliser of the transcripts."""
        return self.about.get("normaliser", {}).get("name", "plain")

    @property
    def kind(self) -> str:
        return self.about["kind"]

    @property
    def boundary(self) -> str:
        """The token between spelled words; empty: there is none."""
        return self.about.get("boundary", "")

    @property
    def silence(self) -> str | None:
        """The token of optional silence."""
        return self.about["silence"]["token"] if self.about["silence"] else None

    @property
    def spoken(self) -> str:
        """The field of a supervision's `custom` that says which units were spoken; empty: the lexicon does."""
        return self.about.get("spoken", "")

    @cached_property
    def first_disambiguation(self) -> int:
        """The id of `#0`; this token and all above it are disambiguation symbols."""
        return len(self.units)

    @cached_property
    def spelling(self) -> Spelling:
        """How words are written in units."""
        if self.kind == "bpe":
            return Pieces(Bpe.read(self.folder / "bpe.model"))
        if self.kind == "char":
            bpe = Bpe.read(self.folder / "bpe.model") if self.about.get("latin_bpe") else None
            return Characters(self.units, self.boundary, bpe)
        return Pronounced(self.folder / "lexicon.txt", self.about["oov"], self.silence)

    def outside(self, text: str, spoken: str = "") -> list[str]:
        """What of a text has no tokens: words that the lexicon lacks where none stands for them, words with other
        characters than the units have; with `spoken`, of units that are said to be spoken those that are none."""
        if spoken:
            return [name for name in spoken.split() if name not in self._names]
        return self.spelling.outside(text.split())

    def encode(self, text: str, spoken: str = "") -> list[int]:
        """Token ids of a text: words in their first pronunciation, or spelled; or of the units spoken, where known.

        Args:
          spoken: names of units, from the field of the supervision that `self.spoken` names; empty: it has none.

        Raises:
          EgretError: a word, or a unit, that the lang folder does not have.
        """
        if unknown := first_few(sorted(set(self.outside(text, spoken)))):
            if spoken:
                raise EgretError(f"{self.folder}/tokens.txt lacks the units {unknown} of the field {self.spoken!r}; "
                                 f"give steps/prepare_lang.py a lexicon that has them")  # fmt: skip
            lacking = "tokens.txt lacks characters of" if self.spelling.unambiguous else "lexicon.txt lacks"
            raise EgretError(f"{self.folder}/{lacking} {unknown}; {self.spelling.remedy}")
        names = spoken.split() if spoken else self.spelling.encode(text.split())
        return [self.tokens[name] for name in names]

    def decode(self, tokens: list[int]) -> list[str]:
        """The words that a sequence of unit ids stands for, without a language model: see `egret.lang.spelling`."""
        return self.spelling.decode(self.units[token] for token in tokens)

"""A lang folder: `data/lang_<unit>/` with tokens, words and lexicon, and from words to tokens and back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json
from egret.lang.lexicon import first_pronunciations, read_lexicon
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
    def word_names(self) -> list[str]:
        return list(self.words)

    @property
    def boundary(self) -> str:
        """The token between spelled words; empty: there is none."""
        return self.about.get("boundary", "")

    @cached_property
    def characters(self) -> frozenset[str]:
        """The units that words are spelled with, where units are characters."""
        return frozenset(self.units).difference(SPECIAL_TOKENS, {self.boundary})

    @cached_property
    def first_disambiguation(self) -> int:
        """The id of `#0`; this token and all above it are disambiguation symbols."""
        return len(self.units)

    @cached_property
    def pronunciations(self) -> dict[str, list[int]]:
        """The token ids that a word is trained with."""
        chosen = first_pronunciations(read_lexicon(self.folder / "lexicon.txt", literal=True))
        return {word: [self.tokens[token] for token in tokens] for word, tokens in chosen.items()}

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that have no tokens: not in the lexicon, and no out-of-vocabulary word stands for them.

        With characters: those with a character that is no unit.
        """
        if self.about["kind"] == "char":
            return [word for word in text.split() if not self.characters.issuperset(word)]
        if self.about["oov"]:
            return []
        return [word for word in text.split() if word not in self.pronunciations]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text: words in their first pronunciation, or spelled with the boundary between them.

        Raises:
          EgretError: a word that the lexicon does not have.
        """
        unknown = self.unknown_words(text)
        if self.about["kind"] == "char":
            if unknown:
                raise EgretError(f"{self.folder}/tokens.txt lacks characters of {first_few(sorted(set(unknown)))}; "
                                 f"give steps/prepare_lang.py cuts or a lexicon that has them")  # fmt: skip
            names: list[str] = []
            for word in text.split():
                names += [self.boundary, *word] if names and self.boundary else word
            return [self.tokens[name] for name in names]
        if unknown:
            raise EgretError(
                f"{self.folder}/lexicon.txt lacks {first_few(sorted(set(unknown)))}; add them, or map such words "
                f"to one of its words with --oov (steps/prepare_lang.py)"
            )
        oov = self.about["oov"]
        return [token for word in text.split() for token in self.pronunciations.get(word) or self.pronunciations[oov]]

    def decode(self, tokens: list[int]) -> list[str]:
        """The words that a sequence of unit ids stands for, without a language model.

        Phones are cut into words of the lexicon so that the fewest phones are left over, then with the fewest
        words (of homophones the first in the lexicon). Silence is no word, and no word goes on across it.
        Characters are joined from boundary to boundary; where there is no boundary, each is a word.
        """
        if self.about["kind"] == "char":
            spoken = [self.units[token] for token in tokens if self.units[token] not in SPECIAL_TOKENS]
            if not self.boundary:
                return spoken
            return "".join(" " if name == self.boundary else name for name in spoken).split()
        silence = self.about["silence"]["token"] if self.about["silence"] else None
        stretches: list[list[str]] = [[]]
        for name in (self.units[token] for token in tokens):
            if name == silence:
                stretches.append([])
            elif name not in SPECIAL_TOKENS:
                stretches[-1].append(name)
        if self.about["kind"] == "word":
            return [name for stretch in stretches for name in stretch]
        return [word for stretch in stretches for word in self._segment(stretch)]

    @cached_property
    def _by_pronunciation(self) -> dict[tuple[str, ...], str]:
        table: dict[tuple[str, ...], str] = {}
        for word, tokens in read_lexicon(self.folder / "lexicon.txt", literal=True):
            table.setdefault(tuple(tokens), word)
        return table

    def _segment(self, names: list[str]) -> list[str]:
        # Dynamic programming over the end of a prefix: (phones left over, words, start of the last, last word).
        longest = max(map(len, self._by_pronunciation))
        best: list[tuple[int, int, int, str | None]] = [(0, 0, -1, None)]
        for end in range(1, len(names) + 1):
            skipped, words, _, _ = best[end - 1]
            options: list[tuple[int, int, int, str | None]] = [(skipped + 1, words, end - 1, None)]
            for start in range(max(0, end - longest), end):
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

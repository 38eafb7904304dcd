"""What is scored: the references of a part and the hypotheses of a decoding."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl
from egret.corpus.cuts import distinct_cuts, spoken_of, text_of
from egret.lang.lang import Lang
from egret.scoring.syllables import FIELD, NORMALISER, Spoken, spoken
from egret.scoring.writing import Writing


@dataclass(frozen=True)
class References:
    """The words of each utterance of a part, its speaker ("" where nobody says) and its seconds (None where nobody
    says), and of Mandarin its syllables."""

    words: dict[str, list[str]]
    speakers: dict[str, str]
    seconds: dict[str, float | None]
    syllables: Spoken | None = None

    @classmethod
    def read(cls, cuts: Path, writing: Writing, lang: Lang | None = None, syllables: bool = False) -> "References":
        """The references of a manifest.

        Args:
          lang: lang folder of a syllable system.
          syllables: have them with syllables, where a lang folder is given or text is Mandarin.

        Raises:
          EgretError: no such manifest, no cuts in it, or two with one id.
        """
        words: dict[str, list[str]] = {}
        speakers = {}
        seconds = {}
        said = {}
        in_syllables = syllables and (lang is not None or writing.normaliser == NORMALISER)
        for cut in distinct_cuts(cuts):
            name = cut["id"]
            words[name] = writing.words(text_of(cut))
            if in_syllables:
                said[name] = spoken_of(cut, lang.spoken if lang and lang.spoken else FIELD)
            supervisions = cut.get("supervisions") or [{}]
            speakers[name] = str(supervisions[0].get("speaker") or "")
            seconds[name] = cut.get("duration")
        if not words:
            raise EgretError(f"{cuts}: no cuts in it; nothing to score against")
        return cls(words, speakers, seconds, spoken(lang, words, said) if in_syllables else None)


@dataclass(frozen=True)
class Hypotheses:
    """The rows of hyp.jsonl by their ids.

    Attributes:
      words: as `Writing` has them.
      tokens: units, of rows that have them.
      totals: the score of the whole, of rows that have it.
      confidence: how probable each of `words` is, 0 to 1, of rows that say so.
      times: start and duration of each of `words` in seconds, of rows that say so, where they are asked for.
      unplaced: ids of rows that have confidence or times, but of words that the writing cuts otherwise.
    """

    words: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    confidence: dict[str, list[float]] = field(default_factory=dict)
    times: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    unplaced: list[str] = field(default_factory=list)

    @classmethod
    def read(
        cls,
        path: Path,
        writing: Writing,
        tokens: bool = False,
        times: bool = False,
        only: Collection[str] | None = None,
    ) -> "Hypotheses":
        """Those of a hyp.jsonl.

        Args:
          tokens, times: keep these, too.
          only: ids of the rows that are wanted; None: all.

        Raises:
          EgretError: a row that is damaged, or two rows with one id; names the file and the line.
        """
        found = cls()
        for number, row in enumerate(_rows(path), 1):
            where = f"{path}:{number}"
            words = row.get("words") if isinstance(row, dict) else None
            if not isinstance(words, list) or not isinstance(row.get("id"), str) or not _all(words, str):
                raise EgretError(f"{where}: not a hypothesis (needs id and words); decode again")
            name = row["id"]
            if only is not None and name not in only:
                continue
            if name in found.words:
                raise EgretError(f"{where}: a second hypothesis of {name!r}; decode again")
            found.words[name] = writing.words(" ".join(words))
            if tokens and isinstance(row.get("tokens"), list):
                found.tokens[name] = row["tokens"]
            total = row["score"].get("total") if isinstance(row.get("score"), dict) else None
            if isinstance(total, int | float):
                found.totals[name] = total
            found._take_details(row, where, writing, times)
        return found

    def _take_details(self, row: dict[str, Any], where: str, writing: Writing, times: bool) -> None:
        """Confidence and times of a row, each word's given to all that the writing makes of it."""
        name, words = row["id"], row["words"]
        details = {kind: row[kind] for kind in ("confidence", "times") if row.get(kind) is not None}
        if not details:
            return
        for kind, values in details.items():
            if not isinstance(values, list) or len(values) != len(words) or not all(map(VALID[kind], values)):
                raise EgretError(
                    f"{where}: {kind} is not {MEANT[kind]} for each of its {len(words)} words; decode again"
                )
        pieces = [[word] for word in words]
        if words != self.words[name]:
            pieces = [writing.words(word) for word in words]
        if [each for piece in pieces for each in piece] != self.words[name]:
            self.unplaced.append(name)
            return
        sizes = [len(piece) for piece in pieces]
        if "confidence" in details:
            self.confidence[name] = _spread(details["confidence"], sizes)
        if times and "times" in details:
            self.times[name] = [(float(start), float(length)) for start, length in _spread(details["times"], sizes)]


def _rows(path: Path) -> Iterator[Any]:
    try:
        yield from read_jsonl(path)
    except UnicodeDecodeError as error:
        raise EgretError(f"{path}: not UTF-8 text ({error.reason}); decode again") from None


def _spread(values: list, sizes: list[int]) -> list:
    """Each value as often as its size says."""
    return [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]


def _all(values: list, kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _probability(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1  # which NaN is not


def _time(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_number(each) and each >= 0 for each in value)


VALID = {"confidence": _probability, "times": _time}
MEANT = {"confidence": "a number from 0 to 1", "times": "start and duration"}


def read_params(path: Path) -> dict[str, Any]:
    """params.json: part, method, params, chosen_on and, where it was measured, rtf."""
    about = read_json(path)
    missing = [key for key in ("part", "method", "params", "chosen_on") if key not in about]
    if missing:
        raise EgretError(f"{path}: lacks {', '.join(missing)}; decode again")
    return about

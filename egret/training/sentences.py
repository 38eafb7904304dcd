"""Text as numbers: normalised, cut into words, counted, and what cannot be used listed with its reason."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from egret.base.errors import EgretError, counted, first_few
from egret.base.files import atomic_open, digest, text_lines, write_tensors
from egret.base.log import log
from egret.base.stamps import fingerprint
from egret.corpus.cuts import references
from egret.lang.normalise import identity, normalise
from egret.lang.segment import Segmentation, segmenter
from egret.lm.ngram import RESERVED
from egret.lm.vocabulary import UNKNOWN_ID, Vocabulary

VERSION = 2  # raised when the same text would give other numbers, or what is kept of it be written otherwise
Row = dict[str, str]


@dataclass(frozen=True)
class Sentences:
    """N sentences of a vocabulary.

    Attributes:
      numbers: of all tokens, sentence after sentence, int32.
      ends: where each sentence ends there, int64 [N].
      words: of each, int32 [N].
      parts: which of the files it is from, int16 [N].
      places: the line there, or the cut, from 0, int64 [N].
    """

    numbers: np.ndarray
    ends: np.ndarray
    words: np.ndarray
    parts: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> list[int]:
        begin = int(self.ends[row - 1]) if row else 0
        return self.numbers[begin : int(self.ends[row])].tolist()

    @property
    def tokens(self) -> np.ndarray:
        """Of each sentence, its end not counted, int64 [N]."""
        return np.diff(self.ends, prepend=0)

    @property
    def unknown(self) -> int:
        """How many tokens are `<unk>`."""
        return int((self.numbers == UNKNOWN_ID).sum())


@dataclass(frozen=True)
class Reader:
    """How texts become numbers.

    Attributes:
      longest: tokens of a sentence.
    """

    vocabulary: Vocabulary
    normaliser: str
    segment: Segmentation
    longest: int

    def read(self, cuts: Sequence[Path], text: Sequence[Path], kept: Path, rejected: Path) -> Sentences:
        """The sentences of transcripts and of plain text, whose lines are one each. Empty ones are counted; others that
        cannot be used are listed in `rejected`. What was found is kept for the next start.

        Raises:
          EgretError: a file is not as it should be, or no sentence is left.
        """
        made_from = self._made_from([*cuts, *text])
        found = _load(kept, made_from) if rejected.exists() else None
        if found is None:
            with atomic_open(rejected) as listed:
                found = self.sentences(cuts, text, lambda row: listed.write(json.dumps(row, ensure_ascii=False) + "\n"))
            columns, about = found
            tensors = {item.name: getattr(columns, item.name) for item in fields(columns)}
            write_tensors(kept, tensors, {"made_from": made_from, "about": json.dumps(about)})
        sentences, about = found
        self._report(sentences, about, first_few(map(str, [*cuts, *text])), rejected)
        return sentences

    def _made_from(self, files: Sequence[Path]) -> str:
        how = [VERSION, self.vocabulary.digest, identity(self.normaliser), self.segment, self.longest]
        # The spelling of words in tokens is the lang folder's affair.
        return digest([*how, fingerprint(self.vocabulary.lang.folder), *map(fingerprint, files)])

    def sentences(
        self, cuts: Sequence[Path], text: Sequence[Path], reject: Callable[[Row], Any] = lambda row: None
    ) -> tuple[Sentences, dict[str, Any]]:
        """The sentences that can be used, and how many were `rejected` for which reason and how many were `empty`;
        `reserved` symbols were left out.

        Args:
          reject: called for each sentence that cannot be used, with its id, the reason and a detail.
        """
        numbers, ends, words, parts, places = (array(kind) for kind in "iqihq")
        rejected: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        cut_up = segmenter(self.segment, self.vocabulary.lang.words.keys() - RESERVED)
        for part, place, name, sentence in sources(cuts, text):
            there = cut_up(normalise(sentence, self.normaliser)).split()
            said = [word for word in there if word not in RESERVED]
            counts["reserved"] += len(there) - len(said)
            if not said:
                counts["empty"] += 1
                continue
            reason, detail, found = "", "", []
            if unknown := self.vocabulary.outside(said):
                reason, detail = "text outside the units", " ".join(unknown)
            elif len(found := self.vocabulary.encode(said)) > self.longest:
                reason, detail = "too long", f"{len(found)} tokens"
            if reason:
                rejected[reason] += 1
                reject({"id": name, "reason": reason, "detail": detail})
                continue
            numbers.extend(found)
            ends.append(len(numbers))
            words.append(len(said))
            parts.append(part)
            places.append(place)
        columns = map(np.asarray, (numbers, ends, words, parts, places))  # views of the same memory
        return Sentences(*columns), {"rejected": rejected, "empty": counts["empty"], "reserved": counts["reserved"]}

    def _report(self, sentences: Sentences, about: dict[str, Any], where: str, listed: Path) -> None:
        rejected = sum(about["rejected"].values())
        reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(about["rejected"]).most_common())
        unknown = sentences.unknown
        log.info(
            "%s: %d sentences, %d words, %d tokens%s%s%s%s", where, len(sentences), sentences.words.sum(),
            len(sentences.numbers),
            f", {unknown} of them ({100 * unknown / max(1, len(sentences.numbers)):.2f} %) unknown" if unknown else "",
            f"; {counted(about['empty'], 'empty line')} left out" if about["empty"] else "",
            f"; {counted(about['reserved'], 'reserved symbol')} left out" if about["reserved"] else "",
            f"; {counted(rejected, 'sentence')} left out ({reasons}; listed in {listed})" if rejected else "",
        )  # fmt: skip
        if not len(sentences):
            raise EgretError(f"{where}: no sentence can be used ({reasons or 'all lines are empty'}); a language model "
                             f"needs text in the units of {self.vocabulary.lang.folder}")  # fmt: skip


def sources(cuts: Sequence[Path], text: Sequence[Path]) -> Iterator[tuple[int, int, str, str]]:
    """(number of the file, place in it, name, text) of every transcript and every line."""
    for part, path in enumerate(cuts):
        for place, (name, transcript) in enumerate(references(path).items()):
            yield part, place, name, transcript
    for part, path in enumerate(text, len(cuts)):
        for place, line in enumerate(text_lines(path, "--text")):
            yield part, place, f"{path}:{place + 1}", line


def _load(kept: Path, made_from: str) -> tuple[Sentences, dict[str, Any]] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(kept, "numpy") as file:
            about = file.metadata() or {}
            if about.get("made_from") != made_from:
                return None
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Sentences(**columns), json.loads(about["about"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # FileNotFoundError among them
        return None

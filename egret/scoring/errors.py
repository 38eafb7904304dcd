"""Errors of hypotheses against references, joined by utterance id and aligned by kaldialign."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import kaldialign

from egret.base.errors import EgretError, first_few

GAP = "\ue000"  # stands for nothing in an alignment; private-use, so that no word is the same


@dataclass(frozen=True)
class Errors:
    """Errors of one or more utterances against `ref` reference words (or characters)."""

    ref: int = 0
    ins: int = 0
    dels: int = 0
    subs: int = 0

    @property
    def total(self) -> int:
        return self.ins + self.dels + self.subs

    @property
    def rate(self) -> float:
        """Errors in percent of the reference; where that is empty, every insertion counts 100 %."""
        return 100 * self.total / max(1, self.ref)


@dataclass(frozen=True)
class Counts:
    """Errors of a part of a corpus.

    Attributes:
      utterances: errors of each utterance by its id, in the order of the references.
      missing: ids of references without a hypothesis; all their words count as deleted.
    """

    utterances: dict[str, Errors]
    missing: list[str] = field(default_factory=list)

    @property
    def sum(self) -> Errors:
        return total(self.utterances.values())

    @property
    def errors(self) -> int:
        return self.sum.total

    @property
    def rate(self) -> float:
        """WER (or CER) in percent, as `Errors.rate`."""
        return self.sum.rate

    @property
    def wrong_sentences(self) -> int:
        """Utterances with any error, those without a hypothesis and with words among them."""
        return sum(1 for errors in self.utterances.values() if errors.total)


def total(errors: Iterable[Errors]) -> Errors:
    rows = list(errors)
    return Errors(
        sum(e.ref for e in rows), sum(e.ins for e in rows), sum(e.dels for e in rows), sum(e.subs for e in rows)
    )


def count_errors(refs: Mapping[str, Sequence[str]], hyps: Mapping[str, Sequence[str]]) -> Counts:
    """Count errors; references and hypotheses are words (or characters) by utterance id.

    A reference without a hypothesis counts as deleted and is named in the result.

    Raises:
      EgretError: a hypothesis has no reference.
    """
    refuse_strangers(refs, hyps)
    utterances = {}
    missing = []
    for name, ref in refs.items():
        if name not in hyps:
            missing.append(name)
        found = kaldialign.edit_distance(list(ref), list(hyps.get(name, ())))
        utterances[name] = Errors(len(ref), int(found["ins"]), int(found["del"]), int(found["sub"]))
    return Counts(utterances, missing)


def refuse_strangers(refs: Mapping[str, object], hyps: Mapping[str, object]) -> None:
    if strangers := [name for name in hyps if name not in refs]:
        raise EgretError(
            f"{len(strangers)} of {len(hyps)} hypotheses have no reference ({first_few(strangers)}); "
            f"score them against the cuts that were decoded"
        )


def characters(words: Iterable[str]) -> list[str]:
    """The characters of a text without its spaces, for CER."""
    return list("".join(words))


def align(ref: Sequence[str], hyp: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of reference and hypothesis; GAP in the first is an insertion, in the second a deletion.

    The pairs have just the errors that `count_errors` counts.
    """
    yield from kaldialign.align(list(ref), list(hyp), GAP)

"""Errors of hypotheses against references, joined by utterance id and aligned by kaldialign."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import kaldialign

from egret.base.errors import EgretError, first_few
from egret.lang.characters import HAN

GAP = "\ue000"  # stands for nothing in an alignment; private-use, so that no word is the same
LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
# Latin letters and what belongs to no script hang together; any other character stands by itself.
MIXED = re.compile(rf"(?:(?![{HAN}])[\W\d_{LATIN}])+|.")


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
      strangers: ids of hypotheses without a reference; they count for nothing.
    """

    utterances: dict[str, Errors]
    missing: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

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


def count_errors(
    refs: Mapping[str, Sequence[str]],
    hyps: Mapping[str, Sequence[str]],
    cut: Callable[[Iterable[str]], Sequence[str]] = list,
) -> Counts:
    """Count errors; references and hypotheses are words by utterance id, which `cut` makes units of.

    A reference without a hypothesis counts as deleted, a hypothesis without a reference for nothing; the result names
    both.

    Raises:
      EgretError: there are hypotheses, and none of them has a reference.
    """
    strangers = [name for name in hyps if name not in refs]
    if strangers and len(strangers) == len(hyps):
        raise EgretError(
            f"none of {len(hyps)} hypotheses has a reference (first: {first_few(strangers)}); score them against the "
            f"cuts that were decoded"
        )
    utterances = {}
    missing = []
    for name, ref in refs.items():
        if name not in hyps:
            missing.append(name)
        utterances[name] = errors_between(list(cut(ref)), list(cut(hyps.get(name, ()))))
    return Counts(utterances, missing, strangers)


def errors_between(ref: list[str], hyp: list[str]) -> Errors:
    """The fewest errors that make `hyp` of `ref`."""
    if ref == hyp:
        return Errors(len(ref))
    found = kaldialign.edit_distance(ref, hyp)
    return Errors(len(ref), int(found["ins"]), int(found["del"]), int(found["sub"]))


def characters(words: Iterable[str]) -> list[str]:
    """The characters of a text without its spaces, for CER."""
    return list("".join(words))


def mixed(words: Iterable[str]) -> list[str]:
    """Latin words and numbers whole, the characters of other scripts (Chinese, kana, Hangul, Cyrillic) one by one, for
    the mixed error rate: 卡 拉 OK of 卡拉OK."""
    return [unit for word in words for unit in ([word] if word.isascii() else MIXED.findall(word))]


def align(ref: Sequence[str], hyp: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of reference and hypothesis; GAP in the first is an insertion, in the second a deletion.

    The pairs have just the errors that `count_errors` counts.
    """
    ref, hyp = list(ref), list(hyp)
    yield from zip(ref, hyp, strict=True) if ref == hyp else kaldialign.align(ref, hyp, GAP)

"""What is behind an error rate: what was confused with what, who spoke, how long, and which words no lexicon has."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from egret.scoring.errors import GAP, Counts, Errors, align, total

SECONDS = (2, 4, 8, 16, 32)  # edges of the buckets of duration
COMMONEST = 100  # rows of each kind of confusion
NAMED = 20  # words outside the lexicon that score.json names
Rows = Mapping[str, Sequence[str]]


@dataclass
class Tally:
    """What happened to the words of a part.

    Attributes:
      substituted: how often which word of the reference became which other.
      deleted, inserted: how often which word was.
      outside: how often which word of the references that the lexicon lacks was said; `lost` of them were not
        recognised, in `holding` utterances.
      confidence, right: of the words of hypotheses that have a confidence, and whether each is right (1 or 0).
    """

    substituted: Counter[tuple[str, str]] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    inserted: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    holding: set[str] = field(default_factory=set)
    confidence: array = field(default_factory=lambda: array("d"))
    right: array = field(default_factory=lambda: array("b"))

    @classmethod
    def of(
        cls,
        refs: Rows,
        hyps: Rows,
        known: Collection[str] | None = None,
        confidence: Mapping[str, Sequence[float]] | None = None,
    ) -> "Tally":
        """Count over all utterances.

        Args:
          known: words of the lexicon; None: there is none to look in.
          confidence: of the words of hypotheses, where there is any.
        """
        found = cls()
        for name, ref in refs.items():
            found._add(name, list(align(ref, hyps.get(name, ()))), known, (confidence or {}).get(name))
        return found

    def _add(
        self,
        name: str,
        pairs: Sequence[tuple[str, str]],
        known: Collection[str] | None,
        confidence: Sequence[float] | None,
    ) -> None:
        for ref, hyp in pairs:
            if ref == hyp:
                continue
            if ref == GAP:
                self.inserted[hyp] += 1
            elif hyp == GAP:
                self.deleted[ref] += 1
            else:
                self.substituted[ref, hyp] += 1
        if known is not None:
            strange = [(ref, hyp) for ref, hyp in pairs if ref != GAP and ref not in known]
            self.outside.update(ref for ref, _ in strange)
            self.lost.update(ref for ref, hyp in strange if ref != hyp)
            if strange:
                self.holding.add(name)
        if confidence is not None:
            self.confidence.extend(confidence)
            self.right.extend(int(ref == hyp) for ref, hyp in pairs if hyp != GAP)

    def confusions(self) -> dict[str, Any]:
        """What details.json has under `confusions`: of each kind the commonest, how many, how many different."""
        return {
            "substitutions": _kind([[*pair, count] for pair, count in ranked(self.substituted)]),
            "deletions": _kind([[word, count] for word, count in ranked(self.deleted)]),
            "insertions": _kind([[word, count] for word, count in ranked(self.inserted)]),
        }

    def out_of_lexicon(self, words: Counts) -> dict[str, Any]:
        """What score.json has under `out_of_lexicon`; `words` are the errors of the same utterances."""
        outside, said = sum(self.outside.values()), words.sum.ref
        rest = [errors for name, errors in words.utterances.items() if name not in self.holding]
        return {
            "words": outside,
            "percent": round(100 * outside / max(1, said), 4),
            "types": len(self.outside),
            "wrong": sum(self.lost.values()),
            "utterances": len(self.holding),
            "wer_of_others": round(total(rest).rate, 4),
            "commonest": [[word, count] for word, count in ranked(self.outside)[:NAMED]],
        }


def _kind(rows: list[list[Any]]) -> dict[str, Any]:
    return {"total": sum(row[-1] for row in rows), "different": len(rows), "commonest": rows[:COMMONEST]}


def ranked(counter: Counter) -> list[tuple[Any, int]]:
    """What was counted, the commonest first, of equals by name."""
    return sorted(counter.items(), key=lambda row: (-row[1], row[0]))


@dataclass(frozen=True)
class Group:
    """Utterances that have something in common, and their errors."""

    name: str
    utterances: int
    words: Errors
    characters: Errors

    def as_plain(self) -> dict[str, Any]:
        return {"utterances": self.utterances, "words": self.words.ref, "ins": self.words.ins, "del": self.words.dels,
                "sub": self.words.subs, "wer": round(self.words.rate, 4),
                "cer": round(self.characters.rate, 4)}  # fmt: skip


def grouped(kinds: Mapping[str, str], words: Counts, characters: Counts) -> list[Group]:
    """The utterances by their kind, such as their speaker, in the order in which the kinds come up."""
    names: dict[str, list[str]] = defaultdict(list)
    for name in words.utterances:
        names[kinds.get(name) or "?"].append(name)
    return [group(kind, members, words, characters) for kind, members in names.items()]


def group(kind: str, names: Iterable[str], words: Counts, characters: Counts) -> Group:
    names = list(names)
    return Group(kind, len(names), total(words.utterances[name] for name in names),
                 total(characters.utterances[name] for name in names))  # fmt: skip


def by_speaker(speakers: Mapping[str, str], words: Counts, characters: Counts) -> list[Group]:
    """The highest WER first."""
    return sorted(grouped(speakers, words, characters), key=lambda each: (-each.words.rate, each.name))


def by_duration(seconds: Mapping[str, float | None], words: Counts, characters: Counts) -> list[Group]:
    """Buckets of utterances by their seconds, the shortest first; those that have none come last."""
    order = [bucket(edge) for edge in (0, *SECONDS)] + ["?"]
    kinds = {name: bucket(value) for name, value in seconds.items() if value is not None}
    return sorted(grouped(kinds, words, characters), key=lambda each: order.index(each.name))


def bucket(seconds: float) -> str:
    """`2-4` for all from 2 to below 4 seconds."""
    low = max((edge for edge in SECONDS if edge <= seconds), default=0)
    high = min((edge for edge in SECONDS if edge > seconds), default=None)
    return f"{low}-{high}" if high else f"{low}-"

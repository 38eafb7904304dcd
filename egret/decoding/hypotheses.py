"""Hypotheses, the rows of hyp.jsonl that they make, and n-best lists of them that are weighed anew."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from egret.decoding.beams import length_penalty
from egret.decoding.search import Encoded
from egret.lang.lang import Lang

LENGTH_PENALTY = "length_penalty"  # of a setting: the power of the length by which its hypotheses are compared


@dataclass(frozen=True)
class Hypothesis:
    """What may have been said.

    Attributes:
      tokens: their ids.
      total: its score; infinite or NaN where no path was found.
      parts: what each source gave.
      normalised: the score by which it is ordered, where that is not the total: the total over the length penalty.
      marks: what is to be said of it in its row.
    """

    words: list[str]
    tokens: list[int]
    total: float
    parts: dict[str, float] = field(default_factory=dict)
    normalised: float | None = None
    marks: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, float | None]:
        """As in hyp.jsonl, which is JSON and has no infinity."""
        if not math.isfinite(self.total):
            return {"total": None}
        normalised = {} if self.normalised is None else {"normalised": self.normalised}
        return {"total": self.total, **normalised, **self.parts}


NOTHING = Hypothesis([], [], -math.inf)


def row_of(lang: Lang, found: Iterable[Hypothesis], keep: int = 0) -> dict[str, Any]:
    """A row of hyp.jsonl, without its id, of hypotheses, the best first; no more of them are made than it needs.

    Of those with the same words only the best counts, and `keep` are listed.
    """
    different: dict[tuple[str, ...], Hypothesis] = {}
    for each in found:
        different.setdefault(tuple(each.words), each)
        if len(different) >= max(keep, 1):
            break
    best = next(iter(different.values()), NOTHING)
    row: dict[str, Any] = {
        "words": best.words,
        "tokens": [lang.units[token] for token in best.tokens],
        "score": best.scores,
    }
    if keep:
        row["nbest"] = [{"words": each.words, "score": each.scores} for each in different.values()]
    return row | dict.fromkeys(best.marks, True)


@dataclass(frozen=True)
class Lists:
    """N-best lists of a first pass, and how its scores are weighed.

    Attributes:
      source: the method whose search makes them.
      make: the lists of a batch.
      total: of a hypothesis, from its parts and the weights of a setting.
      fixed: what is the same in all settings.
      first: the weights that the lists are made with.
      tried: those to try, all on the same lists.
    """

    source: str
    make: Callable[[Encoded], list[list[Hypothesis]]]
    total: Callable[[Hypothesis, dict[str, Any]], float]
    fixed: dict[str, Any]
    first: dict[str, Any]
    tried: list[dict[str, Any]]

    def find(self, encoded: Encoded) -> list[list[Hypothesis]]:
        """The lists of a batch, made once for all settings and methods."""
        return encoded.kept.once(("lists", self.source), lambda: self.make(encoded))

    @property
    def settings(self) -> list[dict[str, Any]]:
        return settings_of(self.fixed, self.first, self.tried)

    def ranked(
        self, found: Sequence[Hypothesis], params: dict[str, Any], others: Mapping[str, Sequence[float]] | None = None
    ) -> Iterator[Hypothesis]:
        """The hypotheses of a list as a setting weighs them, the best first.

        Args:
          others: the scores that other sources give to each of them; the weight of a source is `<source>_scale`.
        """
        others = others or {}
        totals = [self.total(each, params) for each in found]
        for source, scores in others.items():
            scale = params[f"{source}_scale"]
            totals = [total + scale * score for total, score in zip(totals, scores, strict=True)]
        normalised = LENGTH_PENALTY in params
        orders = [float(total / length_penalty(len(each.tokens), params[LENGTH_PENALTY]))
                  for total, each in zip(totals, found, strict=True)] if normalised else totals  # fmt: skip
        for place in sorted(range(len(found)), key=lambda place: -orders[place]):
            yield replace(
                found[place],
                total=totals[place],
                parts={**found[place].parts, **{source: scores[place] for source, scores in others.items()}},
                normalised=orders[place] if normalised else None,
            )


def middle(values: Sequence[float]) -> float:
    """The value with which a first pass searches where several are to be tried on what it finds."""
    return sorted(values)[len(values) // 2]


def settings_of(
    fixed: Mapping[str, Any], first: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each setting that is tried on what a first pass found with the weights `first`, which it tells."""
    searched = {f"searched_with_{name}": value for name, value in first.items()}
    return [{**fixed, **searched, **each} for each in tried]

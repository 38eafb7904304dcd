"""Two n-gram models made one: linear interpolation, with back-off weights that let it sum to one again.

The result has the n-grams of both. Each has the weighted mean of the probabilities that the two models give it, by
backing off where a model lacks it; whatever else follows a history is left to the shorter history, as in any back-off
model. So it is the mixture itself for the n-grams of either model and close to it for others (Stolcke 2002, SRILM,
`ngram -mix-lm`). Both are held in memory: about half a kilobyte for each n-gram.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egret.base.errors import EgretError, first_few
from egret.lm.arpa import ngrams_by_order, write_arpa
from egret.lm.perplexity import log10_scores

ROUNDS = 100  # of expectation and maximisation; it converges in far fewer
FEWEST, MOST = 1e-3, 1 - 1e-3  # a weight beyond would make one of the models pointless, and what only it has impossible
TINY = 1e-9  # probability; below it what the n-grams of a history leave to others is rounding


@dataclass(frozen=True)
class Level:
    """The n-grams of one order, of both models.

    Attributes:
      names: their words, as in the file, sorted.
      places: place of each name.
      contexts: int64 [n]: place of all words but the last among the n-grams of the order below.
      suffixes: int64 [n]: place of all words but the first among those.
      scores: float64 [2, n]: of each model log10 of the probability, by backing off where it lacks the n-gram.
      weights: float64 [2, n]: of each model log10 of the back-off weight; 0 where it lacks the n-gram.
    """

    names: list[bytes]
    places: dict[bytes, int]
    contexts: np.ndarray
    suffixes: np.ndarray
    scores: np.ndarray
    weights: np.ndarray


def best_weight(models: tuple[Path, Path], sentences: Iterable[str], known: Container[str], unknown: str) -> float:
    """The weight of the second model with which sentences are most probable, by expectation and maximisation; a half
    where there is no sentence.

    Args:
      models: KenLM binaries, or ARPA files that it can read (egret.lm.ngram.for_kenlm).
      known: words of the lexicon; others are scored as `unknown`.

    Raises:
      ImportError: there is no module kenlm.
    """
    kept = list(sentences)
    first, second = (10 ** log10_scores(path, kept, known, unknown) for path in models)
    weight = 0.5
    for _ in range(ROUNDS if len(first) else 0):
        before, weight = weight, float(np.mean(weight * second / ((1 - weight) * first + weight * second)))
        weight = min(MOST, max(FEWEST, weight))
        if abs(weight - before) < 1e-6:
            break
    return weight


def interpolate(models: tuple[Path, Path], weight: float, target: Path) -> None:
    """Write the mixture of two ARPA models: the second has this weight, the first the rest.

    Raises:
      EgretError: one is damaged, or lacks the first or the last words of one of its n-grams.
    """
    tables = [ngrams_by_order(path) for path in models]
    for table in tables:  # the shorter model backs off from all that it has not
        table += [{} for _ in range(max(map(len, tables)) - len(table))]
    levels: list[Level] = []
    for order, pair in enumerate(zip(*tables, strict=True), start=1):
        levels.append(level_of(pair, levels[-1] if levels else None, f"{order}-gram of {models[0]} or {models[1]}"))
    mixed = [mixture(of.scores, weight) for of in levels]
    back_offs = [back_off_weights(above, mixed[order], mixed[order + 1]) for order, above in enumerate(levels[1:])]
    write_arpa(target, [of.names for of in levels], mixed, back_offs)


def level_of(pair: Sequence[dict[bytes, tuple[float, float]]], below: Level | None, what: str) -> Level:
    """The n-grams of one order of both models, and how probable each is by each of them."""
    names = sorted(pair[0].keys() | pair[1].keys())
    contexts, suffixes = np.zeros(len(names), int), np.zeros(len(names), int)
    if below:
        for place, name in enumerate(names):
            try:
                contexts[place] = below.places[name.rpartition(b" ")[0]]
                suffixes[place] = below.places[name.partition(b" ")[2]]
            except KeyError:
                shown = name.decode(errors="replace")
                raise EgretError(f"{what}: {shown!r} is there without its first or its last words") from None
    scores, weights = np.zeros((2, len(names))), np.zeros((2, len(names)))
    for model, ngrams in enumerate(pair):
        if below:
            scores[model] = below.weights[model, contexts] + below.scores[model, suffixes]
        elif missing := [name.decode() for name in names if name not in ngrams]:
            raise EgretError(f"{what}: of one vocabulary they must be, and one lacks {first_few(missing)}")
        for place, name in enumerate(names):
            if name in ngrams:
                scores[model, place], weights[model, place] = ngrams[name]
    return Level(names, {name: place for place, name in enumerate(names)}, contexts, suffixes, scores, weights)


def mixture(scores: np.ndarray, weight: float) -> np.ndarray:
    """log10 of the weighted mean of the probabilities of two models, log10 [2, n]."""
    largest = scores.max(axis=0)
    first, second = 10 ** (scores - largest)
    return largest + np.log10((1 - weight) * first + weight * second)


def back_off_weights(above: Level, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """log10 of what the n-grams `above` leave of each of their contexts, over what is left by the shorter context.

    Args:
      lower: log10 of the probabilities one order below [m], upper: those of the n-grams [n].
    """
    taken = np.bincount(above.contexts, weights=10**upper, minlength=len(lower))
    behind = np.bincount(above.contexts, weights=10 ** lower[above.suffixes], minlength=len(lower))
    left, free = 1 - taken, 1 - behind
    some = (left > TINY) & (free > TINY)  # else every word follows, and the weight is never used
    return np.where(some, np.log10(np.where(some, left, 1) / np.where(some, free, 1)), 0.0)

"""Which utterances are in which batch: a pure function of the table, the options, the seed and the epoch.

Every process of a training run computes the whole list and takes its own batches from it, so that going on in the
middle of an epoch is an index into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egret.base.errors import UsageError
from egret.training.loop_options import PlanOptions


@dataclass(frozen=True)
class Table:
    """One row per training utterance: id, length in seconds (float32 [N]), number of tokens (int32 [N]), the place of
    its cut in its manifest (int64 [N]), and which of the manifests that is (int16 [N]). Of text a row is a sentence,
    its length is in tokens, and its place is a line of a file."""

    ids: Sequence[str]
    lengths: np.ndarray
    tokens: np.ndarray
    places: np.ndarray
    parts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[tuple[str, float, int, int]], parts: Sequence[int] | None = None) -> "Table":
        """A table of (id, length, tokens, place), all of one manifest unless `parts` says of which."""
        ids, lengths, tokens, places = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(
            ids,
            np.array(lengths, np.float32),
            np.array(tokens, np.int32),
            np.array(places, np.int64),
            np.array([0] * len(rows) if parts is None else parts, np.int16),
        )

    def __len__(self) -> int:
        return len(self.lengths)


def batches(table: Table, options: PlanOptions, seed: int, epoch: int) -> list[np.ndarray]:
    """All batches of an epoch in their order, each an array of rows of the table.

    Utterances of similar length come together: they are sorted by their length times a random factor of
    1 +- jitter, cut into batches where a batch would grow beyond its limits, and the batches shuffled. In the first
    `sorted_epochs` epochs batches come in the order of their longest utterance instead (SortaGrad: Amodei et al.
    2016, "Deep Speech 2").

    Raises:
      UsageError: the weights are not one for each manifest, or leave no utterance.
    """
    random = np.random.default_rng([seed, epoch])
    rows = drawn(table, options.weights, random)
    noise = random.uniform(1 - options.jitter, 1 + options.jitter, len(rows))
    rows = rows[np.argsort(table.lengths[rows] * noise, kind="stable")]
    made = np.split(rows, splits(table.lengths[rows], table.tokens[rows], options))
    if epoch < options.sorted_epochs:
        order = np.argsort([table.lengths[batch].max() for batch in made], kind="stable")
    else:
        order = random.permutation(len(made))
    return [made[place] for place in order]


def copies(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each row of each batch of an epoch how often it was there before, in this batch or an earlier one: weights
    draw utterances several times, and each of these copies is augmented in its own way."""
    rows = np.concatenate([*batches, np.zeros(0, np.int64)])
    order = np.argsort(rows, kind="stable")
    begins = np.flatnonzero(np.diff(rows[order], prepend=-1))  # of each row's stretch
    before = np.zeros(len(rows), np.int32)
    before[order] = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    return np.split(before, np.cumsum([len(batch) for batch in batches])[:-1]) if len(batches) else []


def drawn(table: Table, weights: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """The rows of an epoch: of a part with weight 2.5 every row twice, and a random half of them a third time.

    Raises:
      UsageError: the weights are not one for each manifest, or leave no utterance.
    """
    if not weights:
        return np.arange(len(table))
    parts = int(table.parts.max(initial=0)) + 1
    if len(weights) < parts:
        raise UsageError(f"--batch.weights: {len(weights)} for {parts} manifests of --cuts; give one for each")
    found = []
    for part, weight in enumerate(weights):
        rows = np.flatnonzero(table.parts == part)
        whole = int(weight)
        more = random.choice(rows, round((weight - whole) * len(rows)), replace=False) if len(rows) else rows
        found += [np.repeat(rows, whole), np.sort(more)]
    chosen = np.concatenate(found)
    if not len(chosen):
        raise UsageError(f"--batch.weights {' '.join(map(str, weights))}: no utterance is left; raise one of them")
    return chosen


def splits(lengths: np.ndarray, tokens: np.ndarray, options: PlanOptions) -> list[int]:
    """Where to cut a row of utterances of these lengths so that no batch is larger than allowed, padding included; an
    utterance that is larger by itself stands alone."""
    places, start, longest, most = [], 0, 0.0, 0
    most_length, most_tokens, most_rows = options.limits
    for place in range(len(lengths)):
        length, count, size = float(lengths[place]), int(tokens[place]), place - start + 1
        longest, most = max(longest, length), max(most, count)
        full = longest * size > most_length or most * size > most_tokens or size > most_rows
        if size > 1 and full:
            places.append(place)
            start, longest, most = place, length, count
    return places

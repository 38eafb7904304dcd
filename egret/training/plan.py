"""Which utterances are in which batch: a pure function of the table, the seed and the epoch.

The same number of batches on every rank, so that going on in the middle of an epoch is an index into the plan.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from egret.training.options import BatchOptions

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Table:
    """One row per training utterance: id, seconds (float32 [N]), number of tokens (int32 [N]) and the place of its
    cut in the manifest (int64 [N]), which the manifest's index turns into a byte offset."""

    ids: "Sequence[str]"
    seconds: np.ndarray
    tokens: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, rows: "Sequence[tuple[str, float, int, int]]") -> "Table":
        ids, seconds, tokens, places = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(ids, np.array(seconds, np.float32), np.array(tokens, np.int32), np.array(places, np.int64))

    def __len__(self) -> int:
        return len(self.ids)


def plan(
    table: Table, options: BatchOptions, seed: int, epoch: int, world_size: int = 1, rank: int = 0
) -> list[np.ndarray]:
    """The batches of one rank in one epoch, each an array of rows of the table.

    Utterances of similar length come together: they are sorted by their length times a random factor of
    1 +- jitter, cut into batches where the padded length would pass `max_duration`, and the batches shuffled.
    Where the batches do not divide by the number of ranks, the first few are used twice.
    """
    random = np.random.default_rng([seed, epoch])
    noise = random.uniform(1 - options.jitter, 1 + options.jitter, len(table))
    order = np.argsort(table.seconds * noise, kind="stable")
    batches, start, longest = [], 0, 0.0
    for place, row in enumerate(order):
        longest = max(longest, float(table.seconds[row]))
        size = place - start + 1
        if size > 1 and (longest * size > options.max_duration or size > options.max_utterances):
            batches.append(order[start:place])
            start, longest = place, float(table.seconds[row])
    if start < len(order):
        batches.append(order[start:])
    batches = [batches[place] for place in random.permutation(len(batches))]
    missing = -len(batches) % world_size
    # With fewer batches than ranks the list is repeated as often as it takes.
    batches += [batches[place % len(batches)] for place in range(missing)]
    return batches[rank::world_size]

"""Rows of different lengths in one NumPy array: the outputs of arcs, of which each may have any number."""

from dataclasses import dataclass

import numpy as np


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each start, as many as counted, in one row."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


@dataclass(frozen=True)
class Ragged:
    """N rows.

    Attributes:
      values: [sum of counts], row after row.
      counts: [N]
    """

    values: np.ndarray
    counts: np.ndarray

    @property
    def splits(self) -> np.ndarray:
        """Where each row begins, and the last one ends: [N + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])

    def take(self, places: np.ndarray) -> "Ragged":
        """Some of the rows, in any order."""
        counts = self.counts[places]
        return Ragged(self.values[ranges(self.splits[places], counts)], counts)

    def where(self, kept: np.ndarray) -> "Ragged":
        """The rows with only some of their values; `kept` is bool, one of each value."""
        owners = np.repeat(np.arange(len(self.counts)), self.counts)[kept]
        return Ragged(self.values[kept], np.bincount(owners, minlength=len(self.counts)))

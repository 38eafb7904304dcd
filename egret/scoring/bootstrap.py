"""Confidence intervals of error rates by bootstrap over utterances (Bisani and Ney 2004)."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
CELLS = 2_000_000  # utterances drawn at a time: bounds the memory to some 50 MB


def intervals(
    parts: Sequence[tuple[Sequence[int], Sequence[int]]],
    resamples: int = RESAMPLES,
    seed: int = 20_240_601,
) -> list[tuple[float, float]]:
    """95 % intervals in percent of several rates over the same N utterances, drawn together.

    Args:
      parts: (errors [N], reference length [N]) for each rate, such as WER and CER.

    Returns:
      (lower, upper) for each: the 2.5 and 97.5 percentiles of the rates of `resamples` draws of N utterances with
      replacement. (0, 0) where there are no utterances. A draw without any reference word counts as having one,
      as in Errors.rate.
    """
    number = len(parts[0][0]) if parts else 0
    if not number:
        return [(0.0, 0.0) for _ in parts]
    random = np.random.default_rng(seed)
    errors = [np.asarray(rate[0], np.int64) for rate in parts]
    lengths = [np.asarray(rate[1], np.int64) for rate in parts]
    rates = np.empty((len(parts), resamples))
    step = max(1, CELLS // number)
    for first in range(0, resamples, step):
        last = min(resamples, first + step)
        drawn = random.integers(0, number, (last - first, number))
        for row in range(len(parts)):
            wrong = errors[row].take(drawn).sum(axis=1)
            rates[row, first:last] = 100 * wrong / np.maximum(1, lengths[row].take(drawn).sum(axis=1))
    return [(float(low), float(high)) for low, high in np.percentile(rates, [2.5, 97.5], axis=1).T]

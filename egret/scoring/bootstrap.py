"""Error rates by bootstrap over utterances: their confidence intervals, and how far two systems are apart.

Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEAST = 1_000  # resamples, however many utterances there are
DRAWS = 100_000_000  # utterances drawn in all, about: some seconds; of so many fewer resamples tell as much
SEED = 20_240_601
CELLS = 2_000_000  # utterances drawn at a time: bounds the memory to some 50 MB


def resamples_of(number: int) -> int:
    """How many resamples are drawn of so many utterances: RESAMPLES up to 10,000, LEAST from 100,000 on."""
    return max(LEAST, min(RESAMPLES, DRAWS // max(1, number)))


def intervals(
    parts: Sequence[tuple[Sequence[int], Sequence[int]]],
    resamples: int | None = None,
    seed: int = SEED,
) -> list[tuple[float, float]]:
    """95 % intervals in percent of several rates over the same N utterances, drawn together.

    Args:
      parts: (errors [N], reference length [N]) for each rate, such as WER and CER.
      resamples: None: as many as `resamples_of` says.

    Returns:
      (lower, upper) for each: the 2.5 and 97.5 percentiles of the rates of `resamples` draws of N utterances with
      replacement. (0, 0) where there are no utterances. A draw without any reference word counts as having one,
      as in Errors.rate.
    """
    number = len(parts[0][0]) if parts else 0
    if not number:
        return [(0.0, 0.0) for _ in parts]
    sums = _resampled([column for rate in parts for column in rate], resamples, seed)
    rates = 100 * sums[:, 0::2] / np.maximum(1, sums[:, 1::2])
    return [(float(low), float(high)) for low, high in np.percentile(rates, [2.5, 97.5], axis=0).T]


def _resampled(columns: Sequence[Sequence[int] | np.ndarray], resamples: int | None, seed: int) -> np.ndarray:
    """Sums [R, K] of K columns of N whole numbers over R draws of N utterances with replacement."""
    values = np.array(columns, np.float64).T  # exact up to 2^53, and multiplied faster than whole numbers are
    number = len(values)
    resamples = resamples or resamples_of(number)
    random = np.random.default_rng(seed)
    step = max(1, CELLS // number)
    sums = []
    for first in range(0, resamples, step):
        drawn = random.integers(0, number, (min(resamples, first + step) - first, number))
        sums.append(np.stack([np.bincount(row, minlength=number) for row in drawn]) @ values)
    return np.concatenate(sums)


@dataclass(frozen=True)
class Paired:
    """How two systems compare on the same utterances; differences are the second's less the first's.

    Attributes:
      utterances: how many.
      rates: error rates of both, in percent.
      difference: of the rates, in points.
      ci95: where 95 % of the differences of the resamplings lie.
      fewer: in what share of the resamplings (0 to 1) the second has fewer errors, and the first.
      p: of the matched-pairs test, two-sided; None where nothing varies.
    """

    utterances: int
    rates: tuple[float, float]
    difference: float
    ci95: tuple[float, float]
    fewer: tuple[float, float]
    p: float | None


def paired(
    first: Sequence[int],
    second: Sequence[int],
    lengths: Sequence[int],
    resamples: int | None = None,
    seed: int = SEED,
) -> Paired:
    """Compare two systems by their errors on the same N utterances, at least one.

    The bootstrap draws utterances, the same ones for both systems (Bisani and Ney 2004, section 4). The matched-pairs
    test is that of Gillick and Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms",
    with each utterance a segment: both take utterances as independent of each other, which those of one speaker are
    not quite.

    Args:
      first, second: errors [N] of each system.
      lengths: reference length [N].
    """
    errors = [np.asarray(system, np.int64) for system in (first, second)]
    apart, said = errors[1] - errors[0], np.asarray(lengths, np.int64)
    sums = _resampled([apart, said], resamples, seed)
    differences = 100 * sums[:, 0] / np.maximum(1, sums[:, 1])
    low, high = np.percentile(differences, [2.5, 97.5])
    words = max(1, int(said.sum()))
    return Paired(
        utterances=len(apart),
        rates=(100 * int(errors[0].sum()) / words, 100 * int(errors[1].sum()) / words),
        difference=100 * int(apart.sum()) / words,
        ci95=(float(low), float(high)),
        fewer=(float((differences < 0).mean()), float((differences > 0).mean())),
        p=matched_pairs(apart),
    )


def matched_pairs(apart: np.ndarray) -> float | None:
    """Two-sided probability of a mean as far from 0 by chance, by the normal distribution, of differences [N]."""
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    if spread == 0:
        return None
    return math.erfc(abs(float(apart.mean())) / (spread / math.sqrt(len(apart))) / math.sqrt(2))

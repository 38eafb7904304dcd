"""Whether the confidence of words tells right ones from wrong ones."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10
# A confidence of 0 or 1 that is wrong would cost infinitely much. hyp.jsonl has four digits: 1.0 may be 0.99995.
CLIP = 5e-5


def confidence_scores(confidence: Sequence[float], is_right: Sequence[int]) -> dict[str, Any]:
    """What score.json has under `confidence`, of the words of hypotheses: how sure, and whether they are right.

    `nce` is normalised cross entropy (Siu, Gish and Richardson 1997, "Improved estimation, evaluation and applications
    of confidence measures for speech recognition"): the share of the uncertainty about which words are right that the
    confidence takes away; 1 where it knows, 0 where it is no better than their rate, below 0 where it is worse; None
    where all words are right or all are wrong. `bins` has, for each tenth of confidence, how many words, the share that
    is right and their mean confidence.
    """
    values, right = np.asarray(confidence, np.float64), np.asarray(is_right, bool)
    places = np.minimum(BINS - 1, (values * BINS).astype(int))
    bins = []
    for number in range(BINS):
        inside = places == number
        if inside.any():
            bins.append({"from": number / BINS, "to": (number + 1) / BINS, "words": int(inside.sum()),
                         "right_percent": round(100 * float(right[inside].mean()), 4),
                         "confidence": round(float(values[inside].mean()), 4)})  # fmt: skip
    return {
        "words": len(values),
        "mean_right": _mean(values[right]),
        "mean_wrong": _mean(values[~right]),
        "nce": nce(values[right], values[~right]),
        "bins": bins,
    }


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def nce(right: np.ndarray, wrong: np.ndarray) -> float | None:
    """Normalised cross entropy of the confidence of right words and of wrong ones; None where there are not both."""
    if not len(right) or not len(wrong):
        return None
    share = len(right) / (len(right) + len(wrong))
    before = -len(right) * math.log(share) - len(wrong) * math.log(1 - share)
    after = -float(np.log(right.clip(CLIP, 1)).sum() + np.log((1 - wrong).clip(CLIP, 1)).sum())
    return round((before - after) / before, 4)

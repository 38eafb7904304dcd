"""Mel-frequency cepstra as Kaldi computes them, of the log mel filter banks, and their differences over time."""

import math
from typing import TYPE_CHECKING

from egret.features.fbank import make_fbank

if TYPE_CHECKING:
    import numpy as np

    from egret.features.options import Extract, FeatureOptions

LIFTER = 22
REACH = 2  # frames on either side that a difference is taken over


def make_mfcc(options: "FeatureOptions") -> tuple[str, "Extract"]:
    """(name of the extractor, function from waveforms float32 [S] to cepstra float32 [T, C]), C being num_ceps, and as
    many again for each order of differences.

    The first cepstrum is the sum over the filters, not the energy of the samples. Raises what `make_fbank` does.
    """
    name, fbank = make_fbank(options)
    transform = cosine_transform(options.num_mel_bins, options.num_ceps)

    def extract(waves: "list[np.ndarray]") -> "list[np.ndarray]":
        return [with_differences(features @ transform, options.deltas) for features in fbank(waves)]

    return name, extract


def cosine_transform(filters: int, cepstra: int) -> "np.ndarray":
    """The orthonormal discrete cosine transform (of type II) to the first cepstra, liftered: float32 [filters,
    cepstra]."""
    import numpy as np

    orders = np.arange(cepstra)
    cosines = np.cos(math.pi / filters * (np.arange(filters)[:, None] + 0.5) * orders) * math.sqrt(2 / filters)
    cosines[:, 0] = math.sqrt(1 / filters)
    return (cosines * (1 + LIFTER / 2 * np.sin(math.pi * orders / LIFTER))).astype(np.float32)


def with_differences(features: "np.ndarray", orders: int) -> "np.ndarray":
    """Features float32 [T, C] with those of each order beside them, [T, C * (1 + orders)], as Kaldi's add-deltas has
    them: the slope of a line through five frames, beyond the ends of which the first and the last one stay; the second
    order is the slope of slopes.
    """
    import numpy as np

    parts, slope, filter_ = [features], np.arange(-REACH, REACH + 1) / 10, np.ones(1)
    for _ in range(orders):
        filter_ = np.convolve(filter_, slope)
        reach = len(filter_) // 2
        around = np.pad(features, ((reach, reach), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(around, len(filter_), axis=0)
        parts.append(windows @ filter_.astype(np.float32))
    return np.concatenate(parts, axis=1)

"""Speed perturbation: the same speech faster or slower, its pitch with it (Ko et al. 2015, "Audio augmentation for
speech recognition").

The perturbed copy of a cut is named and timed as Lhotse does it (`MonoCut.perturb_speed`), so that Lhotse finds both
its features and, through the recording's transform, its audio. Text and speaker stay as they are: features are
normalised over the whole corpus, so that nothing here needs the new speaker names of Kaldi's copies.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from egret.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ZERO_CROSSINGS = 6  # of the sinc on either side; with the Hann window what torchaudio and Kaldi take
ROLLOFF = 0.99  # the cutoff, as a share of the lower one of both Nyquist frequencies
LARGEST = 100  # denominator of a speed: the number of filters


def check_speeds(speeds: Sequence[float], option: str = "--speeds") -> None:
    """Raises:
    UsageError: speeds that repeat, or with too many digits for a bank of filters.
    """
    if not speeds or len(set(speeds)) < len(speeds):
        raise UsageError(f"{option} {' '.join(map(str, speeds))}: give each speed once, and at least one")
    for speed in speeds:
        if not math.isclose(ratio(speed), speed, rel_tol=1e-9):
            raise UsageError(f"{option} {speed}: give it with two decimals at most")


def ratio(speed: float) -> Fraction:
    """The speed as a ratio of small numbers: 9/10 of 0.9."""
    return Fraction(speed).limit_denominator(LARGEST)


def perturbed_samples(samples: int, speed: float) -> int:
    """How many samples are left of so many, rounded as Lhotse does it."""
    exact = samples / ratio(speed)
    return math.floor(exact + Fraction(1, 2)) if speed >= 1 else math.ceil(exact - Fraction(1, 2))


def perturb(samples: "np.ndarray", speed: float) -> "np.ndarray":
    """Samples float32 [S] played at another speed, float32 [perturbed_samples(S)]: band-limited interpolation by a
    windowed sinc (Smith, "Digital Audio Resampling Home Page", https://ccrma.stanford.edu/~jos/resample/).

    At speed p/q the n-th output lies at n * p/q of the input. Outputs q apart lie p inputs apart, at the same distance
    from the inputs around them: q filters, each moved by p inputs at a time, make them all.
    """
    import torch

    if speed == 1:
        return samples
    filters, stride, before = _filters(ratio(speed))
    count = perturbed_samples(len(samples), speed)
    steps = -(-count // len(filters))
    after = max(0, (steps - 1) * stride + filters.shape[1] - before - len(samples))
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (before, after))
    # A product of matrices is what a convolution of one channel comes to, and twice as fast here.
    outputs = padded.unfold(0, filters.shape[1], stride)[:steps] @ filters.T
    return outputs.reshape(-1)[:count].numpy()


@lru_cache
def _filters(speed: Fraction) -> "tuple[Tensor, int, int]":
    """(filters float32 [q, W], inputs to move on by, inputs that a filter sees before the place of its output)."""
    import torch

    p, q = speed.numerator, speed.denominator
    cutoff = min(1.0, q / p) * ROLLOFF  # as a share of the inputs' Nyquist frequency
    reach = ZERO_CROSSINGS / cutoff
    before = math.ceil(reach)
    inputs = torch.arange(-before, p + before + 1, dtype=torch.float64)
    distance = torch.arange(q, dtype=torch.float64)[:, None] * p / q - inputs
    # Its ends are to be zeros indeed: products with 1e-35 are denormal numbers, which take ten times as long.
    window = torch.where(distance.abs() < reach, torch.cos(math.pi / 2 * distance / reach) ** 2, 0.0)
    return (cutoff * torch.sinc(cutoff * distance) * window).float(), p, before


def perturb_cut(cut: dict[str, Any], speed: float) -> dict[str, Any]:
    """The cut at another speed; its features have yet to be made."""
    if speed == 1:
        return cut
    recording, suffix = cut["recording"], f"_sp{speed}"
    rate = recording["sampling_rate"]

    def time(seconds: float) -> float:
        """In whole samples."""
        return perturbed_samples(round(seconds * rate), speed) / rate

    def moved(row: dict[str, Any], **more: Any) -> dict[str, Any]:
        times = {"start": time(row["start"]), "duration": time(row["duration"])}
        return {**row, "id": row["id"] + suffix, **times, **more}

    def supervised(row: dict[str, Any]) -> dict[str, Any]:
        items = (row.get("alignment") or {}).items()
        aligned = {kind: [[word, time(a), time(b), *score] for word, a, b, *score in line] for kind, line in items}
        more = {"alignment": aligned} if aligned else {}
        return moved(row, recording_id=row["recording_id"] + suffix, **more)

    samples = perturbed_samples(recording["num_samples"], speed)
    transform = {"name": "Speed", "kwargs": {"factor": speed}}
    perturbed = {
        **recording,
        "id": recording["id"] + suffix,
        "num_samples": samples,
        "duration": samples / rate,
        "transforms": [*(recording.get("transforms") or []), transform],
    }
    return moved(cut, supervisions=[supervised(row) for row in cut["supervisions"]], recording=perturbed)

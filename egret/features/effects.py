"""What is done to the samples of an utterance, float32 [S]: functions of their arguments alone.

Sums are NumPy's own and not the linear algebra library's, whose bits depend on the number of its threads.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FRAME = 0.025  # seconds over which loudness is measured; frames lie a quarter of one apart
FLOOR = 1e-10  # power below which all is equally silent, as in librosa


def power(samples: "np.ndarray") -> float:
    """Mean square."""
    import numpy as np

    return float(np.einsum("s,s->", samples, samples, dtype=np.float64)) / max(1, len(samples))


def decibels(ratio: float) -> float:
    """Of a ratio of powers."""
    import math

    return 10 * math.log10(ratio)


def mix(samples: "np.ndarray", noise: "np.ndarray", snr: float) -> "np.ndarray":
    """Speech with noise of the same length below it by `snr` dB, by the mean power of both over the utterance.

    Of silent speech, or with silent noise, the speech as it is.
    """
    import numpy as np

    loudness = power(noise)
    if not loudness:
        return samples
    gain = (power(samples) / loudness / 10 ** (snr / 10)) ** 0.5
    return samples + np.float32(gain) * noise


def reverberate(samples: "np.ndarray", response: "np.ndarray") -> "np.ndarray":
    """Speech in the room of an impulse response [L]: convolved (by FFT), with its length, timing and energy kept.

    The loudest sample of the response is taken for the direct path, which comes out where the speech was, as in Kaldi;
    so a response of one impulse, wherever it lies, changes nothing.
    """
    import numpy as np

    direct = int(np.abs(response).argmax())
    size = _fast_length(len(samples) + len(response) - 1)
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    heard = np.fft.irfft(spectrum, size)[direct : direct + len(samples)].astype(np.float32)
    loudness = power(heard)
    if not loudness:
        return samples
    return heard * np.float32((power(samples) / loudness) ** 0.5)


@lru_cache(maxsize=4096)
def _fast_length(least: int) -> int:
    """The next number whose only prime factors are 2, 3 and 5, of which an FFT is fast."""
    best = 1 << (least - 1).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << max(0, -(-least // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best


def loud_stretches(samples: "np.ndarray", rate: int, top_db: float) -> "np.ndarray":
    """Where it is less than `top_db` below the loudest frame: first and last (excluded) samples, int64 [M, 2].

    As `librosa.effects.split` defines it: frames centred a hop apart, zeros beyond the edges, their mean power in dB
    below that of the loudest one; a frame stands for the hop that begins at its centre.
    """
    import numpy as np

    half = max(2, round(FRAME / 2 * rate))
    hop = half // 2
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    centres = np.arange(1 + len(samples) // hop) * hop
    powers = sums[np.minimum(centres + half, len(samples))] - sums[np.maximum(centres - half, 0)]
    levels = 10 * np.log10(np.maximum(powers / (2 * half), FLOOR))
    loud = np.concatenate([[False], levels > levels.max() - top_db, [False]])
    edges = np.flatnonzero(loud[1:] != loud[:-1]) * hop
    return np.minimum(edges, len(samples)).reshape(-1, 2)


def delete_silence(samples: "np.ndarray", rate: int, top_db: float) -> "np.ndarray":
    """The loud stretches one after the other. What would come out shorter than a frame stays as it is."""
    import numpy as np

    stretches = loud_stretches(samples, rate, top_db)
    kept = np.concatenate([samples[first:last] for first, last in stretches])
    return samples if len(kept) < round(FRAME * rate) else kept

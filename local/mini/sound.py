"""Samples to files: resampling, noise, WAV, FLAC and NIST SPHERE. Samples are int16 of shape (samples,)."""

import io
import math
import wave
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ZERO_CROSSINGS = 16  # of the windowed sinc on either side
FIXED_POINT = 15  # bits behind the point of its coefficients


@cache
def _filters(up: int, down: int) -> "np.ndarray":
    """Polyphase low-pass filters of whole numbers, shape (up, taps): a sinc under a Hann window."""
    import numpy as np

    cutoff = 0.95 * min(1.0, up / down)
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    place = np.arange(1 - half, half + 1)[None, :] - np.arange(up)[:, None] / up
    window = np.where(np.abs(place) < half, 0.5 + 0.5 * np.cos(np.pi * place / half), 0.0)
    bank = np.sinc(cutoff * place) * window
    return np.rint(bank / bank.sum(axis=1, keepdims=True) * (1 << FIXED_POINT))


def resample(samples: "np.ndarray", rate: int, to: int) -> "np.ndarray":
    """The same sound at another sampling rate.

    Samples and filters are whole numbers and their sums stay below 2^53, so floating point adds them exactly,
    in whatever order a processor does it, and the bytes are the same everywhere.
    """
    import numpy as np

    if rate == to:
        return samples
    divisor = math.gcd(rate, to)
    up, down = to // divisor, rate // divisor
    bank = _filters(up, down)
    half = bank.shape[1] // 2
    padded = np.pad(samples.astype(np.float64), (half - 1, half))
    windows = np.lib.stride_tricks.sliding_window_view(padded, bank.shape[1])
    made = np.empty(len(samples) * up // down)
    for phase in range(min(up, len(made))):
        places = np.arange(phase, len(made), up)
        position = places * down
        made[places] = windows[position // up] @ bank[position[0] % up]
    return np.clip(np.rint(made / (1 << FIXED_POINT)), -32768, 32767).astype(np.int16)


def with_noise(samples: "np.ndarray", snr: float, seed: int) -> "np.ndarray":
    """White noise added, `snr` decibels below the loudness of the speech (its samples that are not silence)."""
    import numpy as np

    speech = samples[np.abs(samples.astype(np.int64)) > 50].astype(np.float64)
    level = math.sqrt(float((speech**2).mean())) if len(speech) else 1000.0
    noise = np.random.RandomState(seed % (1 << 32)).standard_normal(len(samples))
    noisy = samples + noise * level * 10 ** (-snr / 20)
    return np.clip(np.rint(noisy), -32768, 32767).astype(np.int16)


def wav_bytes(samples: "np.ndarray", rate: int) -> bytes:
    """A 16-bit WAV file, mono or of samples int16 [S, channels]."""
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return data.getvalue()


def sphere_bytes(samples: "np.ndarray", rate: int) -> bytes:
    """A mono 16-bit NIST SPHERE file with the header fields of AN4's."""
    fields = [
        f"sample_count -i {len(samples)}",
        f"sample_rate -i {rate}",
        "sample_n_bytes -i 2",
        "sample_byte_format -s2 01",
        "channel_count -i 1",
        "sample_coding -s3 pcm",
        f"sample_max -i {samples.max()}",
        f"sample_min -i {samples.min()}",
        f"sample_checksum -i {int(samples.astype('<u2').sum(dtype='u8')) % 65536}",
        "end_head",
    ]
    header = "NIST_1A\n   1024\n" + "\n".join(fields) + "\n"
    return header.encode().ljust(1024) + samples.astype("<i2").tobytes()


def flac_bytes(samples: "np.ndarray", rate: int) -> bytes:
    """A mono 16-bit FLAC file."""
    import soundfile

    data = io.BytesIO()
    soundfile.write(data, samples, rate, format="FLAC", subtype="PCM_16")
    return data.getvalue()

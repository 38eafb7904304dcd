"""Log mel filter banks as Kaldi computes them (Povey et al. 2011), by kaldifeat or, without it, by Lhotse.

Samples are in [-1, 1]; the features differ from Kaldi's own, on 16-bit integers, by a constant only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from egret.base.errors import EgretError, UsageError
from egret.base.log import log
from egret.base.options import option

PREEMPHASIS = 0.97
CHUNK = 400  # frames at a time

if TYPE_CHECKING:
    import numpy as np

    Extract = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(kw_only=True)
class FbankOptions:
    """Filter banks."""

    sampling_rate: int = option(16000, "samples a second of the recordings", above=0)
    num_mel_bins: int = option(80, "mel filters", minimum=4)
    frame_length: float = option(0.025, "seconds a frame sees", above=0)
    frame_shift: float = option(0.01, "seconds from one frame to the next", above=0)
    low_freq: float = option(20.0, "lowest frequency in Hz", minimum=0)
    high_freq: float = option(-400.0, "highest frequency in Hz; negative: below half the sampling rate")
    dither: float = option(0.0, "standard deviation of the noise added to the samples; 0: the same every time")
    extractor: Literal["auto", "kaldifeat", "lhotse"] = option("auto", "auto: kaldifeat where it is installed")


def num_frames(samples: int, options: FbankOptions) -> int:
    """Frames of a recording: one for each frame shift, rounded, as Lhotse counts them (edges are not cut)."""
    shift = round(options.frame_shift * options.sampling_rate)
    return (samples + shift // 2) // shift


def shortest(options: FbankOptions) -> int:
    """The fewest samples that features can be made of: half a frame, mirrored at the edges to fill one."""
    return max(1, round(options.frame_length * options.sampling_rate) // 2)


def check(options: FbankOptions) -> None:
    """See that every mel filter has something to weigh. kaldifeat would end the process.

    Raises:
      UsageError: frequencies that the recordings do not have, or more filters than they can fill.
    """
    rate, nyquist = options.sampling_rate, options.sampling_rate / 2
    high = options.high_freq + (0 if options.high_freq > 0 else nyquist)
    if not options.low_freq < high <= nyquist:
        raise UsageError(
            f"mel filters from {options.low_freq:g} to {high:g} Hz: recordings of {rate} samples a second have "
            f"0 to {nyquist:g} Hz; see --fbank.low-freq, --fbank.high-freq and --fbank.sampling-rate"
        )
    length, shift = options.frame_length * rate, options.frame_shift * rate
    if length < 2 or shift < 1:
        raise UsageError("frames of less than two samples, or less than one sample apart; see --fbank.frame-length")
    padded = 2 ** math.ceil(math.log2(int(length)))
    points = [_mel(place * rate / padded) for place in range(padded // 2)]
    low = _mel(options.low_freq)
    step = (_mel(high) - low) / (options.num_mel_bins + 1)
    for number in range(options.num_mel_bins):
        if not any(low + number * step < point < low + (number + 2) * step for point in points):
            raise UsageError(
                f"--fbank.num-mel-bins {options.num_mel_bins}: too many for frames of {options.frame_length:g} s at "
                f"{rate} samples a second"
            )


def _mel(frequency: float) -> float:
    return 1127 * math.log1p(frequency / 700)


def make_extractor(options: FbankOptions) -> tuple[str, "Extract"]:
    """(name of the extractor, function from waveforms float32 [S] to features float32 [T, C]).

    Raises:
      EgretError: kaldifeat was asked for by name and is not installed.
      UsageError: options that contradict each other.
    """
    check(options)
    if options.extractor != "lhotse":
        try:
            return "kaldifeat", _kaldifeat(options)
        except ImportError as error:
            if options.extractor == "kaldifeat":
                raise EgretError(
                    f"kaldifeat cannot be imported ({error}); utils/doctor.py says how to install it, "
                    f"or use --fbank.extractor lhotse"
                ) from None
            log.warning("kaldifeat is not installed: Lhotse's own filter banks take over (slower)")
    return "lhotse", _lhotse(options)


def _kaldifeat(options: FbankOptions) -> "Extract":
    """kaldifeat's filter banks of frames that are cut out and windowed here: with fewer passes over memory than
    kaldifeat makes, and as many frames at a time, of whatever waves, as fit into a core's cache."""
    import kaldifeat
    import numpy as np
    import torch

    rate = options.sampling_rate
    length, shift = int(rate * options.frame_length + 1e-6), int(rate * options.frame_shift + 1e-6)
    width = 2 ** math.ceil(math.log2(length))
    # The Povey window: a Hann window to the power of 0.85.
    window = torch.hann_window(length, periodic=False, dtype=torch.float64).pow(0.85).float()[1:]  # it begins with 0
    mean_part = (PREEMPHASIS - 1) * window  # takes from a frame what pre-emphasis leaves of its mean

    settings = kaldifeat.FbankOptions()
    settings.frame_opts.samp_freq = rate
    settings.frame_opts.frame_length_ms = (width + 0.5) / rate * 1000  # of which it takes the whole samples
    settings.frame_opts.dither = 0
    settings.frame_opts.remove_dc_offset = False
    settings.frame_opts.preemph_coeff = 0
    settings.frame_opts.window_type = "rectangular"
    settings.mel_opts.num_bins = options.num_mel_bins
    settings.mel_opts.low_freq = options.low_freq
    settings.mel_opts.high_freq = options.high_freq
    fbank = kaldifeat.Fbank(settings)
    framed = torch.zeros(CHUNK, width)  # zero beyond the window for good

    def laid_out(waves: "list[np.ndarray]", counts: list[int], firsts: list[int]) -> torch.Tensor:
        """One after the other, each from a multiple of the shift on and mirrored at both ends, so that it has a frame
        for each shift."""
        sound = np.zeros(firsts[-1] * shift + length, np.float32)
        before = (length - shift) // 2
        for wave, count, first in zip(waves, counts, firsts, strict=False):
            place = sound[first * shift : (first + count - 1) * shift + length]
            place[:before] = wave[:before][::-1]
            inside = place[before : before + len(wave)]
            inside[:] = wave[: len(inside)]
            after = place[before + len(wave) :]
            after[:] = wave[len(wave) - len(after) :][::-1]
        return torch.from_numpy(sound)

    def extract(waves: "list[np.ndarray]") -> "list[np.ndarray]":
        counts = [(len(wave) + shift // 2) // shift for wave in waves]
        between = -(-length // shift) - 1  # frames that would see two waves
        firsts = list(accumulate((count + between for count in counts), initial=0))
        with torch.inference_mode():
            sound = laid_out(waves, counts, firsts)
            if options.dither:
                sound += torch.randn(len(sound)) * options.dither
            parts = []
            for first in range(0, firsts[-1], CHUNK):
                here = sound[first * shift : (min(first + CHUNK, firsts[-1]) - 1) * shift + length]
                emphasised = torch.sub(here[1:], here[:-1], alpha=PREEMPHASIS)
                means = here.unfold(0, length, shift).mean(1, keepdim=True)
                inside = framed[: len(means), 1:length]
                torch.mul(emphasised.unfold(0, length - 1, shift), window, out=inside)
                inside.addcmul_(means, mean_part)
                parts.append(fbank.compute(framed[: len(means)]))
            features = torch.cat(parts).numpy() if parts else np.zeros((0, options.num_mel_bins), np.float32)
        return [features[first : first + count] for first, count in zip(firsts, counts, strict=False)]

    return extract


def _lhotse(options: FbankOptions) -> "Extract":
    import lhotse

    fbank = lhotse.Fbank(
        lhotse.FbankConfig(
            sampling_rate=options.sampling_rate,
            frame_length=options.frame_length,
            frame_shift=options.frame_shift,
            dither=options.dither,
            snip_edges=False,
            low_freq=options.low_freq,
            high_freq=options.high_freq,
            num_filters=options.num_mel_bins,
        )
    )
    return lambda waves: [fbank.extract(wave, options.sampling_rate) for wave in waves]

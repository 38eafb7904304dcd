"""Log mel filter banks as Kaldi computes them (Povey et al. 2011), by kaldifeat or, without it, by Lhotse.

Samples are in [-1, 1]; the features differ from Kaldi's own, on 16-bit integers, by a constant only.
"""

import math
from typing import TYPE_CHECKING

from egret.base.errors import EgretError, UsageError
from egret.base.log import log
from egret.features.framing import CHUNK, by_frames

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from egret.features.options import Extract, FeatureOptions

PREEMPHASIS = 0.97


def check(options: "FeatureOptions") -> None:
    """See that every mel filter has something to weigh. kaldifeat would end the process.

    Raises:
      UsageError: frequencies that the recordings do not have, or more filters than they can fill.
    """
    rate, nyquist = options.sampling_rate, options.sampling_rate / 2
    high = options.high_freq + (0 if options.high_freq > 0 else nyquist)
    if not options.low_freq < high <= nyquist:
        raise UsageError(
            f"mel filters from {options.low_freq:g} to {high:g} Hz: recordings of {rate} samples a second have "
            f"0 to {nyquist:g} Hz; see --features.low-freq, --features.high-freq and --features.sampling-rate"
        )
    padded = _power_of_two(int(options.frame_length * rate))
    points = [_mel(place * rate / padded) for place in range(padded // 2)]
    low = _mel(options.low_freq)
    step = (_mel(high) - low) / (options.num_mel_bins + 1)
    for number in range(options.num_mel_bins):
        if not any(low + number * step < point < low + (number + 2) * step for point in points):
            raise UsageError(
                f"--features.num-mel-bins {options.num_mel_bins}: too many for frames of {options.frame_length:g} s at "
                f"{rate} samples a second"
            )


def _mel(frequency: float) -> float:
    return 1127 * math.log1p(frequency / 700)


def _power_of_two(samples: int) -> int:
    """The least that is no less."""
    return 1 << math.ceil(math.log2(samples))


def make_fbank(options: "FeatureOptions") -> tuple[str, "Extract"]:
    """(name of the extractor, function from waveforms float32 [S] to filter banks float32 [T, num_mel_bins]).

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
                    f"or use --features.extractor lhotse"
                ) from None
            log.warning("kaldifeat is not installed: Lhotse's own filter banks take over (slower)")
    return "lhotse", _lhotse(options)


def _kaldifeat(options: "FeatureOptions") -> "Extract":
    """kaldifeat's filter banks of frames that are cut out and windowed here: with fewer passes over memory than
    kaldifeat makes."""
    import kaldifeat
    import torch

    length, shift = options.frame_samples
    width = _power_of_two(length)
    # The Povey window: a Hann window to the power of 0.85.
    window = torch.hann_window(length, periodic=False, dtype=torch.float64).pow(0.85).float()[1:]  # it begins with 0
    mean_part = (PREEMPHASIS - 1) * window  # takes from a frame what pre-emphasis leaves of its mean

    settings = kaldifeat.FbankOptions()
    settings.frame_opts.samp_freq = options.sampling_rate
    settings.frame_opts.frame_length_ms = (width + 0.5) / options.sampling_rate * 1000  # it takes the whole samples
    settings.frame_opts.dither = 0
    settings.frame_opts.remove_dc_offset = False
    settings.frame_opts.preemph_coeff = 0
    settings.frame_opts.window_type = "rectangular"
    settings.mel_opts.num_bins = options.num_mel_bins
    settings.mel_opts.low_freq = options.low_freq
    settings.mel_opts.high_freq = options.high_freq
    fbank = kaldifeat.Fbank(settings)
    framed = torch.zeros(CHUNK, width)  # zero beyond the window for good

    def compute(sound: "Tensor") -> "Tensor":
        emphasised = torch.sub(sound[1:], sound[:-1], alpha=PREEMPHASIS)
        means = sound.unfold(0, length, shift).mean(1, keepdim=True)
        inside = framed[: len(means), 1:length]
        torch.mul(emphasised.unfold(0, length - 1, shift), window, out=inside)
        inside.addcmul_(means, mean_part)
        return fbank.compute(framed[: len(means)])

    def extract(waves: "list[np.ndarray]") -> "list[np.ndarray]":
        return by_frames(waves, length, shift, options.num_mel_bins, compute, options.dither)

    return extract


def _lhotse(options: "FeatureOptions") -> "Extract":
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

"""The logarithm of the spectrum itself, its frequencies evenly spaced."""

from typing import TYPE_CHECKING

from egret.base.errors import UsageError
from egret.features.framing import by_frames

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from egret.features.options import Extract, FeatureOptions

FLOOR = 1e-14  # of a power: what the PaddlePaddle project's DeepSpeech2 adds to it


def check(options: "FeatureOptions") -> None:
    """Raises UsageError for more bins than a frame of so many samples has."""
    most = options.frame_samples[0] // 2 + 1
    if options.bins > most:
        raise UsageError(
            f"--features.bins {options.bins}: frames of {options.frame_length:g} s at {options.sampling_rate} samples "
            f"a second have {most}; lower it, or leave it out for all of them"
        )


def make_spectrogram(options: "FeatureOptions") -> tuple[str, "Extract"]:
    """("torch", function from waveforms float32 [S] to spectrograms float32 [T, bins]).

    The discrete Fourier transform of as many points as a frame has samples, of frames under a symmetric window, without
    pre-emphasis or removal of the mean. `log1p` is ln(1 + magnitude). `log_power` is ln(density + 1e-14), the power's
    density being one-sided (doubled but at its ends), over the sampling rate and the sum of the squared window. In 64
    bits: in 32 the quiet bins beside a pure tone would be off by 0.03.

    Raises:
      UsageError: more bins than there are.
    """
    import torch

    check(options)
    length, shift = options.frame_samples
    make_window = {"hamming": torch.hamming_window, "hann": torch.hann_window}[options.window]
    window = make_window(length, periodic=False, dtype=torch.float64)
    size = options.dim
    density = torch.full([length // 2 + 1], 2.0, dtype=torch.float64) / (window.square().sum() * options.sampling_rate)
    density[0] /= 2
    if length % 2 == 0:
        density[-1] /= 2
    density = density[:size]
    scaled = window * options.full_scale

    def compute(sound: "Tensor") -> "Tensor":
        spectrum = torch.fft.rfft(sound.unfold(0, length, shift) * scaled)[:, :size]
        power = spectrum.real.square().add_(spectrum.imag.square())
        if options.scale == "log1p":
            return power.float().sqrt_().log1p_()
        return power.mul_(density).add_(FLOOR).float().log_()

    def extract(waves: "list[np.ndarray]") -> "list[np.ndarray]":
        return by_frames(waves, length, shift, size, compute, options.dither)

    return "torch", extract

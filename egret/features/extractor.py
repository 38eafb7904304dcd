"""What makes features."""

from typing import TYPE_CHECKING

from egret.base.errors import UsageError
from egret.features.fbank import make_fbank
from egret.features.mfcc import make_mfcc
from egret.features.options import FeatureOptions
from egret.features.spectrogram import make_spectrogram

if TYPE_CHECKING:
    from egret.features.options import Extract


def make_extractor(options: FeatureOptions) -> tuple[str, "Extract"]:
    """(name of the extractor, function from waveforms float32 [S] to features float32 [T, C]).

    Raises:
      EgretError: kaldifeat was asked for by name and is not installed.
      UsageError: options that contradict each other.
    """
    length, shift = options.frame_samples
    if length < 2 or shift < 1:
        raise UsageError("frames of less than two samples, or less than one sample apart; see --features.frame-length")
    makers = {"fbank": make_fbank, "mfcc": make_mfcc, "spectrogram": make_spectrogram}
    return makers[options.kind](options)

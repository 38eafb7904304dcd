"""What features are: log mel filter banks, cepstra of them, or the spectrum itself.

Every kind has a frame for each frame shift, rounded, and sees the signal mirrored at both ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from egret.base.errors import UsageError
from egret.base.options import option

if TYPE_CHECKING:
    import numpy as np

    Extract = Callable[[list[np.ndarray]], list[np.ndarray]]

# What some kinds have a use for, and others have not.
USES = {
    **dict.fromkeys(["num_mel_bins", "low_freq", "high_freq", "extractor"], ("fbank", "mfcc")),
    **dict.fromkeys(["num_ceps", "deltas"], ("mfcc",)),
    **dict.fromkeys(["window", "scale", "full_scale", "bins"], ("spectrogram",)),
}
# What a feature's type begins with says who computed it (egret.features.store); they all compute the same.
EXTRACTORS = ("kaldifeat-", "lhotse-", "kaldi-", "torch-")


@dataclass(kw_only=True)
class FeatureOptions:
    """What features are."""

    kind: Literal["fbank", "mfcc", "spectrogram"] = option(
        "fbank", "log mel filter banks, cepstra of them, or the logarithm of the spectrum (docs/features.md)"
    )
    sampling_rate: int = option(16000, "samples a second of the recordings", above=0)
    frame_length: float = option(0.025, "seconds a frame sees", above=0)
    frame_shift: float = option(0.01, "seconds from one frame to the next", above=0)
    dither: float = option(0.0, "standard deviation of the noise added to the samples; 0: the same every time")
    num_mel_bins: int = option(80, "fbank, mfcc: mel filters", minimum=4)
    low_freq: float = option(20.0, "fbank, mfcc: lowest frequency in Hz", minimum=0)
    high_freq: float = option(-400.0, "fbank, mfcc: highest frequency in Hz; negative: below half the sampling rate")
    extractor: Literal["auto", "kaldifeat", "lhotse"] = option(
        "auto", "fbank, mfcc: auto: kaldifeat where it is installed"
    )
    num_ceps: int = option(13, "mfcc: cepstra", minimum=1)
    deltas: int = option(0, "mfcc: orders of differences over time beside the cepstra", minimum=0, maximum=2)
    window: Literal["hamming", "hann"] = option("hamming", "spectrogram: what frames are multiplied by")
    scale: Literal["log1p", "log_power"] = option(
        "log1p", "spectrogram: ln(1 + magnitude), or the logarithm of the power's density"
    )
    full_scale: float = option(
        1.0, "spectrogram: what the largest sample counts as; 32768: samples as 16-bit integers", above=0
    )
    bins: int = option(0, "spectrogram: frequencies, the lowest ones; 0: all, one more than half a frame's samples",
                       minimum=0)  # fmt: skip

    def __post_init__(self) -> None:
        """Raises UsageError for an option that this kind has no use for."""
        for item in fields(self):
            kinds = USES.get(item.name, (self.kind,))
            if self.kind not in kinds and getattr(self, item.name) != item.default:
                raise UsageError(
                    f"--features.{item.name.replace('_', '-')} goes with --features.kind {', '.join(kinds)}, not with "
                    f"{self.kind}; leave it out"
                )
        if self.kind == "mfcc" and self.num_ceps > self.num_mel_bins:
            raise UsageError(
                f"--features.num-ceps {self.num_ceps}: more than --features.num-mel-bins {self.num_mel_bins}"
            )

    @property
    def frame_samples(self) -> tuple[int, int]:
        """Samples that a frame sees, and from one frame to the next."""
        rate = self.sampling_rate
        return int(rate * self.frame_length + 1e-6), int(rate * self.frame_shift + 1e-6)

    @property
    def dim(self) -> int:
        """Features a frame."""
        if self.kind == "spectrogram":
            return self.bins or self.frame_samples[0] // 2 + 1
        return self.num_mel_bins if self.kind == "fbank" else self.num_ceps * (1 + self.deltas)

    @property
    def name(self) -> str:
        """What tells them from features that mean something else."""
        return f"{self.scale}-{self.kind}" if self.kind == "spectrogram" else self.kind


def name_of(type_: str) -> str:
    """The name of stored features by their type, whoever computed them: `fbank` of `kaldifeat-fbank`."""
    return next((type_[len(begin) :] for begin in EXTRACTORS if type_.startswith(begin)), type_)


def num_frames(samples: int, options: FeatureOptions) -> int:
    """Frames of a recording: one for each frame shift, rounded, as Lhotse counts them (edges are not cut)."""
    shift = round(options.frame_shift * options.sampling_rate)
    return (samples + shift // 2) // shift


def shortest(options: FeatureOptions) -> int:
    """The fewest samples that features can be made of: half a frame, mirrored at the edges to fill one."""
    return max(1, round(options.frame_length * options.sampling_rate) // 2)

"""Features of several cuts as one padded tensor, read from stage 1's archives or computed from the recordings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.features.extractor import make_extractor
from egret.features.made import refuse_others
from egret.features.normalise import Normaliser
from egret.features.options import FeatureOptions, name_of, num_frames, shortest
from egret.features.store import check_recording, load_features, load_samples

# Samples float32 [S], their sampling rate and a source of randomness to samples float32 [S'].
Augment = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Inputs:
    """Where features come from.

    Attributes:
      features: `stored` by stage 1, or `computed` from the recording whenever a batch is loaded.
      options: what those are that are computed; of stored ones, unless it is the default, what they are to be.
      augment: changes the samples that features are computed from; None: they stay as they are.
      normalise: changes features by what is known of their speaker, or of themselves; None: they stay as they are.
    """

    features: Literal["stored", "computed"] = "stored"
    options: FeatureOptions = field(default_factory=FeatureOptions)
    augment: Augment | None = None
    normalise: Normaliser | None = None

    def shape(self, cut: dict[str, Any]) -> tuple[int, int, str]:
        """Frames, features a frame and their name (`FeatureOptions.name`), of a cut whose samples are not augmented.

        Raises:
          EgretError: features are to be read, and it has none or others; or to be computed, and its recording is not
            for that.
        """
        options = self.options
        if self.features == "computed":
            check_recording(cut, options)
            return num_frames(round(cut["duration"] * options.sampling_rate), options), options.dim, options.name
        if "features" not in cut:
            raise EgretError(f"{cut['id']} has no features; give the manifest that stage 1 leaves")
        if self._wanted:
            refuse_others(cut, options)
        place = cut["features"]
        return place["num_frames"], place["num_features"], name_of(place.get("type", ""))

    @cached_property
    def _wanted(self) -> bool:
        return self.options != FeatureOptions()

    def load(
        self, cuts: Sequence[dict[str, Any]], randoms: Sequence[np.random.Generator], fewest: Sequence[int]
    ) -> list[np.ndarray]:
        """Features float32 [T, C] of each cut.

        Args:
          randoms: what decides how a cut is augmented; empty: none is.
          fewest: frames that an augmented cut must have; with fewer it is taken as it is.

        Raises:
          EgretError: features or recordings cannot be read.
        """
        stored = self.features == "stored"
        found = [load_features(cut) for cut in cuts] if stored else self._computed(cuts, randoms, fewest)
        if self.normalise is None:
            return found
        return [self.normalise(cut, each) for cut, each in zip(cuts, found, strict=True)]

    def _computed(
        self, cuts: Sequence[dict[str, Any]], randoms: Sequence[np.random.Generator], fewest: Sequence[int]
    ) -> list[np.ndarray]:
        waves = [load_samples(cut, self.options) for cut in cuts]
        if self.augment and randoms:
            waves = [self._augmented(*each) for each in zip(waves, randoms, fewest, strict=True)]
        if not self.options.dither:
            return self._extract(waves)
        with torch.random.fork_rng(devices=[]):  # which the extractors take their dither from
            torch.manual_seed(int(randoms[0].integers(1 << 62)) if randoms else 0)
            return self._extract(waves)

    def _augmented(self, samples: np.ndarray, random: np.random.Generator, fewest: int) -> np.ndarray:
        assert self.augment is not None
        changed = self.augment(samples, self.options.sampling_rate, random)
        enough = num_frames(len(changed), self.options) >= fewest and len(changed) >= shortest(self.options)
        return changed if enough else samples

    @cached_property
    def _extract(self) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
        return make_extractor(self.options)[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_extract", "_wanted")}


STORED = Inputs()


def load_batch(
    cuts: Sequence[dict[str, Any]],
    inputs: Inputs = STORED,
    randoms: Sequence[np.random.Generator] = (),
    fewest: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Features float32 [N, T, C], zeros beyond an utterance's end, and lengths int64 [N] in frames, as `Inputs.load`
    has them."""
    features = [torch.from_numpy(each) for each in inputs.load(cuts, randoms, fewest)]
    lengths = torch.tensor([len(each) for each in features])
    return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), lengths

"""Mean and variance normalisation by speaker or by utterance, from sums that stage 1 gathers.

A model takes the mean and deviation of all training features away (`egret.models.model`). What is normalised here is
given that mean and deviation first, so that after the model has taken them away an utterance, or all that its speaker
says in the part, has mean 0 and deviation 1; models and SpecAugment need not know.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from egret.base.errors import EgretError
from egret.base.files import write_tensors
from egret.corpus.cuts import part_name
from egret.features.stats import Stats

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["global", "utterance", "speaker"]


def speaker_of(cut: dict[str, Any]) -> str:
    """The speaker of a cut; "": it does not say. At another speed it is another one, as in Kaldi: the voice is."""
    name = next((row["speaker"] for row in cut.get("supervisions", []) if row.get("speaker")), "")
    changes = cut.get("recording", {}).get("transforms") or []
    speeds = [f"_sp{change['kwargs']['factor']}" for change in changes if change["name"] == "Speed"]
    return name and name + "".join(speeds)


def speakers_path(manifest: Path) -> Path:
    """Where the sums of a part lie: `train.speakers.safetensors` beside `train.jsonl`."""
    return manifest.with_name(f"{part_name(manifest)}.speakers.safetensors")


class SpeakerStats(dict[str, Stats]):
    """The sums over the frames of each speaker, by name; cuts that do not say their speaker are not in it."""

    def count(self, cut: dict[str, Any], frames: "np.ndarray") -> None:
        """Count in the features [T, C] of a cut."""
        if name := speaker_of(cut):
            self.setdefault(name, Stats.zero(frames.shape[1])).add(frames)

    def merge(self, others: "SpeakerStats") -> None:
        """Add the sums of others."""
        for name, stats in others.items():
            self[name] = self[name] + stats if name in self else stats

    def save(self, path: Path) -> None:
        """Write `frames` int64 [S], `total` and `squares` float64 [S, C], and the names of the S speakers."""
        import numpy as np

        names = sorted(self)
        frames = np.array([self[name].frames for name in names], np.int64)
        sums = {what: np.array([getattr(self[name], what) for name in names]) for what in ("total", "squares")}
        write_tensors(path, {"frames": frames, **sums}, {"speakers": json.dumps(names, ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path) -> "SpeakerStats":
        """Read what `save` wrote.

        Raises:
          EgretError: the file is not there, truncated or of something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                names = json.loads(file.metadata()["speakers"])
                rows = zip(*(file.get_tensor(name) for name in ("frames", "total", "squares")), strict=True)
                return cls((name, Stats(int(frames), *sums)) for name, (frames, *sums) in zip(names, rows, strict=True))
        except FileNotFoundError:
            raise EgretError(f"{path}: no such sums by speaker; steps/extract_features.py (stage 1) leaves them beside "
                             f"its manifests, with --force where these are older") from None  # fmt: skip
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise EgretError(f"{path}: not whole sums by speaker ({error}); run stage 1 again with --force") from None


@dataclass(frozen=True)
class Normaliser:
    """Gives features the mean and deviation float32 [C] of the training part.

    Attributes:
      speakers: the sums of each; None, or of a cut without a speaker: the utterance's own are taken.
    """

    mean: "np.ndarray"
    deviation: "np.ndarray"
    speakers: SpeakerStats | None

    def __call__(self, cut: dict[str, Any], features: "np.ndarray") -> "np.ndarray":
        """Features float32 [T, C], normalised.

        Raises:
          EgretError: there are no sums of the speaker.
        """
        if not len(features):
            return features
        mean, deviation = self._sums(cut, features).mean_and_deviation()
        return (features - mean) * (self.deviation / deviation) + self.mean

    def _sums(self, cut: dict[str, Any], features: "np.ndarray") -> Stats:
        name = speaker_of(cut) if self.speakers is not None else ""
        if self.speakers is None or not name:
            sums = Stats.zero(features.shape[1])
            sums.add(features)
            return sums
        if name not in self.speakers:
            raise EgretError(f"{cut['id']}: no sums of its speaker {name!r}; run stage 1 again with --force")
        return self.speakers[name]


def make_normaliser(
    kind: Kind, manifests: Iterable[Path], mean: "np.ndarray", deviation: "np.ndarray"
) -> Normaliser | None:
    """What a model needs that was trained with normalisation of this kind; None where it does everything itself.

    Args:
      manifests: of the cuts that will be normalised; speakers who are in several are taken together.
      mean, deviation: of the training features, float32 [C].

    Raises:
      EgretError: there are no sums by speaker beside a manifest.
    """
    if kind == "global":
        return None
    speakers = SpeakerStats()
    if kind == "speaker":
        for manifest in manifests:
            speakers.merge(SpeakerStats.load(speakers_path(manifest)))
    return Normaliser(mean, deviation, speakers if kind == "speaker" else None)

"""What stored features were made with, and whether that is what a model wants."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError, UsageError
from egret.base.files import read_json
from egret.features.options import FeatureOptions, name_of

REPORT = "report.json"
HOW = "extract them as the model wants them (steps/extract_features.py --features PRESET.yaml), or choose another model"


def refuse_others(cut: dict[str, Any], wanted: FeatureOptions) -> None:
    """Raises EgretError unless a cut has features of the kind, the number and the frame shift that are wanted, and of
    the sampling rate where that is said."""
    place = cut["features"]
    name, size, shift, rate = (
        name_of(place.get("type", "")),
        *(place[what] for what in ("num_features", "frame_shift", "sampling_rate")),
    )
    due = wanted if _says_rate(wanted) else replace(wanted, sampling_rate=rate)
    if (name, size, rate) != (due.name, due.dim, due.sampling_rate) or abs(shift - due.frame_shift) > 1e-9:
        raise EgretError(
            f"{cut['id']} has {size} features of {name}, {shift:g} s apart, of recordings at {rate} Hz, where "
            f"{due.dim} of {due.name}, {due.frame_shift:g} s apart, at {due.sampling_rate} Hz are wanted; {HOW}"
        )


def _says_rate(wanted: FeatureOptions) -> bool:
    """Whether a sampling rate is asked for: a model's preset leaves that to the corpus."""
    return wanted.sampling_rate != FeatureOptions.sampling_rate


def made_with(manifest: Path) -> FeatureOptions | None:
    """What the features of a manifest were made with, as stage 1 says in the report beside it; None: it is not known,
    for others made them."""
    try:
        return FeatureOptions(**read_json(manifest.parent / REPORT)["features"])
    except (OSError, EgretError, UsageError, KeyError, TypeError):  # another report, or of another version
        return None


def refuse_other_options(manifest: Path, wanted: FeatureOptions) -> None:
    """Raises EgretError where stage 1 made the features of a manifest with other options than these, the defaults
    among them. It is wise to what `refuse_others` cannot see, such as a window, but knows our own features only."""
    made = made_with(manifest)
    if made is None:
        return
    free = {"sampling_rate": _says_rate(wanted), "extractor": wanted.extractor != "auto"}
    names = [item.name for item in fields(wanted) if free.get(item.name, True)]
    found = [f"{name} {getattr(made, name)} -> {getattr(wanted, name)}" for name in names
             if getattr(made, name) != getattr(wanted, name)]  # fmt: skip
    if found:
        raise EgretError(f"{manifest}: features of other options than the model wants ({'; '.join(found)}); {HOW}")


def kind_trained_on(config: dict[str, Any]) -> str | None:
    """The name of the features that a model was trained on, by its config.yaml; None: it does not say."""
    try:
        return FeatureOptions(**config["feature_options"]).name
    except (KeyError, TypeError, UsageError):  # not known, or of another version
        return None

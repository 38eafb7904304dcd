"""Augmented copies of cuts, whose features are stored beside those of the cuts themselves.

A copy is a cut without a recording: what it sounds like is in no file, and its features would not be found by reading
the one it came from. Its `custom` field `augmented` says what was done to it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from egret.features.store import Batch
from egret.features.waveform import Augmenter

if TYPE_CHECKING:
    import numpy as np


def with_copies(batches: Iterable[Batch], augmenter: Augmenter, copies: int, seed: int) -> Iterator[Batch]:
    """Cuts and their samples, each followed by so many augmented copies of it."""
    for cuts, waves in batches:
        pairs = list(zip(cuts, waves, strict=True))
        more = [
            made
            for cut, wave in pairs
            for made in ((cut, wave), *(_copy(cut, wave, number, augmenter, seed) for number in range(1, copies + 1)))
        ]
        yield [cut for cut, _ in more], [wave for _, wave in more]


def _copy(
    cut: dict[str, Any], wave: "np.ndarray", number: int, augmenter: Augmenter, seed: int
) -> "tuple[dict[str, Any], np.ndarray]":
    """A copy and its samples: a function of the cut's id, the number and the seed, whatever is made besides."""
    import numpy as np

    suffix = f"_aug{number}"
    rate = cut["recording"]["sampling_rate"]
    drawn_by = hashlib.sha256((cut["id"] + suffix).encode()).digest()
    random = np.random.default_rng([seed, *np.frombuffer(drawn_by, "<u4").tolist()])
    changed, done = augmenter.augment(wave, rate, random)
    return _described(cut, suffix, len(changed) / rate, done), changed


def _described(cut: dict[str, Any], suffix: str, duration: float, done: dict[str, Any]) -> dict[str, Any]:
    """The cut as a copy of this duration. Where words have moved, times within it are stretched evenly, and the
    alignments, which would no longer be right, are left out."""
    moved = duration != cut["duration"] or "reversed" in done
    stretch, rate = duration / cut["duration"], cut["recording"]["sampling_rate"]
    recording = cut["recording"]["id"] + suffix

    def supervised(row: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if moved:
            more = {what: round(row[what] * stretch * rate) / rate for what in ("start", "duration")}
            row = {key: value for key, value in row.items() if key != "alignment"}
        return {**row, "id": row["id"] + suffix, "recording_id": recording, **more}

    return {
        **cut,
        "id": cut["id"] + suffix,
        "duration": duration,
        "supervisions": [supervised(row) for row in cut["supervisions"]],
        "recording": {"id": recording},
        "custom": {**(cut.get("custom") or {}), "augmented": done},
    }


def as_stored(cut: dict[str, Any]) -> dict[str, Any]:
    """A cut with its features as it stands in the manifest: a copy without its recording."""
    if "augmented" not in (cut.get("custom") or {}):
        return cut
    return {key: value for key, value in cut.items() if key != "recording"}

"""What training needs to know of every cut of a manifest, found in one pass over it and kept for the next start."""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from egret.base.errors import EgretError
from egret.base.files import digest, write_tensors
from egret.base.log import progress
from egret.base.stamps import fingerprint
from egret.corpus.cuts import Cut, CutIndex, spoken_of, text_of
from egret.features.batching import Inputs
from egret.features.normalise import speaker_of
from egret.lang.lang import Lang
from egret.lang.normalise import normalise

VERSION = 3  # raised when the same manifest would give another survey


@dataclass(frozen=True)
class Survey:
    """One entry for each cut of a manifest.

    Attributes:
      seconds: float32 [N].
      frames: of its features, int32 [N].
      tokens: of its transcript, int32 [N]; 0 where it cannot be trained on.
      due: frames that CTC needs for them, int32 [N]: one each, and one between two that are equal.
      features: a frame of it has; 0 where there are no cuts.
      kind: of features, by name; "" where there are no cuts.
      unusable: place, reason and detail of those that cannot be trained on.
      nameless: how many do not say their speaker, and the id of the first of them.
    """

    seconds: np.ndarray
    frames: np.ndarray
    tokens: np.ndarray
    due: np.ndarray
    features: int
    kind: str
    unusable: list[tuple[int, str, str]]
    nameless: tuple[int, str] = (0, "")


def transcript(cut: Cut, lang: Lang) -> tuple[str, str]:
    """The text of a cut as the lexicon spells it, and the units that the corpus says were spoken ("": it does not)."""
    return normalise(text_of(cut), lang.about["normaliser"]["name"]), spoken_of(cut, lang.spoken)


def frames_due(target: list[int]) -> int:
    """Frames that CTC needs for tokens."""
    return len(target) + sum(a == b for a, b in pairwise(target))


def survey(index: CutIndex, lang: Lang, inputs: Inputs, kept: Path) -> Survey:
    """The survey of a manifest: read from `kept` where it is there and of the same, else made and written there.

    Raises:
      EgretError: a cut has no features or recording, as they are needed, or other features than those before it.
    """
    state = index.path.stat()
    wanted = [inputs.features, asdict(inputs.options)]
    made_from = digest([VERSION, state.st_size, state.st_mtime_ns, len(index), fingerprint(lang.folder), wanted])
    found = _read(kept, made_from)
    if found is None:
        found = _make(index, lang, inputs)
        columns = {name: getattr(found, name) for name in ("seconds", "frames", "tokens", "due")}
        lists = {"unusable": json.dumps(found.unusable), "nameless": json.dumps(found.nameless)}
        about = {"made_from": made_from, "features": str(found.features), "kind": found.kind, **lists}
        write_tensors(kept, columns, about)
    return found


def _read(path: Path, made_from: str) -> Survey | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            if about.get("made_from") != made_from:
                return None
            columns: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        unusable = [tuple(row) for row in json.loads(about["unusable"])]
        nameless = tuple(json.loads(about["nameless"]))
        size, kind = int(about["features"]), about["kind"]
        return Survey(**columns, features=size, kind=kind, unusable=unusable, nameless=nameless)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # FileNotFoundError among them
        return None


def _make(index: CutIndex, lang: Lang, inputs: Inputs) -> Survey:
    total = len(index)
    columns = {"seconds": np.zeros(total, np.float32)}
    columns |= {name: np.zeros(total, np.int32) for name in ("frames", "tokens", "due")}
    unusable: list[tuple[int, str, str]] = []
    size, kind, nameless, first = 0, "", 0, ""
    for place, cut in enumerate(progress(index, total, f"reading {index.path}")):
        try:
            columns["frames"][place], features, name = inputs.shape(cut)
        except EgretError as error:
            raise EgretError(f"{index.path}: {error}") from None
        if size and (size, kind) != (features, name):
            raise EgretError(f"{index.path}: {cut['id']} has {features} features a frame ({name}), those before it "
                             f"have {size} ({kind}); extract them with the same options")  # fmt: skip
        size, kind = features, name
        if not speaker_of(cut):
            nameless, first = nameless + 1, first or cut["id"]
        columns["seconds"][place] = cut["duration"]
        fault, target = _judge(cut, lang)
        columns["tokens"][place], columns["due"][place] = len(target), frames_due(target)
        if fault:
            unusable.append((place, *fault))
    return Survey(**columns, features=size, kind=kind, unusable=unusable, nameless=(nameless, first))


def _judge(cut: Cut, lang: Lang) -> tuple[tuple[str, str] | None, list[int]]:
    """(reason and detail where it cannot be trained on, its tokens)."""
    text, spoken = transcript(cut, lang)
    if unknown := lang.outside(text, spoken):
        return ("text outside the units", " ".join(unknown)), []
    target = lang.encode(text, spoken)
    return (None, target) if target else (("empty text", ""), [])

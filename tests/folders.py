"""Lang folders of any lexicon, experiments and cuts of noise, made in milliseconds for the tests of decoding."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from egret.base.files import digest, write_jsonl
from egret.base.options import as_plain
from egret.features.options import FeatureOptions
from egret.features.store import LilcomArchive
from egret.lang.lang import Lang
from egret.lang.lexicon import Lexicon, write_lexicon
from egret.models.files import build_model, save_config, save_weights
from egret.models.model import JointModel
from egret.models.options import ConformerOptions, ModelOptions, SpellerOptions, TdnnOptions

ROOT = Path(__file__).resolve().parents[1]


def step_module(name: str) -> ModuleType:
    """A program of steps/ as a module."""
    spec = importlib.util.spec_from_file_location(f"folders_{name}", ROOT / "steps" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PREPARE_LANG = step_module("prepare_lang")


def make_lang(
    folder: Path, lexicon: Lexicon, silence: str | None = None, probability: float = 0.5, oov: str = ""
) -> Lang:
    """A lang folder of phones, as steps/prepare_lang.py makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dictionary.txt").write_text(write_lexicon(lexicon))
    asked = {"silence": silence or "", "silence_probability": probability, "oov": oov}
    PREPARE_LANG.run(PREPARE_LANG.Options(lexicon=folder / "dictionary.txt", out=folder, **asked))
    return Lang.read(folder)


def transcribed(lang: Lang, texts: Sequence[str], spoken: Sequence[str] = ()) -> SimpleNamespace:
    """What a loss needs of a batch."""
    spoken = list(spoken) or [""] * len(texts)
    targets = [lang.encode(*each) for each in zip(texts, spoken, strict=True)]
    return SimpleNamespace(targets=targets, texts=list(texts), spoken=spoken)


def random_log_probs(seed: int, lengths: Sequence[int], lang: Lang, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Log probabilities [N, T, V], any numbers beyond an utterance's end, and lengths [N]."""
    values = torch.randn(len(lengths), max(lengths), len(lang.units), generator=torch.Generator().manual_seed(seed))
    return (values * spread).log_softmax(dim=2), torch.tensor(lengths)


def make_experiment(
    folder: Path, lang: Lang, features: int = 8, seed: int = 1, decoder: str = "none", ctc_weight: float | None = None,
    **tdnn: Any,
) -> JointModel:  # fmt: skip
    """An experiment folder with a small random model in it."""
    small = {"dim": 16, "kernels": [3, 3], "dilations": [1, 1], "strides": [1, 2]}
    speller = SpellerOptions(dim=8, embedding=8, attention_dim=8)
    tdnn_options = TdnnOptions(**{**small, **tdnn})
    options = ModelOptions(tdnn=tdnn_options, decoder=decoder, ctc_weight=ctc_weight, speller=speller)
    config = {
        "model": as_plain(options),
        "features": features,
        "tokens": len(lang.units),
        "units": digest(lang.units),
        "lang": str(lang.folder),
    }
    torch.manual_seed(seed)
    model = build_model(config)
    with torch.no_grad():
        (model.decoder.output if model.head is None else model.head).weight.mul_(
            8
        )  # an untrained model says next to nothing; this one is sure of what it says
    save_config(folder / "config.yaml", config)
    save_weights(folder / "final.safetensors", model.state_dict())
    return model.eval()


def make_cuts(path: Path, texts: Sequence[str], frames: Sequence[int], seed: int = 0, features: int = 8) -> list[dict]:
    """A manifest of cuts with features of noise, as steps/extract_features.py leaves it; returns the cuts."""
    generator = torch.Generator().manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = path.with_suffix(".lca")
    cuts = []
    with open(storage, "wb") as file:
        archive = LilcomArchive(file, storage, FeatureOptions(num_mel_bins=features), "noise")
        for number, (text, count) in enumerate(zip(texts, frames, strict=True)):
            name = f"{path.stem}-{number}"
            cut = {"id": name, "start": 0, "duration": count / 100, "channel": 0, "recording": {"id": name},
                   "supervisions": [{"id": name, "start": 0, "text": text}]}  # fmt: skip
            cuts.append(archive.add(cut, torch.randn(count, features, generator=generator).numpy()))
    write_jsonl(path, cuts)
    return cuts


def conformer(lang: Lang, layers: int = 5) -> tuple[JointModel, dict[str, Any]]:
    """A small random conformer and its config."""
    small = ConformerOptions(dim=16, layers=layers, heads=2, kernel=3, channels=4)
    config = {"model": as_plain(ModelOptions(encoder="conformer", conformer=small)), "features": 8,
              "tokens": len(lang.units), "units": digest(lang.units), "lang": str(lang.folder)}  # fmt: skip
    torch.manual_seed(3)
    return build_model(config).eval(), config

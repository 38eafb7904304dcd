"""Small language models, for the tests of them."""

from pathlib import Path
from typing import Any

import torch

from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary
from egret.models.files import save_config, save_weights
from egret.models.language_model import LanguageModel
from egret.models.language_model_files import build_language_model

SIZES: dict[str, dict[str, Any]] = {
    "lstm": {"dim": 12, "layers": 2, "dropout": 0.0},
    "gru": {"dim": 12, "layers": 1, "dropout": 0.0},
    "transformer": {"dim": 12, "layers": 2, "heads": 3, "feed_forward": 2, "dropout": 0.0, "attention_dropout": 0.0},
}


def config_of(network: str, vocabulary: int, tied: bool = True, **more: Any) -> dict[str, Any]:
    return {"model": {"network": network, "tied": tied, network: SIZES[network]}, "vocabulary": vocabulary, **more}


def small_model(network: str, vocabulary: int = 9, tied: bool = True, seed: int = 1) -> LanguageModel:
    """A random model that is sure of what it says."""
    torch.manual_seed(seed)
    model = build_language_model(config_of(network, vocabulary, tied))
    with torch.no_grad():
        model.output.bias.normal_(std=2.0)
        model.embedding.weight.mul_(3)
    return model.eval()


def make_lm(folder: Path, lang: Lang, unit: Any = "word", network: str = "lstm", seed: int = 1) -> LanguageModel:
    """A folder as steps/train_lm.py leaves it, with a random model in it."""
    vocabulary = Vocabulary(lang, unit)
    model = small_model(network, len(vocabulary), seed=seed)
    about = {"unit": unit, "units": vocabulary.digest, "lang": str(lang.folder)}
    folder.mkdir(parents=True, exist_ok=True)
    save_config(folder / "config.yaml", config_of(network, len(vocabulary), **about))
    save_weights(folder / "final.safetensors", model.state_dict())
    return model

"""A trained language model on disk, in the same files as an acoustic one (egret.models.files)."""

from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Any

from egret.base.errors import EgretError, UsageError, first_few
from egret.models.files import load_weights, read_config
from egret.models.language_model import NETWORKS, LanguageModel
from egret.models.language_model_options import LanguageModelOptions


def build_language_model(config: dict[str, Any], source: Path = Path("config.yaml")) -> LanguageModel:
    """The model that a config.yaml (`source`, for errors) describes, its weights not yet set.

    Raises:
      EgretError: it was written by a version with other options.
    """
    try:
        options = model_options(config["model"])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise EgretError(f"{source}: not a language model that this version of Egret makes ({error}); train again, or "
                         f"use the version that env.json beside it names") from None  # fmt: skip
    return LanguageModel(config["vocabulary"], options)


def model_options(chosen: dict[str, Any]) -> LanguageModelOptions:
    """Options from plain values, of which none of the network's may be missing: a default may have changed since."""
    network = chosen["network"]
    if network not in NETWORKS:
        raise ValueError(f"there is no network {network!r}")
    options_class = type(getattr(LanguageModelOptions(), network))
    if missing := {item.name for item in fields(options_class)} - dict(chosen[network]).keys():
        raise ValueError(f"{network} lacks {first_few(sorted(missing))}")
    return LanguageModelOptions(network=network, tied=chosen["tied"], **{network: options_class(**chosen[network])})


def load_language_model(experiment: Path) -> tuple[LanguageModel, dict[str, Any]]:
    """A trained language model in evaluation mode, and its config.

    Raises:
      EgretError: the experiment is not there, not finished, of an acoustic model, or its weights do not fit.
    """
    source = experiment / "config.yaml"
    config = read_config(source)
    if not {"model", "unit", "vocabulary", "units", "lang"} <= config.keys():
        raise EgretError(f"{source}: does not describe a neural language model; give the folder that steps/train_lm.py "
                         f"leaves")  # fmt: skip
    model, weights = build_language_model(config, source), experiment / "final.safetensors"
    if not weights.exists():
        raise EgretError(f"{weights}: not there; the model was not trained to its end, run steps/train_lm.py again")
    try:
        model.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        reason = shorten(str(error), width=300, placeholder=" ...")
        raise EgretError(f"{weights}: weights of another model than config.yaml describes "
                         f"({reason}); train again") from None  # fmt: skip
    return model.eval(), config

"""A trained model on disk: config.yaml says what it is, a safetensors file holds its weights."""

from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import write_tensors, write_text
from egret.models.model import DECODERS, ENCODERS, JointModel
from egret.models.options import ModelOptions

# Options that came later; by their defaults models are what they were before.
NEWER = {"chunk", "left_chunks"}


def save_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write tensors by name, atomically."""
    write_tensors(path, {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in weights.items()})


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name.

    Raises:
      EgretError: no file, or a truncated one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise EgretError(f"{path}: no such weights; they are made by steps/train.py (stage 4)") from None
    except SafetensorError as error:
        raise EgretError(
            f"{path}: not whole ({error}); the model must be made again (steps/train.py, stage 4)"
        ) from None


def save_config(path: Path, config: dict[str, Any]) -> None:
    import yaml

    write_text(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def load_config(path: Path) -> dict[str, Any]:
    """The content of the config.yaml of an acoustic model's experiment.

    Raises:
      EgretError: it is not there, not YAML or does not describe such a model.
    """
    config = read_config(path)
    if not {"model", "features", "tokens", "units", "lang"} <= config.keys():
        raise EgretError(f"{path}: does not describe a trained model; train again")
    return config


def read_config(path: Path) -> dict[str, Any]:
    """The content of an experiment's config.yaml, whatever was trained.

    Raises:
      EgretError: it is not there, or not YAML.
    """
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EgretError(f"{path}: no trained model here; train one first (stage 4)") from None
    except yaml.YAMLError as error:
        raise EgretError(f"{path}: not valid YAML ({' '.join(str(error).split())}); train again") from None
    if not isinstance(config, dict):
        raise EgretError(f"{path}: does not describe a trained model; train again")
    return config


def build_model(config: dict[str, Any], source: Path = Path("config.yaml")) -> JointModel:
    """The model that a config.yaml (`source`, for errors) describes, its weights not yet set.

    Raises:
      EgretError: it was written by a version with other options.
    """
    try:
        options = model_options(config["model"])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise EgretError(
            f"{source}: not a model that this version of Egret makes ({error}); train again, or use the version "
            f"that env.json beside it names"
        ) from None
    return JointModel(config["features"], config["tokens"], options)


def model_options(chosen: dict[str, Any]) -> ModelOptions:
    """Options from plain values, of which none of the encoder's or decoder's may be missing: a default may have changed
    since."""
    encoder, decoder = chosen["encoder"], chosen.get("decoder", "none")  # older models have no decoder
    if encoder not in ENCODERS:
        raise ValueError(f"there is no encoder {encoder!r}")
    if decoder != "none" and decoder not in DECODERS:
        raise ValueError(f"there is no decoder {decoder!r}")
    groups: dict[str, Any] = {}
    for part in [encoder] if decoder == "none" else [encoder, decoder]:
        options_class = type(getattr(ModelOptions(), part))
        if missing := {item.name for item in fields(options_class)} - NEWER - dict(chosen[part]).keys():
            raise ValueError(f"{part} lacks {first_few(sorted(missing))}")
        groups[part] = options_class(**chosen[part])
    for name in ("ctc_weight", "utterance_mean"):  # older models have none
        if name in chosen:
            groups[name] = chosen[name]
    return ModelOptions(encoder=encoder, decoder=decoder, **groups)


def load_model(experiment: Path, weights: str = "final") -> tuple[JointModel, dict[str, Any]]:
    """A trained model in evaluation mode, and its config.

    Args:
      weights: `final` (the average that training ended with) or the name of a checkpoint.

    Raises:
      EgretError: the experiment is not there, not finished, or its weights do not fit.
    """
    config = load_config(experiment / "config.yaml")
    name = "final.safetensors" if weights == "final" else f"checkpoints/{weights}/model.safetensors"
    model = build_model(config, experiment / "config.yaml")
    try:
        model.load_state_dict(load_weights(experiment / name))
    except RuntimeError as error:
        # PyTorch lists all that does not fit, each on a line of its own.
        reason = shorten(str(error), width=300, placeholder=" ...")
        raise EgretError(
            f"{experiment / name}: weights of another model than config.yaml describes ({reason}); train again"
        ) from None
    return model.eval(), config

"""The presets of conf/models are models that can be trained; those of conf/mini, of the same kinds and small, begin to
learn a tiny corpus, and what they learnt can be decoded."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from egret.base.files import read_json, read_jsonl
from egret.base.options import parse
from egret.corpus.cuts import references
from egret.features.options import FeatureOptions
from egret.models.model import JointModel, count_parameters
from egret.models.options import ModelOptions
from egret.scoring.errors import count_errors
from egret.training.options import TrainOptions
from tiny import make_features, make_lang

CONF = Path(__file__).resolve().parents[1] / "conf"
PRESETS = sorted((CONF / "models").glob("*.yaml"))
SMALL = sorted((CONF / "mini").glob("*.yaml"))
NO_DATA = ["--cuts", "none", "--stats", "none", "--lang", "none", "--out", "none"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_has_all_options_of_its_model(preset: Path) -> None:
    """Defaults may change; what was published does not."""
    options = options_of(preset)
    written = yaml.safe_load(preset.read_text())["model"][options.encoder]
    fields = {item.name for item in dataclasses.fields(getattr(options, options.encoder))}
    assert fields - written.keys() <= {"chunk", "left_chunks"}  # which are there where a preset is for streaming


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_has_all_options_of_its_decoder(preset: Path) -> None:
    decoder = options_of(preset).decoder
    if decoder == "none":
        return
    written = yaml.safe_load(preset.read_text())["model"][decoder]
    options = getattr(options_of(preset), decoder)
    unused = {"heads": "multi_head", "channels": "location_aware", "kernel": "location_aware"}
    fields = {item.name for item in dataclasses.fields(options)}
    fields -= {name for name, attention in unused.items() if getattr(options, "attention", attention) != attention}
    assert fields <= written.keys()


def options_of(preset: Path) -> ModelOptions:
    return parse(TrainOptions, ["--config", str(preset), *NO_DATA], "train.py", "").model


def test_the_conformer_of_size_m_has_the_parameters_of_the_paper() -> None:
    """Gulati et al. 2020 give 30.7 million with a decoder of one LSTM layer of 640 (about 3.3 million)."""
    [preset] = (path for path in PRESETS if path.stem == "conformer_m")
    assert 26.5e6 < count_parameters(JointModel(80, 1, options_of(preset))) < 28.5e6


@pytest.mark.parametrize("preset", SMALL, ids=lambda path: path.stem)
def test_the_loss_of_a_small_preset_falls_and_its_model_decodes(
    preset: Path, tmp_path: Path, run_step: Callable[..., str]
) -> None:
    losses, said, spoken = train_and_decode(preset, tmp_path, run_step, epochs=3)
    # A speller begins by learning what follows what, and looks at the frames much later.
    assert losses[-1] < (0.75 if options_of(preset).ctc_weight else 0.9) * losses[0]
    assert said.keys() == spoken.keys()


def test_the_smallest_preset_learns_a_tiny_corpus(tmp_path: Path, run_step: Callable[..., str]) -> None:
    preset = next(path for path in PRESETS if path.stem == "tdnn")
    _, said, spoken = train_and_decode(preset, tmp_path, run_step, epochs=20)
    assert count_errors(spoken, said).rate < 5


def train_and_decode(
    preset: Path, folder: Path, run_step: Callable[..., str], epochs: int
) -> tuple[list[float], dict[str, list[str]], dict[str, list[str]]]:
    """Training losses of the epochs that are kept; what is recognised by utterance, and what was said."""
    wishes = yaml.safe_load(preset.read_text()).get("features", {})  # which the tiny features would not fulfil
    none = [f"--features.{name}={getattr(FeatureOptions, name)}" for name in wishes]
    make_lang(folder / "lang")
    make_features(folder / "fbank", "train", 60, seed=1)
    test = make_features(folder / "fbank", "test", 20, seed=2)
    run_step("train", folder, "--config", str(preset), "--cuts", "fbank/train.jsonl", "--lang", "lang",
             "--stats", "fbank/train.stats.safetensors", "--epochs", str(epochs), "--batch.max_duration", "8",
             "--threads", "1", "--out", "exp", *none)  # fmt: skip
    run_step("decode", folder, "--experiment", "exp", "--lang", "lang", "--test-cuts", "fbank/test.jsonl",
             "--method", "auto", "--out", "exp/decode")  # fmt: skip
    states = sorted((folder / "exp/checkpoints").glob("epoch-*/state.json"))
    losses = [read_json(path)["train_loss"] for path in states]
    [hypotheses, *_] = sorted((folder / "exp/decode").glob("test_*/hyp.jsonl"), reverse=True)  # by CTC before attention
    said = {row["id"]: row["words"] for row in read_jsonl(hypotheses)}
    return losses, said, {name: text.split() for name, text in references(test).items()}

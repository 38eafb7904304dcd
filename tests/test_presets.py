"""Every model preset of conf/models begins to learn a tiny corpus, and what it learnt can be decoded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from egret.base.files import read_json, read_jsonl
from egret.corpus.cuts import references
from egret.models.files import model_options
from egret.models.model import CtcModel, count_parameters
from egret.scoring.errors import count_errors
from tiny import make_features, make_lang

PRESETS = sorted((Path(__file__).resolve().parents[1] / "conf" / "models").glob("*.yaml"))
# Size M is the code of size S; its 27 million weights would take minutes.
TRAINED = [path for path in PRESETS if path.stem != "conformer_m"]


def test_the_conformer_of_size_m_has_the_parameters_of_the_paper() -> None:
    """Gulati et al. 2020 give 30.7 million with a decoder of one LSTM layer of 640 (about 3.3 million)."""
    [preset] = (path for path in PRESETS if path.stem == "conformer_m")
    options = model_options(yaml.safe_load(preset.read_text())["model"])
    assert 26.5e6 < count_parameters(CtcModel(80, 1, options)) < 28.5e6


@pytest.mark.parametrize("preset", TRAINED, ids=lambda path: path.stem)
def test_the_loss_of_a_preset_falls_and_its_model_decodes(
    preset: Path, tmp_path: Path, run_step: Callable[..., str]
) -> None:
    losses, said, spoken = train_and_decode(preset, tmp_path, run_step, epochs=3)
    assert losses[-1] < 0.7 * losses[0]
    assert said.keys() == spoken.keys()


def test_the_smallest_preset_learns_a_tiny_corpus(tmp_path: Path, run_step: Callable[..., str]) -> None:
    preset = next(path for path in PRESETS if path.stem == "tdnn")
    _, said, spoken = train_and_decode(preset, tmp_path, run_step, epochs=20)
    assert count_errors(spoken, said).rate < 5


def train_and_decode(
    preset: Path, folder: Path, run_step: Callable[..., str], epochs: int
) -> tuple[list[float], dict[str, list[str]], dict[str, list[str]]]:
    """Training losses of the epochs that are kept; what is recognised by utterance, and what was said."""
    make_lang(folder / "lang")
    make_features(folder / "fbank", "train", 60, seed=1)
    test = make_features(folder / "fbank", "test", 20, seed=2)
    run_step("train", folder, "--config", str(preset), "--cuts", "fbank/train.jsonl", "--lang", "lang",
             "--stats", "fbank/train.stats.safetensors", "--epochs", str(epochs), "--batch.max_duration", "8",
             "--threads", "1", "--out", "exp")  # fmt: skip
    run_step("decode", folder, "--experiment", "exp", "--lang", "lang", "--test-cuts", "fbank/test.jsonl",
             "--out", "exp/decode")  # fmt: skip
    states = sorted((folder / "exp/checkpoints").glob("epoch-*/state.json"))
    losses = [read_json(path)["train_loss"] for path in states]
    said = {row["id"]: row["words"] for row in read_jsonl(folder / "exp/decode/test_ctc_greedy/hyp.jsonl")}
    return losses, said, {name: text.split() for name, text in references(test).items()}

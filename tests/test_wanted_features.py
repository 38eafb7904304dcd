"""Features that a model's preset wants, from stage 1 through training to decoding."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from egret.base.files import read_json, read_jsonl
from egret.models.files import load_config
from test_loader import make_recordings
from tiny import make_lang

Run = Callable[..., str]
PRESET = """
features: {kind: spectrogram, frame_length: 0.02, window: hann, scale: log_power}
model: {encoder: tdnn, tdnn: {dim: 8, kernels: [3], dilations: [1], strides: [4]}}
"""


@pytest.fixture
def run(tmp_path: Path, run_step: Run) -> Run:
    """Programs in a folder with recordings at 8 kHz, a lang folder and a preset."""
    make_recordings(tmp_path / "wav", 12)
    make_lang(tmp_path / "lang")
    (tmp_path / "preset.yaml").write_text(PRESET)
    return lambda name, *words, code=0: run_step(name, tmp_path, *words, code=code)


@pytest.fixture
def extract(run: Run, tmp_path: Path) -> Callable[..., str]:
    manifest = str(next((tmp_path / "wav").glob("*.jsonl")))
    rate = ["--features.sampling-rate", "8000"]
    return lambda *words, out="spec": run("extract_features", "--cuts", manifest, "--out", out, *rate, *words)


@pytest.fixture
def train(run: Run, tmp_path: Path) -> Callable[..., str]:
    part = next((tmp_path / "wav").glob("*.jsonl")).name

    def start(*words: str, features: str = "spec", dev: str = "", code: int = 0) -> str:
        stem = part.removesuffix(".jsonl")
        given = ["--cuts", f"{features}/{part}", "--stats", f"{features}/{stem}.stats.safetensors", "--lang", "lang"]
        given += ["--dev-cuts", f"{dev}/{part}"] if dev else []
        return run("train", *given, "--config", "preset.yaml", "--out", "exp", "--epochs", "1", "--threads", "1",
                   *words, code=code)  # fmt: skip

    return start


def test_stage_1_takes_them_from_the_preset(extract: Run, tmp_path: Path) -> None:
    extract("--features", "preset.yaml")
    [manifest] = (tmp_path / "spec").glob("*.jsonl")
    assert {row["features"]["type"] for row in read_jsonl(manifest)} == {"torch-log_power-spectrogram"}
    assert {row["features"]["num_features"] for row in read_jsonl(manifest)} == {81}


def test_the_report_has_all_their_options(extract: Run, tmp_path: Path) -> None:
    extract("--features", "preset.yaml")
    made = read_json(tmp_path / "spec/report.json")["features"]
    assert (made["window"], made["sampling_rate"], made["frame_shift"]) == ("hann", 8000, 0.01)


def test_a_model_is_trained_on_them_and_says_so(extract: Run, train: Run, tmp_path: Path) -> None:
    extract("--features", "preset.yaml")
    train(dev="spec")
    config = load_config(tmp_path / "exp/config.yaml")
    assert config["features"] == 81 and config["feature_options"]["scale"] == "log_power"


@pytest.mark.parametrize(
    ("made", "says"),
    [(["--features.num-mel-bins", "23"], "kind fbank -> spectrogram"),
     (["--features", "preset.yaml", "--features.window", "hamming"], "window hamming -> hann")],
)  # fmt: skip
def test_others_are_refused(extract: Run, train: Run, made: list[str], says: str) -> None:
    extract(*made)
    said = train(code=1)
    assert says in said and "--features PRESET.yaml" in said


def test_others_are_refused_without_the_report_too(extract: Run, train: Run, tmp_path: Path) -> None:
    extract("--features.num-mel-bins", "23")
    (tmp_path / "spec/report.json").unlink()
    assert "has 23 features of fbank" in train(code=1)


def test_the_dev_part_has_the_same_kind(extract: Run, train: Run, tmp_path: Path) -> None:
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump({"model": yaml.safe_load(PRESET)["model"]}))
    extract("--features.num-mel-bins", "24")
    extract("--features.kind", "mfcc", "--features.num-ceps", "24", "--features.num-mel-bins", "24", out="dev")
    assert "features of kind mfcc, where those of spec/" in train(dev="dev", code=1)


def test_they_are_computed_as_batches_are_loaded(run: Run, train: Run, extract: Run, tmp_path: Path) -> None:
    words = ["--inputs", "computed", "--features.sampling-rate", "8000"]
    manifest = str(next((tmp_path / "wav").glob("*.jsonl")))
    run("train", "--cuts", manifest, "--lang", "lang", "--config", "preset.yaml", "--out", "exp", "--epochs", "1",
        "--threads", "1", *words)  # fmt: skip
    config = load_config(tmp_path / "exp/config.yaml")
    assert config["features"] == 81 and config["feature_options"]["sampling_rate"] == 8000


def test_decoding_refuses_other_kinds(extract: Run, train: Run, run: Run, tmp_path: Path) -> None:
    extract("--features", "preset.yaml")
    train()
    extract("--features.kind", "spectrogram", "--features.frame-length", "0.02", out="other")
    [manifest] = (tmp_path / "other").glob("*.jsonl")
    said = run("decode", "--experiment", "exp", "--lang", "lang", "--test-cuts", str(manifest),
               "--method", "ctc_greedy", "--out", "decode", code=1)  # fmt: skip
    assert "features of kind log1p-spectrogram, the model was trained on log_power-spectrogram" in said

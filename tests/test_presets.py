"""Every model preset of conf/models learns a tiny corpus, and what it learnt can be decoded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from egret.base.files import read_jsonl
from egret.corpus.cuts import references
from egret.scoring.errors import count_errors
from tiny import make_features, make_lang

PRESETS = sorted((Path(__file__).resolve().parents[1] / "conf" / "models").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_learns_and_its_model_decodes(preset: Path, tmp_path: Path, run_step: Callable[..., str]) -> None:
    make_lang(tmp_path / "lang")
    make_features(tmp_path / "fbank", "train", 60, seed=1)
    test = make_features(tmp_path / "fbank", "test", 20, seed=2)
    run_step("train", tmp_path, "--config", str(preset), "--cuts", "fbank/train.jsonl", "--lang", "lang",
             "--stats", "fbank/train.stats.safetensors", "--epochs", "20", "--batch.max_duration", "8",
             "--threads", "1", "--out", "exp")  # fmt: skip
    run_step("decode", tmp_path, "--experiment", "exp", "--lang", "lang", "--test-cuts", "fbank/test.jsonl",
             "--out", "exp/decode")  # fmt: skip
    said = {row["id"]: row["words"] for row in read_jsonl(tmp_path / "exp/decode/test_ctc_greedy/hyp.jsonl")}
    spoken = {name: text.split() for name, text in references(test).items()}
    assert count_errors(spoken, said).rate < 5

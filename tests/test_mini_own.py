"""The miniatures of a corpus of one's own have what such corpora have: mixed recordings, byte-order marks, GBK."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from small_own import prepare, texts

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module", params=["own", "own_zh"])
def corpus(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / request.param
    command = [sys.executable, str(ROOT / "local/mini_corpus.py"), "--layout", request.param, "--out", str(folder)]
    shape = ["--speakers", "2", "--test-speakers", "2", "--utterances", "5"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command + shape, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


def language(corpus: Path) -> list[str]:
    if corpus.name == "own":
        return ["--lang", "en", "--normaliser", "english"]
    return ["--lang", "zh", "--normaliser", "mandarin"]


def test_recordings_have_several_rates_and_channels(corpus: Path):
    found = [soundfile.info(path) for path in (corpus / "recordings").rglob("*.*")]
    assert {(each.samplerate, each.channels) for each in found} == {
        (44100, 2), (16000, 1), (8000, 1), (48000, 2)
    }  # fmt: skip


def test_the_table_names_every_recording(corpus: Path):
    encoding = "utf-8-sig" if corpus.name == "own" else "gbk"
    rows = list(csv.DictReader(io.StringIO((corpus / "table.csv").read_bytes().decode(encoding), newline="")))
    assert {corpus / row["path"] for row in rows} == set((corpus / "recordings").rglob("*.*"))


def test_the_table_passes_stage_0(corpus: Path, tmp_path: Path):
    assert "kept 20, rejected 0" in prepare(tmp_path, "--table", corpus / "table.csv", *language(corpus))


def test_the_other_lists_say_the_same(corpus: Path, tmp_path: Path):
    if corpus.name == "own":
        prepare(tmp_path, "--kaldi-dir", corpus / "kaldi", *language(corpus))
        prepare(tmp_path / "table", "--table", corpus / "table.csv", *language(corpus))
        assert sorted(texts(tmp_path).values()) == sorted(texts(tmp_path / "table").values())
    else:
        said = prepare(tmp_path, "--asrt", corpus / "asrt", "--lang", "zh", "--normaliser", "lower")
        assert "kept 20, rejected 0" in said

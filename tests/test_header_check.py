"""Stage 0 by the headers of the recordings alone, and what becomes of damage that it cannot see."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from egret.base.errors import EgretError
from egret.base.options import of_kind
from egret.corpus import audio
from egret.corpus.prepare import PrepareOptions, Utterance, prepare
from egret.features.options import FeatureOptions
from egret.features.store import load_samples

RATE = 8000


def record(path: Path, seed: int = 1, seconds: float = 1.0, **how: str) -> Path:
    samples = np.random.RandomState(seed).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, samples, RATE, **how)
    return path


def cut_off(path: Path, keep: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def run(folder: Path, recordings: list[Path], check_audio: str = "header") -> tuple[list[dict[str, Any]], list[dict]]:
    """Cuts, and what is in rejected.jsonl."""
    options = PrepareOptions(out=folder / "cuts", check_audio=check_audio, max_reject_percent=100.0, workers=2)  # type: ignore[arg-type]
    good = record(folder / "good.wav", seed=99)
    prepare({"train": [Utterance(path.stem, path, "a b", "speaker") for path in (good, *recordings)]}, options)
    cuts, rejected = (
        [json.loads(line) for line in (folder / "cuts" / name).read_text().splitlines()]
        for name in ("train.jsonl", "rejected.jsonl")
    )
    return cuts[1:], rejected


@pytest.mark.parametrize("ending, how", [
    (".wav", {"subtype": "PCM_16"}), (".wav", {"subtype": "FLOAT"}), (".flac", {}), (".ogg", {}), (".aiff", {}),
])  # fmt: skip
def test_the_cuts_are_those_of_a_full_look_less_the_checksum(tmp_path: Path, ending: str, how: dict[str, str]) -> None:
    path = record(tmp_path / f"a{ending}", **how)
    [[found], _], [[full], _] = run(tmp_path, [path]), run(tmp_path, [path], "full")
    assert {**found, "custom": None} == {**full, "custom": None}


def test_no_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.flac")
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    cuts, _ = run(tmp_path, [path])
    assert len(cuts) == 1


def test_other_content_of_the_same_length_makes_another_manifest(tmp_path: Path) -> None:
    [[before], _] = run(tmp_path, [record(tmp_path / "a.wav")])
    [[after], _] = run(tmp_path, [record(tmp_path / "a.wav", seed=2)])
    assert before["custom"] != after["custom"]


def test_the_way_of_checking_is_a_reason_to_run_again(tmp_path: Path) -> None:
    assert "check_audio" in of_kind(PrepareOptions(out=tmp_path), "option")


def streamed(path: Path) -> Path:
    """A FLAC file whose header does not say how long it is."""
    data = bytearray(record(path).read_bytes())
    data[21] &= 0xF0  # 36 bits of STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def text(path: Path) -> Path:
    path.write_text("this is no recording\n" * 100)
    return path


@pytest.mark.parametrize("make, name, reason", [
    (lambda path: path, "a.wav", "missing"),
    (empty, "a.wav", "empty"),
    (text, "a.wav", "unreadable"),
    (lambda path: cut_off(record(path)), "a.wav", "truncated"),
    (lambda path: cut_off(record(path), 0.001), "a.flac", "unreadable"),
    (streamed, "a.flac", "unknown length"),
])  # fmt: skip
def test_what_a_header_shows_to_be_wrong_is_rejected(
    tmp_path: Path, make: Callable[[Path], Path], name: str, reason: str
) -> None:
    _, rejected = run(tmp_path, [make(tmp_path / name)])
    assert [row["reason"] for row in rejected] == [reason]


def damaged(path: Path) -> Path:
    return cut_off(record(path))


def not_numbers(path: Path) -> Path:
    soundfile.write(path, np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize("make, name, said", [
    (damaged, "a.flac", r"(truncated|unreadable)"),
    (not_numbers, "a.wav", "out of range"),
])  # fmt: skip
def test_what_a_header_does_not_show_stops_stage_1_with_advice(
    tmp_path: Path, make: Callable[[Path], Path], name: str, said: str
) -> None:
    [[cut], _] = run(tmp_path, [make(tmp_path / name)])
    with pytest.raises(EgretError, match=rf"^a \(.*{name}\): {said}.*; run stage 0 again with --check-audio full$"):
        load_samples(cut, FeatureOptions(sampling_rate=RATE))


def test_stage_1_says_in_a_line_what_stage_0_did_not_see(tmp_path: Path, run_step: Callable[..., str]) -> None:
    run(tmp_path, [damaged(tmp_path / "a.flac")])
    said = run_step("extract_features", tmp_path, "--cuts", "cuts/train.jsonl", "--out", "fbank",
                    "--features.sampling-rate", str(RATE), "--features.num-mel-bins", "23", code=1)  # fmt: skip
    assert "--check-audio full" in said.splitlines()[-1]


def test_after_a_full_look_the_advice_is_to_look_again(tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac")
    [[cut], _] = run(tmp_path, [path], "full")
    cut_off(path)
    with pytest.raises(EgretError, match="; run stage 0 again$"):
        load_samples(cut, FeatureOptions(sampling_rate=RATE))


def test_an_ogg_file_is_not_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.ogg")
    monkeypatch.setattr(audio, "_check_pages", None)
    assert len(run(tmp_path, [path])[0]) == 1

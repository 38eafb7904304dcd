"""Recordings of noise and tables of them, made in milliseconds, for the tests of a corpus of one's own."""

import json
from pathlib import Path

import numpy as np
import soundfile

from egret.corpus.cuts import read_cuts, references
from program import program

PREPARE = "egs/own/local/prepare.py"
PARTS = ("train", "dev", "test")


def record(path: Path, rate: int = 16000, channels: int = 1, seconds: float = 0.5, seed: int = 1) -> Path:
    """A recording of noise, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.RandomState(seed).randn(round(seconds * rate), channels) * 0.1
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def recordings(folder: Path, count: int = 10) -> list[str]:
    """Paths, relative to the folder, of recordings that are there."""
    return [str(record(folder / f"clips/a{number}.wav", seed=number).relative_to(folder)) for number in range(count)]


def write_table(folder: Path, text: str | bytes, name: str = "my.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def simple_table(folder: Path, count: int = 10) -> Path:
    """A table of `count` recordings without speakers."""
    rows = "".join(f"{path},text {number}\n" for number, path in enumerate(recordings(folder, count)))
    return write_table(folder, f"path,text\n{rows}")


def prepare(folder: Path, *options: object, code: int = 0) -> str:
    """What stage 0 says; the cuts are in `cuts`, what is converted in `audio`."""
    asked = ["--out", folder / "cuts", "--audio", folder / "audio", *options]
    ended, said = program(PREPARE, *asked)
    assert ended == code, said
    return said


def texts(folder: Path) -> dict[str, str]:
    """The transcripts of all parts."""
    return {name: text for part in PARTS for name, text in references(folder / "cuts" / f"{part}.jsonl").items()}


def cuts(folder: Path) -> dict[str, dict]:
    return {cut["id"]: cut for part in PARTS for cut in read_cuts(folder / "cuts" / f"{part}.jsonl")}


def part(folder: Path, name: str) -> set[str]:
    return {cut["id"] for cut in read_cuts(folder / "cuts" / f"{name}.jsonl")}


def rejected(folder: Path) -> dict[str, str]:
    """Reasons by id."""
    lines = (folder / "cuts/rejected.jsonl").read_text().splitlines()
    return {row["id"]: f"{row['reason']}: {row['detail']}" for row in map(json.loads, lines)}

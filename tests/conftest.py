"""What several tests share."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Started in the background by a shell, this process ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_corpus() -> Callable[[str], Path]:
    """The folder of a corpus of real recordings, or a skip that says where they were looked for."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("EGRET_CORPORA", ROOT.parent / "shared" / "corpora"))
        if not (folder / name).is_dir():
            pytest.skip(f"no real recordings in {folder / name} (EGRET_CORPORA says where they are)")
        return folder / name

    return find


@pytest.fixture
def run_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a program of steps/ in this process: `run_step("score", folder, "--decode", ..., code=0)`.

    Checks the exit code and returns all that it said; a process of its own would take longer to start than to run.
    """

    def run(name: str, folder: Path, *arguments: str, code: int = 0) -> str:
        from egret.base.program import main

        spec = importlib.util.spec_from_file_location(f"steps_{name}", ROOT / "steps" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
        ended: object = 0
        try:
            main(module.STEP)
        except SystemExit as error:
            ended = error.code
        said = "".join(capsys.readouterr())
        assert ended == code, said
        return said

    return run


@pytest.fixture
def training_arguments(tmp_path: Path) -> list[str]:
    """Options of steps/train.py on a tiny corpus in tmp_path; `--out` and `--epochs` are left to the test."""
    from tiny_training import make_corpus

    return make_corpus(tmp_path)


@pytest.fixture
def train(run_step: Callable[..., str], training_arguments: list[str], tmp_path: Path) -> Callable[..., str]:
    """Train in a folder of tmp_path: `train("exp", "--epochs", "2", code=0)`; returns what was said."""

    def run(out: str, *more: str, code: int = 0) -> str:
        return run_step("train", tmp_path, *training_arguments, "--out", out, *more, code=code)

    return run


@pytest.fixture
def k2():
    return pytest.importorskip("k2")

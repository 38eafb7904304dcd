"""What several tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_corpus() -> Callable[[str], Path]:
    """The folder of a corpus of real recordings, or a skip that says where they were looked for."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("EGRET_CORPORA", ROOT.parent / "shared" / "corpora"))
        if not (folder / name).is_dir():
            pytest.skip(f"no real recordings in {folder / name} (EGRET_CORPORA says where they are)")
        return folder / name

    return find

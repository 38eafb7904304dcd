"""A recipe copied for a measurement: all that it reads, and nothing that it made."""

import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def copied(monkeypatch, tmp_path: Path):
    """The names of the files of a recipe and of its copy."""
    monkeypatch.syspath_prepend(str(BENCH))
    import recipe

    house = tmp_path / "house"
    for name in (
        "run.sh",
        "conf/tdnn.yaml",
        "conf/mini/tdnn.yaml",
        "mini/data/cuts.jsonl",
        "exp/tdnn/final.safetensors",
    ):
        (house / "egs/words" / name).parent.mkdir(parents=True, exist_ok=True)
        (house / "egs/words" / name).touch()
    monkeypatch.setattr(recipe, "ROOT", house)
    with recipe.copy_of("words") as folder:
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    monkeypatch.delitem(sys.modules, "recipe")
    return found


def test_configurations_of_the_miniature_are_copied_and_what_was_made_is_not(copied):
    assert copied == {"run.sh", "conf/tdnn.yaml", "conf/mini/tdnn.yaml"}

"""The rooms of egret/ import downward only (docs/design.md, section 2), and nothing heavy before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    "base",
    "lang",
    "corpus",
    "features",
    "graph",
    "lm",
    "models",
    "training",
    "decoding",
    "scoring",
    "alignment",
    "report",
]
SIDE_BY_SIDE = [{"lm", "models"}, {"training", "decoding"}, {"scoring", "alignment"}]
ROOMS_WITH_K2 = {"egret/graph/arcs.py", "egret/graph/hlg.py", "egret/models/graph_loss.py", "egret/decoding/graph.py"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files() -> list[Path]:
    return sorted((ROOT / "egret").rglob("*.py"))


def test_every_room_has_its_floor() -> None:
    assert {path.parent.name for path in files()} - {"egret"} == set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_only_from_floors_below(room: str) -> None:
    allowed = set(FLOORS[: FLOORS.index(room) + 1])
    for pair in SIDE_BY_SIDE:
        allowed -= pair - {room} if room in pair else set()
    used = {name.split(".")[1] for path in (ROOT / "egret" / room).glob("*.py") for name in imports(path)
            if name.startswith("egret.")}  # fmt: skip
    assert used <= allowed


def test_k2_is_imported_where_the_design_says_and_nowhere_else() -> None:
    with_k2 = {str(path.relative_to(ROOT)) for path in files() if "k2" in imports(path)}
    assert with_k2 == ROOMS_WITH_K2


@pytest.mark.parametrize("step", sorted(path.stem for path in (ROOT / "steps").glob("*.py")))
def test_a_step_imports_nothing_slow_before_it_works(step: str) -> None:
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'steps')!r}]; import {step}; " + (
        "print({'torch', 'lhotse', 'k2', 'kaldifeat', 'soundfile', 'kenlm'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

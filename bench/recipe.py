"""A recipe run as a whole in a copy of its own, so that nothing of yours is touched."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

ROOT = Path(__file__).resolve().parents[1]
MADE = ["data", "exp", "mini", "download"]


@contextmanager
def copy_of(recipe: str) -> Iterator[Path]:
    """The folder of a recipe in a temporary house whose programs are this one's."""
    with tempfile.TemporaryDirectory() as house:
        for name in ["steps", "utils", "egret", "local", "conf", "requirements", "path.sh", "cmd.sh", ".venv"]:
            Path(house, name).symlink_to(ROOT / name)
        folder = Path(house, "egs", recipe)
        source = ROOT / "egs" / recipe
        # Only these: a folder of conf/ has the name of one of them.
        shutil.copytree(source, folder, ignore=lambda place, _: MADE if Path(place) == source else [])
        yield folder


def clean(folder: Path) -> None:
    """As it was before the first run."""
    for made in MADE:
        shutil.rmtree(folder / made, ignore_errors=True)


def run(folder: Path, options: list[str]) -> tuple[float, float, str]:
    """Seconds of wall clock, seconds of CPU (user and system, of all that it started), and all that it said.

    A recipe that fails ends the program with the end of what it said.
    """
    began, spent = time.monotonic(), children()
    done = subprocess.run(["./run.sh", *options], cwd=folder, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"run.sh {' '.join(options)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - began, children() - spent, done.stdout


def measured(*words: object) -> tuple[str, float, float, float]:
    """What a Python program says, its seconds, CPU seconds and gigabytes; its failure ends this one."""
    began = time.monotonic()
    with subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed")
    return said, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / (1 << 20)


def children() -> float:
    """CPU seconds of the processes that have ended."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stages(said: str) -> str:
    """The seconds that the recipe reports for each stage."""
    lines = [line.split() for line in said.splitlines() if line.startswith("=== stage") and "finished" in line]
    return ", ".join(f"{line[2]}: {line[-2]} s" for line in lines)


def scores(folder: Path, method: str) -> dict[str, float]:
    """The word error rate in percent of each part by a method."""
    found = folder.glob(f"**/decode/*_{method}/score.json")
    return {path.parent.name.removesuffix(f"_{method}"): json.loads(path.read_text())["wer"] for path in found}

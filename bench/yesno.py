#!/usr/bin/env python3
"""Time the yesno recipe as a whole: from nothing to the word error rate, and again when all is up to date.

    bench/yesno.py --corpus DIR [--seeds 1 2 3] [--mini] [--bars]

Runs in a copy of the recipe, so that nothing of yours is touched. With --bars it fails beyond those for two cores:
20 s, 4 s and 0.42 % with every seed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(folder: Path, options: list[str]) -> tuple[float, str]:
    """Seconds of wall clock and all that the recipe said."""
    began = time.monotonic()
    done = subprocess.run(
        ["./run.sh", *options], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - began, done.stdout


def stages(said: str) -> str:
    """The seconds that the recipe reports for each stage."""
    lines = [line.split() for line in said.splitlines() if line.startswith("=== stage") and "finished" in line]
    return ", ".join(f"{line[2]}: {line[-2]} s" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="folder that holds waves_yesno")
    parser.add_argument("--mini", action="store_true", help="on synthetic speech instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    if not options.mini and options.corpus is None:
        parser.error("give --corpus DIR or --mini")
    source = ["--mini"] if options.mini else ["--corpus", str(options.corpus.resolve())]
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as house:
        for name in ["steps", "utils", "egret", "local", "requirements", "path.sh", "cmd.sh", ".venv"]:
            Path(house, name).symlink_to(ROOT / name)
        folder = Path(house, "egs", "yesno")
        ignored = shutil.ignore_patterns("data", "exp", "mini", "download")
        shutil.copytree(ROOT / "egs" / "yesno", folder, ignore=ignored)
        reached = True
        for seed in options.seeds:
            for made in ["data", "exp", "mini"]:
                shutil.rmtree(folder / made, ignore_errors=True)
            first, said = run(folder, [*source, "--seed", str(seed)])
            again, _ = run(folder, [*source, "--seed", str(seed)])
            wer = json.loads(next(folder.glob("**/best.json")).read_text())["test"]["test"]["wer"]
            print(f"seed {seed}: {first:.1f} s, again {again:.1f} s, WER {wer} %  ({stages(said)})", flush=True)
            reached &= first <= 20 and again <= 4 and wer <= 0.42
    if options.bars and not reached:
        sys.exit("a bar was not reached: 20 s, again 4 s, 0.42 %")


if __name__ == "__main__":
    main()

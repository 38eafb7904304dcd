#!/usr/bin/env python3
"""Train models on AN4's miniature, or on AN4, one after the other, and print one table of all of them.

    bench/models.py [--model conformer las_pyramid ...] [--corpus DIR] [--set epochs=5] [--bars]

Without --corpus the miniature and the small sizes of conf/mini; with it the recordings and the configurations of the
recipe or of conf/models. A row has the parameters, hours of speech in an hour of CPU time while training (of all that
stage 4 does), its seconds of CPU time and by the clock, and the word error rates on dev and test by every method that
the model has outputs for. With --bars it fails where a miniature with CTC is not below 15 % on test by the method that
is best on dev, one without not below 60 %, or where stage 4 takes more than 10 minutes of CPU time: all have one
thread, so that this is what the clock shows where nothing else runs.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from recipe import ROOT, copy_of, run

WITH_CTC, WITHOUT, SECONDS = 15.0, 60.0, 600.0


@dataclass
class Row:
    """What a model reached: word error rates in percent by method and part."""

    name: str
    parameters: int
    speed: float
    cpu: float
    seconds: float
    wers: dict[str, dict[str, float]]
    ctc: bool

    def __str__(self) -> str:
        wers = "; ".join(f"{method} {of['dev']:.2f} / {of['test']:.2f}" for method, of in self.wers.items())
        spent = f"{self.speed:.0f} | {self.cpu:.0f} | {self.seconds:.0f}"
        return f"| {self.name} | {self.parameters / 1e6:.2f} | {spent} | {wers} |"

    def missed(self) -> str:
        """The bars that it does not reach, by the method that is best on dev; empty: it reaches all."""
        best = min(self.wers.values(), key=lambda of: of["dev"])["test"]
        found = [f"{best:.1f} %"] * (best >= (WITH_CTC if self.ctc else WITHOUT))
        return ", ".join(found + [f"{self.cpu:.0f} s"] * (self.cpu > SECONDS))


def names(mini: bool) -> list[str]:
    """All models that the recipe can train so."""
    own, shared = ROOT / "egs/an4/conf", ROOT / "conf"
    folders = [own / "mini", shared / "mini"] if mini else [own, shared / "models"]
    found = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    return sorted(found - {"features", "decode"})


def measure(folder: Path, name: str, options: list[str]) -> Row:
    """Train and decode a model in the copy of a recipe, whose first stages are done or are done now."""
    run(folder, [*options, "--model", name, "--stop-stage", "3"])
    seconds, cpu, said = run(folder, [*options, "--model", name, "--stage", "4", "--stop-stage", "4"])
    run(folder, [*options, "--model", name, "--stage", "5"])
    [experiment] = folder.glob(f"**/exp/{name}_phone")
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    lines = [line.split() for line in said.splitlines() if " parameters, on " in line]
    wers: dict[str, dict[str, float]] = {}
    for path in sorted(experiment.glob("decode/*/score.json")):
        part, method = path.parent.name.split("_", 1)
        wers.setdefault(method, {})[part] = json.loads(path.read_text())["wer"]
    report = folder / Path(config["cuts"][0]).parent / "report.json"
    hours = json.loads(report.read_text())["parts"]["train"]["hours"] * config["epochs"]
    return Row(name, int(lines[0][1]), hours / (cpu / 3600), cpu, seconds, wers, config["model"]["ctc_weight"] > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", nargs="*", default=[], help="names in conf/mini, or in conf/models; none: all of them"
    )
    parser.add_argument("--corpus", type=Path, help="folder that holds an4, or is it; none: the miniature")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as run.sh takes it")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    if options.corpus and options.bars:
        parser.error("--bars: they are those of the miniature; leave --corpus out")
    mini = options.corpus is None
    where = ["--mini", "true"] if mini else ["--corpus", str(options.corpus.resolve())]
    changes = [word for value in options.set for word in ("--set", value)]
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores\n")
    print("| model | million weights | hours of speech in one of CPU time | CPU s | clock, s | WER %, dev / test |")
    print("|---|---|---|---|---|---|", flush=True)
    missed = []
    with copy_of("an4") as folder:
        for name in options.model or names(mini):
            row = measure(folder, name, [*where, *changes])
            print(row, flush=True)
            if bars := row.missed():
                missed.append(f"{name}: {bars}")
    if options.bars and missed:
        sys.exit(f"a bar was not reached: {'; '.join(missed)}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Shows how far a recipe is: the table of ./run.sh --status.

Usage: status.py FILE "NUMBER: TEXT"...
For example: status.py steps.jsonl "0: corpus" "1: features"

FILE holds one JSON line per step, as every step writes it when EGRET_STATUS names the file:
{"stage": "0", "step": "prepare_corpus", "output": "data/cuts", "state": "done", "why": "",
 "finished": "2026-11-21T05:00:00", "seconds": 1.2}, where state is done, stale, failed or not run.
The other arguments are the stages of the recipe, of which some may have recorded nothing.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

Step = dict[str, Any]  # one line of FILE

WORST_FIRST = ("failed", "stale", "not run", "done")


def stage_state(steps: list[Step]) -> str:
    """The worst state of its steps: a stage is done only when all of them are."""
    states = {step["state"] for step in steps} or {"not run"}
    return next((state for state in WORST_FIRST if state in states), "not run")


def step_cells(step: Step) -> list[str]:
    """What the table says of one step; fields that the step left out stay blank."""
    seconds = step.get("seconds")
    return [
        step["state"],
        step["step"],
        step.get("output") or "",
        (step.get("finished") or "").replace("T", " ")[:16],
        "" if seconds is None else f"{seconds:.1f} s",
        step.get("why") or "",
    ]


def table(stages: list[str], steps: list[Step]) -> str:
    """A line per stage, and below it a line per step, in columns."""
    blocks = []
    for stage in stages:
        number, _, text = stage.partition(": ")
        own = [step for step in steps if str(step["stage"]) == number]
        blocks.append((f"{number}  {stage_state(own):7}  {text}", [step_cells(step) for step in own]))
    rows = [row for _, cells in blocks for row in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for heading, cells in blocks:
        lines.append(heading)
        for row in cells:
            columns = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("   " + columns.rstrip())
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    lines = Path(arguments[0]).read_text(encoding="utf-8").splitlines()
    print(table(arguments[1:], [json.loads(line) for line in lines if line.strip()]))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--status | head` is no error
    sys.exit(main(sys.argv[1:]))

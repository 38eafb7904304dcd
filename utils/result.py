#!/usr/bin/env python3
"""Shows what an experiment came to: the best method's error rates, and where its report is.

Usage: result.py EXPERIMENT
For example: result.py exp/conformer_phone
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if sys.argv[1:] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    experiment = Path(sys.argv[1]).absolute()
    best = json.loads((experiment / "best.json").read_text(encoding="utf-8"))
    metric = best["metric"]
    parts = {**({best["chosen_on"]: best["dev"]} if best["dev"] else {}), **best["test"]}
    for part, score in parts.items():
        low, high = score["ci95"][metric]
        print(f"{part}: {metric.upper()} {score[metric]:.2f} % [{low:.2f}, {high:.2f}] by {best['method']}")
    if (experiment / "report.html").exists():
        print(f"open in a browser: {experiment / 'report.html'}")


if __name__ == "__main__":
    main()

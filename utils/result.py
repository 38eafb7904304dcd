#!/usr/bin/env python3
"""Shows what an experiment came to: the best method's error rates, and where its report is.

For example: result.py exp/conformer_phone
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="folder with best.json")
    experiment = parser.parse_args().experiment.absolute()
    best = json.loads((experiment / "best.json").read_text(encoding="utf-8"))
    metric = best["metric"]
    on_dev = {best["chosen_on"]: best["dev"]} if best["dev"] else best.get("dev_parts", {})
    parts = {**on_dev, **best["test"]}
    for part, score in parts.items():
        low, high = score["ci95"][metric]
        print(f"{part}: {metric.upper()} {score[metric]:.2f} % [{low:.2f}, {high:.2f}] by {best['method']}")
    if note := best.get("note"):
        print(f"note: {note}")
    if (experiment / "report.html").exists():
        print(f"open in a browser: {experiment / 'report.html'}")


if __name__ == "__main__":
    main()

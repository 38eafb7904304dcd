#!/usr/bin/env python3
"""Fail unless a best.json exists and its word error rates reach a bar: check_best.py FILE --max-wer PERCENT."""

import argparse
import json
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("best", type=Path)
parser.add_argument("--max-wer", type=float, required=True)
options = parser.parse_args()

best = json.loads(options.best.read_text(encoding="utf-8"))
rates = {part: score["wer"] for part, score in best["test"].items()}
print(f"{options.best}: {best['method']}: {rates}, bar {options.max_wer} %")
sys.exit(not rates or max(rates.values()) > options.max_wer)

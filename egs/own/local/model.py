#!/usr/bin/env python3
"""Say which model suits the hours of the training part: local/model.py data/cuts/report.json

AN4 (0.6 hours) is where the line between the first two comes from: there the conformer made half the errors of the
TDNN (egs/an4/RESULTS.md). With less, a conformer learns the recordings by heart. The second line is where the larger
conformer begins to pay in what others have published (AISHELL-1 has 150 hours, LibriSpeech's smallest part 100).
"""

import json
import sys
from pathlib import Path

CONFORMER_FROM, LARGE_FROM = 0.3, 80.0  # hours


def model_of(hours: float) -> str:
    """The name of a configuration in conf/."""
    if hours < CONFORMER_FROM:
        return "tdnn"
    return "conformer" if hours < LARGE_FROM else "conformer_large"


def training_hours(report: Path) -> float:
    """Of stage 0; none before it has run."""
    try:
        return float(json.loads(report.read_text(encoding="utf-8"))["parts"]["train"]["hours"])
    except (OSError, ValueError, KeyError):
        return 0.0


if __name__ == "__main__":
    print(model_of(training_hours(Path(sys.argv[1]))))

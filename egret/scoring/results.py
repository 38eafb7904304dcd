"""What the scoring of an experiment has left."""

from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import read_json

Score = dict[str, Any]


def read_scores(experiment: Path) -> tuple[list[Score], dict[str, Any]]:
    """The scores of all decodings, the best method's first, and best.json.

    Raises:
      EgretError: the experiment has not been scored.
    """
    files = sorted((experiment / "decode").glob("*/score.json"))
    if not files:
        raise EgretError(
            f"{experiment}: no scores in it; they are made by steps/decode.py and steps/score.py (stage 5)"
        )
    if not (experiment / "best.json").exists():
        raise EgretError(f"{experiment}: no best.json in it, for steps/score.py ended early or there are only floors; "
                         f"decode by a method and score again (stage 5)")  # fmt: skip
    best = read_json(experiment / "best.json")
    scores = [{**read_json(path), "folder": path.parent} for path in files]
    return sorted(scores, key=lambda score: score["method"] != best["method"]), best

"""Which decoding method counts: the one with the fewest errors on dev, or the one that was stated beforehand."""

from collections.abc import Sequence
from typing import Any

from egret.base.errors import EgretError, first_few, nearest

KEPT = ("wer", "cer", "ci95", "ref", "ins", "del", "sub", "missing", "ser", "chosen_on", "params", "rtf")


def choose_best(scores: Sequence[dict[str, Any]], dev_part: str, main_method: str, metric: str) -> dict[str, Any]:
    """The content of best.json: the method, its parameters, its score on dev and on each test part.

    Test parts never take part in the choice.

    Args:
      scores: contents of score.json of all decodings.
      dev_part: part on which the method with the lowest `metric` (`wer` or `cer`) is chosen, of equals the first
        by name; empty: there is none.
      main_method: without a dev part, the method that counts; may be empty where there is but one.

    Raises:
      EgretError: nothing was decoded on the dev part, or the method is not among those decoded.
    """
    methods = sorted({score["method"] for score in scores})
    if dev_part:
        on_dev = [score for score in scores if score["part"] == dev_part]
        if not on_dev:
            parts = first_few(sorted({score["part"] for score in scores}))
            raise EgretError(
                f"no decoding of the dev part {dev_part!r} (there are {parts}); decode it or pass --dev-part ''"
            )
        method = min(on_dev, key=lambda score: (score[metric], score["method"]))["method"]
    elif main_method:
        if main_method not in methods:
            raise EgretError(
                f"--main-method {main_method}: not among the methods decoded "
                f"({first_few(methods)}){nearest(main_method, methods)}"
            )
        method = main_method
    elif len(methods) == 1:
        method = methods[0]
    else:
        raise EgretError(f"no dev part to choose among {first_few(methods)}; say --main-method METHOD")
    of_method = {score["part"]: score for score in scores if score["method"] == method}
    shown = {part: {key: score[key] for key in KEPT} for part, score in of_method.items()}
    some = of_method[dev_part] if dev_part else next(iter(of_method.values()))
    return {
        "method": method,
        "params": some["params"],
        "chosen_on": dev_part or "fixed",
        "metric": metric,
        "normaliser": some["normaliser"],
        "dev": shown.pop(dev_part, None) if dev_part else None,
        "test": shown,
    }

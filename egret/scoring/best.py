"""Which decoding method counts: the one with the fewest errors on dev, or the one that was stated beforehand."""

from collections.abc import Sequence
from typing import Any

from egret.base.errors import EgretError, first_few, nearest

KEPT = ("wer", "cer", "ci95", "ref", "ins", "del", "sub", "missing", "ser", "chosen_on", "params", "rtf")


def choose_best(
    scores: Sequence[dict[str, Any]], dev_parts: Sequence[str], main_method: str, metric: str
) -> dict[str, Any]:
    """The content of best.json: the method, its parameters, its score on dev and on each test part.

    Test parts never take part in the choice, and a floor (`floor` in its parameters), which has seen the transcripts,
    is never chosen.

    Args:
      scores: contents of score.json of all decodings.
      dev_parts: parts on which the method with the lowest `metric` (`wer` or `cer`) is chosen, of equals the first
        by name; each counts by its words; empty: there are none.
      main_method: without a dev part, the method that counts; may be empty where there is but one.

    Raises:
      EgretError: nothing was decoded on a dev part, or the method is not among those decoded.
    """
    methods = sorted({score["method"] for score in scores if not score["params"].get("floor")})
    if not methods:
        raise EgretError("nothing but floors was decoded (nbest_oracle), which have seen the transcripts; decode by a "
                         "method, too")  # fmt: skip
    if dev_parts:
        decoded = {score["part"] for score in scores}
        if lacking := [part for part in dev_parts if part not in decoded]:
            raise EgretError(
                f"no decoding of the dev part {lacking[0]!r} (there are {first_few(sorted(decoded))}); decode it or "
                f"leave out --dev-part"
            )
        rates = {name: rate for name in methods if (rate := _rate(scores, name, dev_parts, metric)) is not None}
        if not rates:
            raise EgretError(f"no method was used on all of {first_few(dev_parts)}; decode again")
        method = min(rates, key=lambda name: (rates[name], name))
    elif main_method:
        if any(score["method"] == main_method and score["params"].get("floor") for score in scores):
            raise EgretError(f"--main-method {main_method}: a floor, which looks at the transcripts, is no method")
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
    some = of_method[dev_parts[0]] if dev_parts else next(iter(of_method.values()))
    on_dev = {part: shown.pop(part) for part in dev_parts}
    return {
        "method": method,
        "params": some["params"],
        "chosen_on": " ".join(dev_parts) or "fixed",
        "metric": metric,
        "normaliser": some["normaliser"],
        "dev": on_dev[dev_parts[0]] if len(dev_parts) == 1 else None,
        "dev_parts": on_dev,
        "test": shown,
    }


def _rate(scores: Sequence[dict[str, Any]], method: str, parts: Sequence[str], metric: str) -> float | None:
    """The method's rate on several parts, each weighted by its words; None where it was not used on all of them."""
    of_method = [score for score in scores if score["method"] == method and score["part"] in parts]
    if len(of_method) < len(parts):
        return None
    weights = [max(score["ref"], 1) for score in of_method]
    return sum(score[metric] * weight for score, weight in zip(of_method, weights, strict=True)) / sum(weights)

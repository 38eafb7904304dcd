"""Which decoding method counts: the one with the fewest errors on dev, or the one that was stated beforehand."""

from collections.abc import Sequence
from typing import Any

from egret.base.errors import EgretError, first_few, nearest

KEPT = ("wer", "cer", "mer", "ci95", "ref", "ins", "del", "sub", "missing", "ser", "chosen_on", "params", "rtf")
WRITTEN = ("normaliser", "folded", "latin")  # how the texts were compared
UNITS = {"cer": "characters", "mer": "mixed"}  # where score.json has the counts of a metric; those of words lie open


def only_floors(decodings: Sequence[dict[str, Any]]) -> bool:
    """Whether all have seen the transcripts (`floor` in their parameters), so that none can be the best."""
    return all(each["params"].get("floor") for each in decodings)


def candidates(decodings: Sequence[dict[str, Any]], dev_parts: Sequence[str], main_method: str) -> list[str]:
    """The methods that can be the best one: used on all dev parts, or the one that was stated.

    Args:
      decodings: `part`, `method` and `params` of each.
      dev_parts, main_method: as for `choose_best`.

    Raises:
      EgretError: there are none.
    """
    methods = sorted({each["method"] for each in decodings if not each["params"].get("floor")})
    if not methods:
        raise EgretError("nothing but floors was decoded (nbest_oracle), which have seen the transcripts; decode by a "
                         "method, too")  # fmt: skip
    if dev_parts:
        decoded = {each["part"] for each in decodings}
        if lacking := [part for part in dev_parts if part not in decoded]:
            raise EgretError(
                f"no decoding of the dev part {lacking[0]!r} (there are {first_few(sorted(decoded))}); decode it or "
                f"leave out --dev-part"
            )
        used = {(each["method"], each["part"]) for each in decodings}
        found = [name for name in methods if all((name, part) in used for part in dev_parts)]
        if not found:
            raise EgretError(f"no method was used on all of {first_few(dev_parts)}; decode again")
        return found
    if main_method:
        if any(each["method"] == main_method and each["params"].get("floor") for each in decodings):
            raise EgretError(f"--main-method {main_method}: a floor, which looks at the transcripts, is no method")
        if main_method not in methods:
            raise EgretError(
                f"--main-method {main_method}: not among the methods decoded "
                f"({first_few(methods)}){nearest(main_method, methods)}"
            )
        return [main_method]
    if len(methods) > 1:
        raise EgretError(f"no dev part to choose among {first_few(methods)}; say --main-method METHOD")
    return methods


def choose_best(
    scores: Sequence[dict[str, Any]], dev_parts: Sequence[str], main_method: str, metric: str
) -> dict[str, Any]:
    """The content of best.json: the method, its parameters, its score on dev and on each test part.

    Test parts never take part in the choice, and a floor (`floor` in its parameters), which has seen the transcripts,
    is never chosen.

    Args:
      scores: contents of score.json of all decodings.
      dev_parts: parts on which the method with the lowest `metric` (`wer`, `cer` or `mer`) is chosen, of equals the
        first by name; errors and references of all are added up; empty: there are none.
      main_method: without a dev part, the method that counts; may be empty where there is but one.

    Raises:
      EgretError: nothing was decoded on a dev part, or the method is not among those decoded.
    """
    methods = candidates(scores, dev_parts, main_method)
    method = min(methods, key=lambda name: (_rate(scores, name, dev_parts, metric) if dev_parts else 0.0, name))
    of_method = {score["part"]: score for score in scores if score["method"] == method}
    shown = {part: {key: score[key] for key in KEPT if key in score} for part, score in of_method.items()}
    some = of_method[dev_parts[0]] if dev_parts else next(iter(of_method.values()))
    on_dev = {part: shown.pop(part) for part in dev_parts}
    return {
        "method": method,
        "params": some["params"],
        "chosen_on": " ".join(dev_parts) or "fixed",
        "metric": metric,
        **{key: some[key] for key in WRITTEN if key in some},
        "dev": on_dev[dev_parts[0]] if len(dev_parts) == 1 else None,
        "dev_parts": on_dev,
        "test": shown,
    }


def _rate(scores: Sequence[dict[str, Any]], method: str, parts: Sequence[str], metric: str) -> float:
    """The method's rate on several parts together: all errors over all units of the references."""
    of_method = [score for score in scores if score["method"] == method and score["part"] in parts]
    counts = [score[UNITS[metric]] if metric in UNITS else score for score in of_method]
    wrong = sum(each["ins"] + each["del"] + each["sub"] for each in counts)
    return wrong / max(1, sum(each["ref"] for each in counts))

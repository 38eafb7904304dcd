"""An utterance's reference above its hypothesis, and what else pages have in common that show errors."""

from collections.abc import Collection, Mapping, Sequence

from egret.report.html import Markup, el
from egret.scoring.errors import GAP, Errors, align

WORDS = 300  # columns of an utterance at most: recordings of an hour would make the page too large to open
KINDS = {"i": "inserted", "d": "deleted", "s": "substituted"}


def note(text: str) -> Markup:
    return el("p", text, class_="note")


def worst_first(errors: Mapping[str, Errors], totals: Mapping[str, float], count: int) -> list[str]:
    """The ids with the most errors; of equals the highest error rate, then the least probable hypothesis.

    The last makes a list worth looking at where nothing is wrong.
    """

    def rank(name: str) -> tuple[float, float, float, str]:
        return (-errors[name].total, -errors[name].rate, totals.get(name, -1e9), name)

    return sorted(errors, key=rank)[:count]


def aligned(
    ref: Sequence[str],
    hyp: Sequence[str],
    known: Collection[str] | None = None,
    confidence: Sequence[float] | None = None,
    times: Sequence[tuple[float, float]] | None = None,
) -> Markup:
    """Word above word; each kind of error has its colour, its line and its letter: S, D, I.

    Args:
      known: words of the lexicon, by which those of the reference that it lacks are marked.
      confidence: of each word of the hypothesis, shown below it.
      times: start and duration of each word of the hypothesis in seconds, shown where one points.
    """
    columns = []
    place = 0  # in the hypothesis
    for left, right in list(align(ref, hyp))[:WORDS]:
        kind = "i" if left == GAP else "d" if right == GAP else "s" if left != right else ""
        outside = known is not None and left != GAP and left not in known
        cells = [
            el("span", "·" if left == GAP else left, class_="gap" if left == GAP else "r out" if outside else "r",
               title="not in the lexicon" if outside else None),
            el("span", "·" if right == GAP else right, class_="gap" if right == GAP else "h"),
        ]  # fmt: skip
        said = [KINDS[kind]] if kind else []
        if right != GAP:
            if times:
                said.append(f"{times[place][0]:.2f} to {sum(times[place]):.2f} s")
            if confidence:
                cells.append(el("i", f"{confidence[place]:.2f}", class_="doubt" if confidence[place] < 0.5 else None))
            place += 1
        elif confidence:
            cells.append(el("i"))
        columns.append(el("span", cells, el("b", kind.upper()), class_=f"w {kind}".strip(),
                          title=", ".join(said) or None))  # fmt: skip
    names = [el("span", "ref"), el("span", "hyp"), *([el("i", "sure")] if confidence else []), el("b")]
    more = max(len(ref), len(hyp)) - WORDS
    rest = note(f"and some {more} words more in per_utt.txt") if more > 0 else Markup("")
    return el("div", el("div", el("span", names, class_="w label"), columns, class_="words"), rest)


def legend() -> list[Markup]:
    """What the colours mean."""
    samples = [("s", "SAID", "HEARD", "substituted"), ("d", "SAID", "·", "deleted: it was said and is missing"),
               ("i", "·", "HEARD", "inserted: it was not said")]  # fmt: skip
    found = []
    for kind, ref, hyp, says in samples:
        shown = [el("span", word, class_="gap" if word == "·" else side) for word, side in ((ref, "r"), (hyp, "h"))]
        found.append(el("p", el("span", shown, el("b", kind.upper()), class_=f"w {kind}"), f" {says}"))
    return found

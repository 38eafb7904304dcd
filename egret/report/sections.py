"""Parts of pages that show scores: the table of all, confusions, speakers."""

from collections.abc import Mapping, Sequence
from typing import Any

from egret.report.aligned import note
from egret.report.html import Markup, el, table
from egret.scoring.results import Score
from egret.scoring.tables import GROUP_COLUMNS, score_cells

SHOWN = 15  # confusions of a kind, speakers
CONFUSIONS = {"substitutions": "substitutions (reference -> hypothesis)", "deletions": "deletions",
              "insertions": "insertions"}  # fmt: skip


def scores_table(scores: Sequence[Score], best: Mapping[str, Any]) -> Markup:
    """All methods and parts, those of the best method marked.

    Args:
      best: content of best.json; empty: there is no best method.
    """
    names, rows = score_cells(scores)
    marked = {number for number, score in enumerate(scores) if score["method"] == best.get("method")}
    for number, (score, row) in enumerate(zip(scores, rows, strict=True)):
        row[0] = ("★ " if number in marked else "") + row[0]
        row.append(", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                             for name, value in score["params"].items()))  # fmt: skip
    if best:
        how = "fixed beforehand" if best["chosen_on"] == "fixed" else f"chosen on {best['chosen_on']}"
        said = f"★ {best['method']}, {how}. "
    else:
        said = "There are only floors, which have seen the transcripts, so none is the best. "
    said += "The interval is where 95 % of resamplings of the utterances lie."
    if best.get("note"):
        said = f"{best['note']}. {said}"
    return el("div", table([*names, "parameters"], rows, marked), note(said))


def confusions_section(found: Mapping[str, Any]) -> Markup:
    """The commonest of what details.json has under `confusions`."""
    boxes = []
    for kind, about in found.items():
        rows = [[str(row[-1]), " -> ".join(row[:-1])] for row in about["commonest"][:SHOWN]]
        rest = about["different"] - SHOWN
        content = table(["times", CONFUSIONS[kind]], rows) if rows else note(f"no {kind}")
        boxes.append(el("div", content, note(f"and {rest} more in confusions.txt") if rest > 0 else []))
    return el("div", el("h3", "Commonest confusions"), el("div", boxes, class_="beside"))


def speakers_section(rows: Sequence[Mapping[str, Any]], everyone: Mapping[str, Any]) -> Markup:
    """The worst of what details.json has under `speakers`, and a row for all."""
    cells = [_cells(row["speaker"], row) for row in rows[:SHOWN]] + [_cells("all", everyone)]
    rest = len(rows) - SHOWN
    return el(
        "div",
        el("h3", "Speakers, the highest WER first"),
        table(["speaker", *GROUP_COLUMNS], cells, {len(cells) - 1}),
        note(f"and {rest} more in per_speaker.txt") if rest > 0 else [],
    )


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    counts = (str(row[key]) for key in ("utterances", "words", "ins", "del", "sub"))
    return [name, *counts, f"{row['wer']:.2f}", f"{row['cer']:.2f}"]

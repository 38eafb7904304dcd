"""Two experiments beside each other on the screen."""

from collections.abc import Sequence

from egret.report.compare import Comparison, Experiment
from egret.scoring.paired import LETTERS, tests_table
from egret.scoring.tables import columns, rate, width

WIDEST = 60  # letters of a value
EPOCHS = 20  # rows of the table of epochs, about


def as_text(found: Comparison) -> str:
    """All of it, section by section."""
    names = [f"{letter}: {each.folder}" for letter, each in zip(LETTERS, found.experiments, strict=True)]
    sections = [
        "\n".join(names) + "\n",
        titled("Configuration", differing(found.config) or "the same\n"),
        titled("Software", differing(found.software)),
        titled("Training", differing(found.training)),
        titled("Loss per token", epochs(found)),
        titled("Scores (* the best method of each)", scores(found.experiments)),
        titled("Paired test, by the best method of each", tests_table(found.tests)),
        "".join(f"note: {note}\n" for note in found.notes),
    ]
    return "\n".join(section for section in sections if section)


def titled(title: str, content: str) -> str:
    return f"{title}\n{content}" if content else ""


def differing(rows: Sequence[tuple[str, str, str]]) -> str:
    return columns(["", *LETTERS], [[row[0], *map(short, row[1:])] for row in rows]) if rows else ""


def short(text: str) -> str:
    """What fits beside another one on a line."""
    return text if width(text) <= WIDEST else f"{text[: WIDEST // 2]} ... {text[-WIDEST // 3 :]}"


def epochs(found: Comparison) -> str:
    """Losses of some twenty epochs, the best ones and the last among them."""
    if not found.epochs:
        return ""
    last = len(found.epochs)
    best = {letter: lowest([(epoch.dev[place], epoch.number) for epoch in found.epochs])
            for place, letter in enumerate(LETTERS)}  # fmt: skip
    chosen = {round(1 + step * (last - 1) / max(1, EPOCHS - 1)) for step in range(EPOCHS)}
    chosen |= {each[1] for each in best.values() if each}
    rows = [[str(epoch.number), *map(number, [*epoch.train, *epoch.dev])] for epoch in found.epochs
            if epoch.number in chosen]  # fmt: skip
    said = [f"{letter} {each[0]:.4f} in epoch {each[1]}" for letter, each in best.items() if each]
    table = columns(["epoch", "train A", "train B", "dev A", "dev B"], rows)
    return table + (f"lowest on dev: {', '.join(said)}\n" if said else "")


def lowest(losses: Sequence[tuple[float | None, int]]) -> tuple[float, int] | None:
    """The lowest loss and its epoch, the first of equals."""
    return min(((loss, epoch) for loss, epoch in losses if loss is not None), default=None)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def score_rows(experiments: Sequence[Experiment], mark: str) -> list[list[str]]:
    """Part, method, WER and CER of both, each with its interval, of all that was decoded in either."""
    by_key = [{(score["part"], score["method"]): score for score in each.scores} for each in experiments]
    keys = sorted({key for scores_of in by_key for key in scores_of})
    rows = []
    for part, method in keys:
        cells = []
        for metric in ("wer", "cer"):
            for each, scores_of in zip(experiments, by_key, strict=True):
                score = scores_of.get((part, method))
                best = bool(score) and each.best.get("method") == method
                cells.append(
                    rate(score[metric], score["ci95"][metric]) + (f" {mark}" if best else "") if score else "-"
                )
        floor = any(of[part, method]["params"].get("floor") for of in by_key if (part, method) in of)
        rows.append([part, f"{method} (floor)" if floor else method, *cells])
    return rows


def scores(experiments: Sequence[Experiment]) -> str:
    rows = score_rows(experiments, "*")
    return columns(["part", "method", "WER % A", "WER % B", "CER % A", "CER % B"], rows) if rows else ""

"""Two experiments beside each other on one page."""

from collections.abc import Sequence

from egret.report.compare import Comparison
from egret.report.compare_text import score_rows
from egret.report.curves import Line, Points, chart
from egret.report.html import Markup, el, table
from egret.report.style import document
from egret.scoring.paired import HOW, LETTERS, TEST_COLUMNS, test_rows

LOOKS = ("one", "two")


def make_page(found: Comparison) -> str:
    """The whole page."""
    title = " and ".join(each.folder.resolve().name for each in found.experiments)
    names = [el("div", el("dt", letter), el("dd", str(each.folder)))
             for letter, each in zip(LETTERS, found.experiments, strict=True)]  # fmt: skip
    rows = score_rows(found.experiments, "★")
    test_notes = [f"{test.part}: {test.note}" for test in found.tests if test.note]
    content = [
        el("header", el("h1", title), el("dl", names), notes(found.notes)),
        section("Configuration", differing(found.config) if found.config else notes(["the same"])),
        section("Software", differing(found.software)) if found.software else Markup(""),
        section("Training", differing(found.training)),
        section("Curves", curves(found)),
        section("Scores", el(
            "div", table(["part", "method", "WER % A", "WER % B", "CER % A", "CER % B"], rows),
            notes(["★ the best method of each. The interval is where 95 % of resamplings of the utterances lie."]),
        )) if rows else Markup(""),
        section("Paired test, by the best method of each", el(
            "div", table(TEST_COLUMNS, test_rows(found.tests)), notes([*test_notes, HOW]),
        )) if found.tests else Markup(""),
    ]  # fmt: skip
    return document(f"{title}: compared", content)


def section(title: str, content: Markup) -> Markup:
    return el("section", el("h2", title), content)


def notes(texts: Sequence[str]) -> Markup:
    return el("div", [el("p", text, class_="note") for text in texts])


def differing(rows: Sequence[tuple[str, str, str]]) -> Markup:
    return table(["", *LETTERS], [list(row) for row in rows])


def curves(found: Comparison) -> Markup:
    """Losses by epoch, of training and of dev; learning rate and gradient norm by step."""

    train = [[(float(epoch.number), loss) for epoch in found.epochs if (loss := epoch.train[place]) is not None]
             for place in range(2)]  # fmt: skip
    dev = [[(float(epoch.number), loss) for epoch in found.epochs if (loss := epoch.dev[place]) is not None]
           for place in range(2)]  # fmt: skip

    def recorded(name: str) -> list[Points]:
        return [each.curves.get(name, []) for each in found.experiments]

    def both(lines: list[Points], dots: bool = False) -> list[Line]:
        return [Line(*each, dots=dots) for each in zip(LETTERS, lines, LOOKS, strict=True)]

    charts = [
        chart("Training loss per token", both(train, dots=True), across="epoch"),
        chart("Dev loss per token", both(dev, dots=True), across="epoch"),
        chart("Learning rate", both(recorded("train/lr"))),
        chart("Gradient norm", both(recorded("train/grad_norm"))),
    ]
    return el("div", charts, class_="charts")

"""Rates drawn as bars that lie below each other, for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from egret.report.curves import Scale
from egret.report.html import Markup, el
from egret.scoring.tables import width

ACROSS, ROW = 380, 19  # pixels of the picture's width, and of a bar with the space below
NAME, VALUE = 128, 52  # room for names to the left, for values to the right
LETTERS = 20  # columns of a name that have room


@dataclass(frozen=True)
class Bar:
    """A rate in percent by its name.

    Attributes:
      interval: where it may lie; drawn as a line over the bar.
      mark: another rate that it should be, drawn as a line across.
      said: what one reads where one points.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    mark: float | None = None
    said: str = ""


def bars(title: str, rows: Sequence[Bar], key: str = "") -> Markup:
    """A box with bars of percents, from 0; `key` says what there is to know."""
    if not rows:
        return Markup("")
    most = max(max(row.value, row.mark or 0.0, row.interval[1] if row.interval else 0.0) for row in rows)
    scale = Scale(0.0, most or 1.0, False)
    bottom = ROW * len(rows)

    def x(value: float) -> float:
        return NAME + (ACROSS - NAME - VALUE) * scale.place(value)

    parts = []
    for tick in scale.ticks():
        parts.append(el("line", x1=x(tick), x2=x(tick), y1=0, y2=bottom, class_="grid"))
        parts.append(el("text", f"{tick:g}", x=x(tick), y=bottom + 13, text_anchor="middle"))
    for number, row in enumerate(rows):
        parts.append(_bar(row, number * ROW, x))
    picture = el("svg", parts, viewBox=f"0 0 {ACROSS} {bottom + 18}", role="img", aria_label=title)
    return el("figure", el("figcaption", title), picture, el("p", key, class_="key") if key else [],
              class_="chart bars")  # fmt: skip


def _bar(row: Bar, top: int, x) -> Markup:  # type: ignore[no-untyped-def]
    middle = top + ROW / 2
    end = row.interval[1] if row.interval else row.value
    parts = [
        el("title", f"{row.name}: {row.value:.2f} %{', ' if row.said else ''}{row.said}"),
        el("text", short(row.name), x=NAME - 6, y=middle + 4, text_anchor="end", class_="name"),
        el("rect", x=float(NAME), y=top + 3, width=x(row.value) - NAME, height=ROW - 6),
    ]
    if row.interval:
        low, high = map(x, row.interval)
        parts.append(el("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
    if row.mark is not None:
        parts.append(el("line", x1=x(row.mark), x2=x(row.mark), y1=top + 1, y2=top + ROW - 1, class_="mark"))
        end = max(end, row.mark)
    parts.append(el("text", f"{row.value:.2f}", x=x(end) + 4, y=middle + 4))
    return el("g", parts)


def short(name: str) -> str:
    """What there is room for of a name, its end cut off."""
    if width(name) <= LETTERS:
        return name
    while width(name) >= LETTERS:
        name = name[:-1]
    return name + "…"

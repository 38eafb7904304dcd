"""How training went: what it told TensorBoard, drawn as SVG."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.report.html import Markup, el

Points = list[tuple[float, float]]
WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 34
BINS = 240  # points that a line is drawn with at most
LOG_FROM = 20.0  # ratio of largest to smallest value from which the axis is logarithmic


def read_curves(folder: Path) -> dict[str, Points]:
    """(step, value) of every scalar by name, such as `train/loss`, of all event files in a folder.

    Raises:
      EgretError: TensorBoard is not installed, or there is nothing to read.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise EgretError("TensorBoard is not installed, so its events cannot be read") from None
    if not any(folder.glob("events.*")):
        raise EgretError(f"{folder}: no TensorBoard events")
    # What a run that was killed wrote after its last checkpoint is dropped, as it should be: no reason for a warning.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: keep all
    events.Reload()
    found = {}
    for name in events.Tags()["scalars"]:
        points = [(float(event.step), float(event.value)) for event in events.Scalars(name)]
        found[name] = [point for point in points if math.isfinite(point[1])]
    return found


@dataclass(frozen=True)
class Line:
    """A curve: its name, its points in the order of their steps, the class that gives it its look, dots or none."""

    name: str
    points: Points
    look: str
    dots: bool = False


def curves_section(curves: dict[str, Points]) -> Markup:
    """Loss, learning rate and gradient norm, each in a box."""
    charts = [
        chart("Loss per token (train: of augmented speech, with any intermediate loss)", [
            Line("train, each step", curves.get("train/loss", []), "faint"),
            Line("train, epoch", curves.get("train/epoch_loss", []), "one", dots=True),
            Line("dev", curves.get("dev/loss", []), "two", dots=True),
        ]),
        chart("Learning rate", [Line("", curves.get("train/lr", []), "one")]),
        chart("Gradient norm", [Line("", curves.get("train/grad_norm", []), "one")]),
    ]  # fmt: skip
    return el("div", charts, class_="charts")


def chart(title: str, lines: Iterable[Line], across: str = "step") -> Markup:
    """A box with one or more curves over the steps (or what `across` says), lines with a band from the least to the
    largest of each bin."""
    lines = [line for line in lines if line.points]
    if not lines:
        return el("figure", el("figcaption", f"{title}: not recorded"), class_="chart")
    last = max(point[0] for line in lines for point in line.points)
    values = [point[1] for line in lines for point in line.points]
    scale = Scale.of(min(values), max(values))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1.0, last)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale.place(value)

    parts = []
    for value in scale.ticks():
        parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(value), y2=y(value), class_="grid"))
        parts.append(el("text", f"{value:.3g}", x=LEFT - 5, y=y(value) + 4, text_anchor="end"))
    for value in Scale(0.0, max(1.0, last), False).ticks():
        parts.append(el("text", f"{value:g}", x=x(value), y=HEIGHT - BOTTOM + 15, text_anchor="middle"))
    parts.append(el("text", across, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end"))
    for line in lines:
        bins = binned(line.points)
        if any(low < high for _, _, low, high in bins):
            upper = [(x(step), y(high)) for step, _, _, high in bins]
            lower = [(x(step), y(low)) for step, _, low, _ in reversed(bins)]
            parts.append(el("polygon", points=_joined(upper + lower), class_=f"band {line.look}"))
        parts.append(el("polyline", points=_joined((x(step), y(mean)) for step, mean, _, _ in bins), class_=line.look))
        if line.dots and len(bins) <= 60:
            parts += [el("circle", cx=x(step), cy=y(mean), r=2.5, class_=line.look) for step, mean, _, _ in bins]
    key = [el("span", el("i", class_=line.look), f"{line.name}, last {line.points[-1][1]:.4g}")
           for line in lines if line.name]  # fmt: skip
    picture = el("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return el("figure", el("figcaption", title), picture, el("p", key, class_="key"), class_="chart")


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def binned(points: Points) -> list[tuple[float, float, float, float]]:
    """(step, mean, least, largest) of neighbours, so that a long training takes no more room than a short one."""
    size = -(-len(points) // BINS)
    groups = (points[first : first + size] for first in range(0, len(points), size))
    found = []
    for group in groups:
        values = [value for _, value in group]
        found.append((group[-1][0], sum(values) / len(values), min(values), max(values)))
    return found


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, logarithmic or not."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, low: float, high: float) -> "Scale":
        """An axis for values from `low` to `high`: from 0 where that leaves room to see them."""
        if low > 0 and high / low >= LOG_FROM:
            return cls(low, high, True)
        low = 0.0 if 0 <= low < high / 2 or 0 < low == high else low
        room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        return cls(low if low == 0 else low - room, high + room, False)

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers, three to eight of them."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(powers) <= 3 else (1,) if len(powers) <= 8 else ()
            found = [step * 10.0**power for power in powers for step in steps]
            found = found or [10.0**power for power in powers[:: -(-len(powers) // 6)]]
            return [value for value in found if self.low <= value <= self.high]
        size = 10.0 ** math.floor(math.log10((self.high - self.low) / 3))
        size *= next(step for step in (5, 2, 1) if (self.high - self.low) / (size * step) >= 3)
        first, last = math.ceil(self.low / size), math.floor(self.high / size)
        return [number * size for number in range(first, last + 1)]

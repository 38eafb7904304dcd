"""An utterance over time: its spectrogram, and below it rows of tokens."""

from dataclasses import dataclass

import numpy as np

from egret.report.html import Markup, data_uri, el
from egret.report.png import heat_map

SECOND = 200  # pixels
AXIS, SPECTRUM, TITLE, BOX = 16, 120, 15, 15  # heights
MARGIN = 24  # to the right, for the name of a token at the end
LETTER = 6.6  # width that a letter takes, about
LEVELS = 3  # tokens that lie close stand below each other
UNSURE = 0.1  # a probability below this is marked


@dataclass(frozen=True)
class Token:
    """A token from `start` to `end` (seconds) and its probability."""

    name: str
    start: float
    end: float
    probability: float


def picture(features: np.ndarray, duration: float, rows: list[tuple[str, list[Token]]]) -> Markup:
    """A spectrogram of features [T, C] that last `duration` seconds, with titled rows of tokens below."""
    width = max(duration * SECOND, 40.0)
    parts = _axis(duration)
    parts.append(el("image", href=data_uri("image/png", heat_map(features)), x=0, y=AXIS, width=width, height=SPECTRUM,
                    preserveAspectRatio="none"))  # fmt: skip
    top = float(AXIS + SPECTRUM)
    for title, tokens in rows:
        parts.append(el("text", title, x=2, y=top + 11, class_="title"))
        placed = levels(tokens)
        for token, level in zip(tokens, placed, strict=True):
            parts += _box(token, top + TITLE + level * BOX)
        top += TITLE + BOX * (max(placed, default=0) + 1)
    parts.append(el("line", x1=0, x2=0, y1=AXIS, y2=top, class_="cursor"))
    across, down = width + MARGIN, top + 2
    drawing = el("svg", parts, width=across, height=down, viewBox=f"0 0 {across:.1f} {down:g}", data_second=SECOND,
                 role="img", aria_label="spectrogram with tokens")  # fmt: skip
    return el("div", drawing, class_="wide picture", tabindex="0")


def levels(tokens: list[Token]) -> list[int]:
    """For each token the first level where its name does not cover the one before, else that with the most room."""
    free = [0.0] * LEVELS
    found = []
    for token in tokens:
        left = token.start * SECOND
        level = next((level for level in range(LEVELS) if free[level] <= left), free.index(min(free)))
        free[level] = max(token.end * SECOND, left + LETTER * len(label(token)) + 6)
        found.append(level)
    return found


def label(token: Token) -> str:
    """A token's name; a question mark where the model does not believe in it."""
    return f"{token.name}?" if token.probability < UNSURE else token.name


def described(token: Token) -> str:
    return f"{token.name}  {token.start:.2f} to {token.end:.2f} s, probability {token.probability:.2f}"


def _box(token: Token, top: float) -> list[Markup]:
    left, width = token.start * SECOND, max(2.0, (token.end - token.start) * SECOND)
    return [
        el("g", el("title", described(token)),
           el("rect", x=left, y=top, width=width, height=BOX - 2, fill_opacity=f"{0.08 + 0.6 * token.probability:.2f}",
              class_="unsure" if token.probability < UNSURE else None),
           el("text", label(token), x=left + 2, y=top + 10)),
    ]  # fmt: skip


def _axis(duration: float) -> list[Markup]:
    parts = []
    for tenth in range(0, int(duration * 10) + 1, 5):
        place = tenth / 10 * SECOND
        parts.append(el("line", x1=place, x2=place, y1=AXIS - (6 if tenth % 10 else 12), y2=AXIS, class_="tick"))
        if tenth % 10 == 0:
            parts.append(el("text", f"{tenth // 10} s", x=place + 3, y=11))
    return parts

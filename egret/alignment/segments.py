"""A long recording whose words have times as segments, each a Lhotse cut: what models are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from egret.alignment.options import SegmentOptions

Word = dict[str, Any]
NEW = 1.0  # what one more segment costs
NO_PAUSE = 10.0  # what it costs more where there is no pause at all
LONG_PAUSE = 0.5  # what it costs less at a pause of a second or more


@dataclass(frozen=True)
class Segment:
    """Words `first` to before `last`, and from when to when they are cut out, in seconds.

    Attributes:
      doubtful: at one of them the model hears something else, or beside one.
    """

    first: int
    last: int
    start: float
    end: float
    doubtful: bool = False


def divide(words: Sequence[Word], duration: float, options: SegmentOptions) -> list[Segment]:
    """Segments of at most `options.max_seconds`, as few as can be and at the longest pauses, but a word that is longer
    is one by itself. By dynamic programming over the word that a segment ends with.

    Words with less agreement than `options.min_agreement` are kept apart from the others, together with the word on
    either side, whose times they may have shifted.
    """
    low = [word["agreement"] < options.min_agreement for word in words]
    doubtful = [any(low[max(0, place - 1) : place + 2]) for place in range(len(words))]
    starts = [word["start"] for word in words]
    ends = [word["start"] + word["duration"] for word in words]
    pauses = [0.0, *(start - end for end, start in zip(ends[:-1], starts[1:], strict=True))]
    # Where a segment may end before each word, and begin, to the millisecond.
    edges = [(0.0, round(max(0.0, starts[0] - options.margin), 3))]
    for end, start, pause in zip(ends[:-1], starts[1:], pauses[1:], strict=True):
        margin = min(options.margin, pause / 2)
        edges.append((round(end + margin, 3), round(start - margin, 3)))
    edges.append((round(min(duration, ends[-1] + options.margin), 3), duration))
    best, origin = [0.0], [0]
    for last in range(1, len(words) + 1):
        choices = []
        for first in range(last - 1, -1, -1):
            too_long = first < last - 1 and edges[last][0] - edges[first][1] > options.max_seconds
            if too_long or doubtful[first] != doubtful[last - 1]:
                break
            choices.append((best[first] + (_cost(pauses[first], options.min_pause) if first else 0.0), first))
        cost, first = min(choices)
        best.append(cost)
        origin.append(first)
    bounds = [len(words)]
    while bounds[-1]:
        bounds.append(origin[bounds[-1]])
    return [
        Segment(first, last, edges[first][1], edges[last][0], doubtful[first]) for first, last in pairwise(bounds[::-1])
    ]


def _cost(pause: float, enough: float) -> float:
    return NEW + NO_PAUSE * max(0.0, 1 - pause / enough) - LONG_PAUSE * min(pause, 1.0)


def as_cut(
    cut: dict[str, Any], number: int, segment: Segment, words: Sequence[Word], custom: dict[str, str] | None = None
) -> dict[str, Any]:
    """A segment of a cut as a Lhotse MonoCut; `words` are its own, and `custom` what its supervision says besides. It
    has no features: stage 1 makes them.

    Times in it are from its own beginning, and the words are the supervision's alignment.
    """
    name = f"{cut['id']}-{number:05d}"
    duration = round(segment.end - segment.start, 3)
    said = [[word["word"], round(word["start"] - segment.start, 3), word["duration"], word["confidence"]]
            for word in words]  # fmt: skip
    about = {key: value for key, value in cut["supervisions"][0].items() if key in ("speaker", "language", "gender")
             and all(each.get(key) == value for each in cut["supervisions"])}  # fmt: skip
    supervision = {
        "id": name,
        "recording_id": cut["recording"]["id"],
        "start": 0.0,
        "duration": duration,
        "channel": cut["channel"],
        "text": " ".join(word["word"] for word in words),
        **about,
        "alignment": {"word": said},
        **({"custom": custom} if custom else {}),
    }
    return {
        "id": name,
        "start": round(cut["start"] + segment.start, 3),
        "duration": duration,
        "channel": cut["channel"],
        "supervisions": [supervision],
        "recording": cut["recording"],
        "custom": {"confidence": min(word["agreement"] for word in words)},
        "type": "MonoCut",
    }

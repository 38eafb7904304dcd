"""Frames of an alignment as seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

from egret.graph.viterbi import Span


@dataclass(frozen=True)
class Clock:
    """Frames of the model's output as seconds.

    Attributes:
      shift: of a frame.
      end: of the utterance.
      widen: by how much a token is taken to be longer on either side, at most half of the blanks beside it.
    """

    shift: float
    end: float
    widen: float = 0.0

    def times(self, spans: Sequence[Span]) -> list[tuple[float, float]]:
        """Start and end of each token, to the millisecond."""
        last = round(self.end / self.shift)
        found = []
        for place, span in enumerate(spans):
            before = spans[place - 1].end if place else -span.start
            after = spans[place + 1].start if place + 1 < len(spans) else 2 * max(last, span.end) - span.end
            start = span.start * self.shift - min(self.widen, (span.start - before) * self.shift / 2)
            end = span.end * self.shift + min(self.widen, (after - span.end) * self.shift / 2)
            found.append((round(min(max(start, 0.0), self.end), 3), round(min(end, self.end), 3)))
        return found

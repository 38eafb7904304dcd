"""Forced alignment: the most probable CTC path that spells a text (Graves et al. 2006; Kürzinger et al. 2020).

What was said is given as slots, one after the other, each with alternatives, each a sequence of token ids: a word's
pronunciations, or silence and nothing. A plain sequence of tokens is `plain(tokens)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egret.base.errors import EgretError

BLANK = 0
Slot = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Span:
    """A token's frames `start` to `end` (exclusive), and its mean log probability over them."""

    token: int
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Alignment:
    """The tokens in their order, and the log probability of the whole path, its blanks included."""

    spans: list[Span]
    score: float


@dataclass(frozen=True)
class _Topology:
    """States of the CTC automaton, sorted so that each but for its loop is entered from earlier ones only.

    Attributes:
      labels: int64 [S], the token that a state emits at each frame.
      before: int64 [S, K], the states it is entered from, itself among them; filled up with S, a state never reached.
      starts: bool [S], where a path may begin.
      ends: int64 [E], where it may end.
      frames: the fewest frames that a path can have.
    """

    labels: np.ndarray
    before: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    frames: int


def plain(tokens: Sequence[int]) -> list[Slot]:
    """Slots of a sequence without alternatives."""
    return [[[token]] for token in tokens]


def align(log_probs: np.ndarray, slots: Sequence[Slot]) -> Alignment:
    """The most probable path through the alternatives.

    Args:
      log_probs: float [T, V], logarithms of token probabilities; blank is 0.

    Raises:
      EgretError: there are fewer frames than the tokens need (one for each, and a blank between two equal ones), or
        the path has no probability.
    """
    topology = _expand(slots)
    frames, states = len(log_probs), len(topology.labels)
    if frames < topology.frames:
        raise EgretError(f"too short to align: {frames} frames, the tokens and their repeats need {topology.frames}")
    if not frames:
        return Alignment([], 0.0)
    emitted = np.asarray(log_probs, dtype=np.float64)[:, topology.labels]
    best = np.full(states + 1, -np.inf)  # the last is the state never reached
    best[:-1] = np.where(topology.starts, emitted[0], -np.inf)
    came = np.zeros((frames, states), dtype=np.int64)
    every = np.arange(states)
    for frame in range(1, frames):
        entered = best[topology.before]
        choice = entered.argmax(axis=1)
        came[frame] = topology.before[every, choice]
        best[:-1] = entered[every, choice] + emitted[frame]
    state = int(topology.ends[best[topology.ends].argmax()])
    score = float(best[state])
    if score == -np.inf:
        raise EgretError("cannot be aligned: the model gives its tokens no probability")
    path = [state]
    for frame in range(frames - 1, 0, -1):
        path.append(int(came[frame, path[-1]]))
    return Alignment(_spans(path[::-1], topology.labels, emitted), score)


def _expand(slots: Sequence[Slot]) -> _Topology:
    """A state for each token, in which it lasts, and one for the blank after it; blanks may be left out between
    different tokens. State 0 is the blank that may come first."""
    nowhere = -1  # before the first frame
    labels, before, depth = [BLANK], [[nowhere, 0]], {nowhere: 0, 0: 1}

    def add(label: int, entered: list[int]) -> int:
        state = len(labels)
        labels.append(label)
        before.append([*entered, state])
        depth[state] = 1 + min(depth[each] for each in entered)
        return state

    reached = [nowhere, 0]
    for slot in slots:
        left: list[int] = []
        for tokens in slot:
            here = reached
            for token in tokens:
                spoken = add(token, [state for state in here if state == nowhere or labels[state] != token])
                here = [spoken, add(BLANK, [spoken])]
            left += here
        reached = list(dict.fromkeys(left))  # two empty alternatives lead to the same place
    table = np.full((len(labels), max(map(len, before))), len(labels))
    for state, entered in enumerate(before):
        known = [each for each in entered if each != nowhere]
        table[state, : len(known)] = known
    starts = np.array([nowhere in entered for entered in before])
    ends = np.array([state for state in reached if state != nowhere])
    return _Topology(np.array(labels), table, starts, ends, min(depth[state] for state in reached))


def _spans(path: list[int], labels: np.ndarray, emitted: np.ndarray) -> list[Span]:
    spans = []
    first = 0
    for frame in range(1, len(path) + 1):
        if frame == len(path) or path[frame] != path[first]:
            state = path[first]
            if labels[state] != BLANK:
                spans.append(Span(int(labels[state]), first, frame, float(emitted[first:frame, state].mean())))
            first = frame
    return spans

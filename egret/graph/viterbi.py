"""Forced alignment: the most probable CTC path that spells a text (Graves et al. 2006), of many utterances at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from egret.base.errors import EgretError
from egret.graph.automaton import BLANK, Automaton, expand
from egret.lang.transcript import Slot


@dataclass(frozen=True)
class Span:
    """A token's frames `start` to `end` (exclusive), its mean log probability over them, and the slot it is of."""

    token: int
    start: int
    end: int
    score: float
    slot: int = -1


@dataclass(frozen=True)
class Alignment:
    """The tokens in their order, and the log probability of the whole path with its blanks; -inf: there is none."""

    spans: list[Span]
    score: float


def align(log_probs: np.ndarray, slots: Sequence[Slot], modified: bool = False) -> Alignment:
    """The most probable path through the alternatives.

    Args:
      log_probs: float [T, V], logarithms of token probabilities; blank is 0.
      modified: by k2's modified topology.

    Raises:
      EgretError: there are fewer frames than the tokens need (one for each, and a blank between two equal ones), or
        the path has no probability.
    """
    automaton = expand(slots, modified)
    if len(log_probs) < automaton.frames:
        raise EgretError(f"too short to align: {len(log_probs)} frames, the tokens and their repeats need "
                         f"{automaton.frames}")  # fmt: skip
    if not len(log_probs):
        return Alignment([], 0.0)
    [found] = align_batch(log_probs[None], [len(log_probs)], [automaton])
    if found.score == -np.inf:
        raise EgretError("cannot be aligned: the model gives its tokens no probability")
    return found


def align_batch(log_probs: np.ndarray, lengths: Sequence[int], automata: Sequence[Automaton]) -> list[Alignment]:
    """The most probable path of each utterance through its automaton; a score of -inf where there is none.

    The automata are walked as one, so that a frame costs a few operations whatever the number of utterances.

    Args:
      log_probs: float [N, T, V], anything beyond an utterance's end.
      lengths: N frames, at least 1.
      automata: N of them.
    """
    firsts = np.cumsum([0, *(len(found.labels) for found in automata)])  # states of the automaton of all
    sources = np.concatenate([found.sources + first for found, first in zip(automata, firsts[:-1], strict=True)])
    begins = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(found.splits) for found in automata]))])[:-1]
    starts = np.concatenate([found.starts for found in automata])
    _, frames, tokens = log_probs.shape
    values = log_probs.reshape(-1)
    emitted = np.concatenate([row * frames * tokens + found.labels for row, found in enumerate(automata)])
    scores = np.empty((max(lengths), len(starts)))
    scores[0] = np.where(starts, values[emitted], -np.inf)
    for frame in range(1, len(scores)):
        np.maximum.reduceat(scores[frame - 1, sources], begins, out=scores[frame])
        scores[frame] += values[emitted + frame * tokens]
    return [
        _traced(scores[:length, first : first + len(found.labels)], found, log_probs[row])
        for row, (length, first, found) in enumerate(zip(lengths, firsts[:-1], automata, strict=True))
    ]


def _traced(scores: np.ndarray, automaton: Automaton, log_probs: np.ndarray) -> Alignment:
    """The best path by the scores [T, S] of the best ones into each state."""
    state = int(automaton.ends[scores[-1, automaton.ends].argmax()])
    path = np.empty(len(scores), dtype=np.int64)
    path[-1] = state
    for frame in range(len(scores) - 2, -1, -1):
        entered = automaton.entered(state)
        state = path[frame] = int(entered[scores[frame, entered].argmax()])
    return alignment(path, automaton, log_probs, float(scores[-1, path[-1]]))


def alignment(path: np.ndarray, automaton: Automaton, log_probs: np.ndarray, score: float) -> Alignment:
    """The tokens along a path of states [T], with their log probabilities out of [T, V]."""
    if score == -np.inf:
        return Alignment([], score)
    edges = [0, *(np.flatnonzero(path[1:] != path[:-1]) + 1).tolist(), len(path)]
    spans = []
    for first, end in pairwise(edges):
        state = path[first]
        if automaton.labels[state] != BLANK:
            token = int(automaton.labels[state])
            mean = float(log_probs[first:end, token].mean(dtype=np.float64))
            spans.append(Span(token, first, end, mean, int(automaton.slots[state])))
    return Alignment(spans, score)

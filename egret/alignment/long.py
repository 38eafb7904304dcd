"""Long recordings with long texts: the encoder in chunks, and the best path with memory that does not grow as frames
times states (for the idea Kürzinger et al. 2020, "CTC-segmentation of large corpora", arXiv:2007.09127)."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from egret.base.log import log, progress
from egret.graph.automaton import Automaton
from egret.graph.viterbi import Alignment, alignment
from egret.models.model import JointModel

WIDER = 4.0  # how much the beam grows where it has left no path


@torch.no_grad()
def heard_in_chunks(
    model: JointModel, features: np.ndarray, chunk: int, overlap: int, at_once: int, what: str
) -> np.ndarray:
    """CTC's log probabilities [T', V] of features [T, C] of a whole recording.

    Each chunk is heard together with what is before and after it, whose outputs are left out: where that is all that an
    output of the encoder sees, they are those of the whole.

    Args:
      chunk, overlap: frames of features; rounded up so that outputs begin with chunks.
      at_once: chunks in a batch.
      what: is said of progress.
    """
    stride = math.prod(model.encoder.strides)
    chunk, overlap = (math.ceil(frames / stride) * stride for frames in (chunk, overlap))
    total = len(features)
    x = model.normalise(torch.from_numpy(features)[None], torch.tensor([total]))[0]
    extents = [(max(0, first - overlap), first, min(first + chunk, total), min(first + chunk + overlap, total))
               for first in range(0, total, chunk)]  # fmt: skip
    found = []
    begins = range(0, len(extents), at_once)
    for begin in progress(begins, len(begins), what):
        batch = extents[begin : begin + at_once]
        lengths = torch.tensor([after - before for before, _, _, after in batch])
        padded = torch.nn.utils.rnn.pad_sequence([x[before:after] for before, _, _, after in batch], batch_first=True)
        encoded, _, _ = model.encoder(padded, lengths)
        for log_probs, (before, first, last, _) in zip(model.log_probs(encoded), batch, strict=True):
            skipped = (first - before) // stride
            found.append(log_probs[skipped : skipped + math.ceil((last - first) / stride)].numpy())
    return np.concatenate(found)


def align_long(log_probs: np.ndarray, automaton: Automaton, beam: float = math.inf) -> Alignment:
    """The most probable path of one utterance, as `egret.graph.viterbi.align_batch` finds it.

    States are kept in one window, outside which all are worse than the best by more than the beam. Of the scores of
    paths only those at the beginning of each of the square root of T blocks of frames are remembered; those within
    a block are found again when the way back has come to it.

    Args:
      log_probs: float [T, V], at least one frame.
      beam: natural logarithm; infinite: the path is surely the best.
    """
    while True:
        found = _align(log_probs, automaton, beam)
        if found.score > -np.inf or beam == math.inf:
            return found
        beam = beam * WIDER if beam < 1e5 else math.inf
        log.info("no path is left within the beam; trying again with %g", beam)


class _Search:
    """Scores of the best path into each state of a window, frame by frame."""

    def __init__(self, log_probs: np.ndarray, automaton: Automaton, beam: float) -> None:
        self.log_probs, self.automaton, self.beam = log_probs, automaton, beam
        states = len(automaton.labels)
        self.scores = np.full(states, -np.inf)  # of the frame before, outside of the window never reached
        destinations = np.repeat(np.arange(states), np.diff(automaton.splits))
        farthest = np.zeros(states, dtype=np.int64)
        np.maximum.at(farthest, automaton.sources, destinations)
        self.reach = np.maximum.accumulate(farthest) + 1

    def start(self) -> tuple[int, np.ndarray]:
        """The window at the first frame: its first state, and the scores of it and those after it."""
        emitted = self.log_probs[0, self.automaton.labels].astype(np.float64)
        return self._pruned(0, np.where(self.automaton.starts, emitted, -np.inf))

    def step(self, frame: int, low: int, window: np.ndarray) -> tuple[int, np.ndarray]:
        """The window at a frame, from that at the one before."""
        high = low + len(window)
        end = int(self.reach[high - 1])
        splits = self.automaton.splits[low : end + 1]
        self.scores[low:high] = window
        entered = self.scores[self.automaton.sources[splits[0] : splits[-1]]]
        self.scores[low:high] = -np.inf
        best = np.maximum.reduceat(entered, splits[:-1] - splits[0])
        return self._pruned(low, best + self.log_probs[frame, self.automaton.labels[low:end]])

    def _pruned(self, low: int, scores: np.ndarray) -> tuple[int, np.ndarray]:
        alive = np.flatnonzero(scores > scores.max() - self.beam)
        if not len(alive):
            return low, scores[:1]  # no path has any probability
        return low + int(alive[0]), scores[alive[0] : alive[-1] + 1]

    def windows(self, first: int, last: int, low: int, window: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Those at the frames from `first`, which is given, to before `last`."""
        yield low, window
        for frame in range(first + 1, last):
            low, window = self.step(frame, low, window)
            yield low, window


def _align(log_probs: np.ndarray, automaton: Automaton, beam: float) -> Alignment:
    frames = len(log_probs)
    block = math.isqrt(frames - 1) + 1
    search = _Search(log_probs, automaton, beam)
    kept = []
    for frame, (low, window) in enumerate(search.windows(0, frames, *search.start())):
        if frame % block == 0:
            kept.append((low, window))
    ends = automaton.ends[(automaton.ends >= low) & (automaton.ends < low + len(window))]
    if not len(ends) or window[ends - low].max() == -np.inf:
        return Alignment([], -np.inf)
    state = int(ends[window[ends - low].argmax()])
    score = float(window[state - low])
    path = np.empty(frames, dtype=np.int64)
    for number in range(len(kept) - 1, -1, -1):
        first = number * block
        last = min(first + block, frames)
        windows = list(search.windows(first, last, *kept[number]))
        for frame in range(last - 1, first - 1, -1):
            if frame < frames - 1:  # `state` is that of the frame after
                low, window = windows[frame - first]
                entered = automaton.entered(state)
                entered = entered[(entered >= low) & (entered < low + len(window))]
                state = int(entered[window[entered - low].argmax()])
            path[frame] = state
    return alignment(path, automaton, log_probs, score)

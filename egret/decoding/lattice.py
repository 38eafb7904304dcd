"""Lattices as plain tables, and the best word sequences in them; nothing here needs k2.

Every arc of a lattice takes one frame, so its states are in layers by frame, and all utterances of a batch go from
layer to layer together. The search is exact: a state keeps its best histories that differ in their words, as many as
are asked for in the end, and no other can be among the best of the whole (Chow and Schwartz 1989, "The N-best
algorithm").
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from egret.graph.arcs import FINAL_LABEL
from egret.graph.ragged import Ragged, ranges

PRUNED = "histories_pruned"  # when scores were changed, only the best histories could be followed
PARTIAL = "partial"  # no path that was found ends where the graph may end
AT_ONCE = 1 << 20  # hypotheses that are compared at a time, which bounds the memory
LOWEST = -1e30  # instead of infinity, of which differences would be no numbers
SLACK = 1e-6  # of the additions
HASH_BASE = np.uint64(0x9E3779B97F4A7C15)
HASH_MIX = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Lattice:
    """The lattices of N utterances, A arcs in all, ordered by layer and within it by source state.

    Attributes:
      starts: the first state of each utterance, int64 [N]; -1 where there is no path.
      sources, destinations: states of all utterances, int64 [A].
      labels: the token that each arc begins, or 0; -1 on the arcs into a final state, int64 [A].
      words: ids of the words that each arc says.
      acoustic: logarithms of the model's probabilities, float64 [A].
      graph: scores of the graph, float64 [A].
      owners: the utterance of each arc, int64 [A].
      bounds: the first arc of each layer, and A.
      passed_over: score of the frames of each utterance that were not searched, float64 [N].
      added: what hot words add to the score, float64 [A].
      before: the scores of the graph that those of a larger n-gram took the place of, float64 [A], where they did.
      marks: what is to be said of utterances in their rows of hyp.jsonl (PRUNED, PARTIAL), and of which.
    """

    starts: np.ndarray
    sources: np.ndarray
    destinations: np.ndarray
    labels: np.ndarray
    words: Ragged
    acoustic: np.ndarray
    graph: np.ndarray
    owners: np.ndarray
    bounds: np.ndarray
    passed_over: np.ndarray
    added: np.ndarray
    before: np.ndarray | None = None
    marks: Mapping[str, Collection[int]] = field(default_factory=dict)

    def shared(self, share: float) -> "Lattice":
        """With so much of the larger n-gram's scores, and the rest of those that they took the place of."""
        if self.before is None:  # there is no path, and nothing was changed
            return self
        return replace(self, graph=share * self.graph + (1 - share) * self.before, before=None)

    def weighed(self, graph_scale: float, word_score: float) -> np.ndarray:
        """The score of each arc, float64 [A]."""
        return self.acoustic + graph_scale * self.graph + word_score * self.words.counts + self.added

    def of(self, utterances: range, scores: np.ndarray) -> tuple["Lattice", np.ndarray]:
        """The lattices of some utterances, and of the arcs' scores theirs; the others have no path."""
        kept = (self.owners >= utterances.start) & (self.owners < utterances.stop)
        places = np.flatnonzero(kept)
        starts = np.full(len(self.starts), -1)
        starts[utterances.start : utterances.stop] = self.starts[utterances.start : utterances.stop]
        bounds = np.concatenate([[0], np.cumsum(kept)])[self.bounds]
        part = Lattice(starts, self.sources[places], self.destinations[places], self.labels[places],
                       self.words.take(places), self.acoustic[places], self.graph[places], self.owners[places], bounds,
                       self.passed_over, self.added[places], marks=self.marks)  # fmt: skip
        return part, scores[places]

    def groups(self, most: int) -> Iterator[range]:
        """All utterances, in groups that together have at most so many arcs in a layer, or of one utterance."""
        widths = np.zeros(len(self.starts), np.int64)
        for begin, end in self.layers:
            widths = np.maximum(widths, np.bincount(self.owners[begin:end], minlength=len(widths)))
        first = 0
        for place in range(1, len(widths) + 1):
            if place == len(widths) or widths[first : place + 1].sum() > most:
                yield range(first, place)
                first = place

    @property
    def layers(self) -> Iterator[tuple[int, int]]:
        """The first arc of each layer, and that after its last."""
        return pairwise(self.bounds.tolist())


def make_lattice(
    starts: np.ndarray, sources: np.ndarray, destinations: np.ndarray, labels: np.ndarray, words: Ragged,
    acoustic: np.ndarray, graph: np.ndarray, owners: np.ndarray, passed_over: np.ndarray | None = None,
) -> Lattice:  # fmt: skip
    """A lattice of arcs in the order of their source states; those that no start leads to are left out."""
    layers: list[np.ndarray] = []
    states = np.unique(starts[starts >= 0])
    while len(states):
        first = np.searchsorted(sources, states, "left")
        layers.append(ranges(first, np.searchsorted(sources, states, "right") - first))
        states = np.unique(destinations[layers[-1]])
    order = np.concatenate([*layers, np.zeros(0, np.int64)])
    bounds = np.cumsum([0, *map(len, layers)])
    passed_over = np.zeros(len(starts)) if passed_over is None else passed_over
    return Lattice(starts, sources[order], destinations[order], labels[order], words.take(order), acoustic[order],
                   graph[order], owners[order], bounds, passed_over, np.zeros(len(order)))  # fmt: skip


@dataclass(frozen=True)
class Path:
    """A word sequence and the best way of saying it: ids of words and tokens, and what its score is made of."""

    words: list[int]
    tokens: list[int]
    acoustic: float
    graph: float
    added: float = 0.0
    marks: tuple[str, ...] = ()  # of its lattice

    def total(self, graph_scale: float, word_score: float) -> float:
        return self.acoustic + graph_scale * self.graph + word_score * len(self.words) + self.added


def best_paths(
    lattice: Lattice, graph_scale: float, word_score: float, count: int = 1, beam: float = math.inf
) -> list[list[Path]]:
    """The best `count` different word sequences of each utterance by their best paths, the best first, none worse than
    the first by more than `beam`; none where the lattice has no path."""
    scores = lattice.weighed(graph_scale, word_score)
    worth = remaining(lattice, scores, beam) if count > 1 and math.isfinite(beam) else None
    groups = list(lattice.groups(AT_ONCE // count))
    found: list[list[Path]] = []
    for group in groups:
        part, chosen = (lattice, scores) if len(groups) == 1 else lattice.of(group, scores)
        found += _best_paths(part, chosen, count, worth)[group.start : group.stop]
    return found


def remaining(lattice: Lattice, scores: np.ndarray, beam: float) -> np.ndarray:
    """Of each state the best score from there to the end, less the least that a whole path must have."""
    best = np.full(int(max(lattice.destinations.max(initial=-1), lattice.starts.max(initial=-1))) + 1, -np.inf)
    best[lattice.destinations[lattice.labels == FINAL_LABEL]] = 0.0
    for begin, end in reversed(list(lattice.layers)):
        onward = scores[begin:end] + best[lattice.destinations[begin:end]]
        np.maximum.at(best, lattice.sources[begin:end], onward)
    there = lattice.starts >= 0
    least = np.zeros(len(lattice.starts))
    least[there] = np.maximum(best[lattice.starts[there]], LOWEST) - beam
    of_state = np.zeros(len(best))
    of_state[lattice.destinations] = least[lattice.owners]
    return best - of_state


def _best_paths(lattice: Lattice, scores: np.ndarray, count: int, worth: np.ndarray | None) -> list[list[Path]]:
    values, factors = hashes(lattice.words) if count > 1 else (None, None)
    states = np.sort(lattice.starts[lattice.starts >= 0])
    totals, texts = np.zeros(len(states)), np.zeros(len(states), np.uint64)
    trace: list[tuple[np.ndarray, np.ndarray]] = []  # of each layer: the hypothesis before, and the arc
    found: list[list[Path]] = [[] for _ in lattice.starts]
    for begin, end in lattice.layers:
        first = np.searchsorted(states, lattice.sources[begin:end], "left")
        ways = np.searchsorted(states, lattice.sources[begin:end], "right") - first
        taken = np.repeat(np.arange(begin, end), ways)
        before = ranges(first, ways)
        states, totals = lattice.destinations[taken], totals[before] + scores[taken]
        if worth is not None:
            good = totals + worth[states] >= -SLACK
            taken, before, states, totals = taken[good], before[good], states[good], totals[good]
        texts = texts[before]
        if values is not None and factors is not None:
            texts = texts * factors[taken] + values[taken]
        kept = best_of(states, totals, texts, count)
        states, totals, texts = states[kept], totals[kept], texts[kept]
        trace.append((before[kept], taken[kept]))
        ends = np.flatnonzero(lattice.labels[trace[-1][1]] == FINAL_LABEL)
        for path, owner in zip(followed_back(trace, ends), lattice.owners[trace[-1][1][ends]].tolist(), strict=True):
            found[owner].append(path_of(lattice, path, owner))
    return found


def best_of(states: np.ndarray, scores: np.ndarray, texts: np.ndarray, count: int) -> np.ndarray:
    """The places of the `count` highest scores of each state, of each text but the best; sorted by state and score."""
    order = np.lexsort((-scores, states))
    if count > 1:
        of_text = np.lexsort((-scores, texts, states))
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(states[of_text]) != 0) | (texts[of_text][1:] != texts[of_text][:-1])
        chosen = of_text[first]
        order = chosen[np.lexsort((-scores[chosen], states[chosen]))]
    begins = np.ones(len(order), bool)
    begins[1:] = np.diff(states[order]) != 0
    starts = np.flatnonzero(begins)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return order[rank < count]


def hashes(words: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """Of what each arc says a hash, and the factor by which that of what precedes it is multiplied, uint64 [A] each."""
    values = np.zeros(len(words.counts), np.uint64)
    factors = np.ones(len(words.counts), np.uint64)
    mixed = (words.values.astype(np.uint64) + np.uint64(1)) * HASH_MIX
    mixed ^= mixed >> np.uint64(32)
    for place in range(int(words.counts.max(initial=0))):
        arcs = np.flatnonzero(words.counts > place)
        values[arcs] = values[arcs] * HASH_BASE + mixed[words.splits[arcs] + place]
        factors[arcs] *= HASH_BASE
    return values, factors


def followed_back(trace: list[tuple[np.ndarray, np.ndarray]], ends: np.ndarray) -> np.ndarray:
    """The arcs of the hypotheses `ends` [H] of the last layer, int64 [H, layers]."""
    arcs = np.zeros((len(ends), len(trace)), np.int64)
    if len(ends):
        for layer in range(len(trace) - 1, -1, -1):
            before, taken = trace[layer]
            arcs[:, layer] = taken[ends]
            ends = before[ends]
    return arcs


def path_of(lattice: Lattice, arcs: np.ndarray, owner: int) -> Path:
    tokens = lattice.labels[arcs]
    spoken = arcs[lattice.words.counts[arcs] > 0]
    return Path(
        lattice.words.take(spoken).values.tolist() if len(spoken) else [],
        tokens[tokens > 0].tolist(),
        float(lattice.acoustic[arcs].sum() + lattice.passed_over[owner]),
        float(lattice.graph[arcs].sum()),
        float(lattice.added[arcs].sum()),
        tuple(mark for mark, owners in lattice.marks.items() if owner in owners),
    )

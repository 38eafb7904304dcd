"""An n-gram G followed word by word, and whole lattices with their scores changed to those of another G, or with those
of hot words added."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from egret.base.errors import EgretError
from egret.decoding.lattice import PRUNED, Lattice, remaining
from egret.graph import arcs
from egret.graph.arcs import FINAL_LABEL, ArcTable
from egret.graph.ragged import ranges
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF

MOST = 1 << 13  # arcs of a layer, in the lattice of an utterance
DEAD = -1  # the state that a word without any probability leads to


class Grammar:
    """G as the n-gram model that it is: back-off only where a state has no arc of the word."""

    def __init__(self, table: ArcTable, backoff: int) -> None:
        """`backoff` is the id of `#0`."""
        source, destination, label = table.arcs.T.astype(np.int64)
        self.num_states = table.num_states
        self.labels = max(int(label.max(initial=0)), backoff) + 2
        keys = source * self.labels + label + 1
        order = np.argsort(keys, kind="stable")
        self.keys, self.next = keys[order], destination[order]
        self.scores = table.scores[order].astype(np.float64)
        self.backoff, self.weight = np.full(self.num_states, DEAD), np.zeros(self.num_states)
        back = label == backoff
        self.backoff[source[back]], self.weight[source[back]] = destination[back], table.scores[back]

    @classmethod
    def read(cls, path: Path, lang: Lang) -> "Grammar":
        """Load a `G_<n>gram.safetensors`.

        Raises:
          EgretError: it is not there, not whole, or of other words than the lang folder has.
        """
        table, about = arcs.load(path), arcs.about(path)
        if "order" not in about or not len(table.arcs):
            raise EgretError(f"{path}: no G of an n-gram model; give the G_<n>gram.safetensors that "
                             f"steps/train_ngram.py leaves")  # fmt: skip
        if about.get("words") != arcs.identity(lang)["words"]:
            raise EgretError(f"{path}: made for other words than {lang.folder}/words.txt has; make G again")
        return cls(table, lang.words[BACKOFF])

    def follow(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states [K] after `words` [K], ids or -1 for the end, and what the words score, [K].

        A word that the model does not have even without history leads to DEAD.
        """
        after, scores = np.full(len(states), DEAD), np.zeros(len(states))
        at = states.copy()
        pending = np.flatnonzero(at != DEAD)
        while len(pending):
            wanted = at[pending] * self.labels + words[pending] + 1
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            there = self.keys[places] == wanted
            after[pending[there]] = self.next[places[there]]
            scores[pending[there]] += self.scores[places[there]]
            pending = pending[~there]
            scores[pending] += self.weight[at[pending]]
            at[pending] = self.backoff[at[pending]]
            pending = pending[at[pending] != DEAD]
        return after, scores


class Follower(Protocol):
    """An automaton of words whose every state, 0 the first, has one way on for every word."""

    def follow(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The states [K] after `words` [K], ids or -1 for the end, and what the words score, [K]."""


@dataclass(frozen=True)
class Change:
    """Other scores for a lattice.

    Attributes:
      larger: the G whose scores are put on, instead of the graph's; None: these stay.
      first: the G whose scores the graph has; None: all that the graph scores, silences among it, is taken off.
      hot: what it scores is added.
    """

    larger: Follower | None = None
    first: Follower | None = None
    hot: Follower | None = None

    def __call__(self, lattice: Lattice, graph_scale: float = 1.0, word_score: float = 0.0) -> Lattice:
        """The lattice in which every history that any of them tells from others has states of its own; what the larger
        G gives no probability is left out. Of a lattice that is too wide only the best histories, by these weights, are
        followed."""
        if len(lattice.bounds) < 2:
            return lattice
        # How much worse than the best path the best one from each state on is, in the first pass.
        worth = remaining(lattice, lattice.weighed(graph_scale, word_score), 0.0)
        kept = self.larger is None or self.first is not None
        # What each follower's scores are multiplied by, in those of the graph and in those that are added.
        every = (self.larger, (1.0, 0.0)), (self.first, (-1.0, 0.0)), (self.hot, (0.0, 1.0))
        followers = [(follower, signs) for follower, signs in every if follower is not None]
        states = np.unique(lattice.starts[lattice.starts >= 0])
        own = np.arange(len(states))  # their numbers in the new lattice
        starts = np.full(len(lattice.starts), -1)
        starts[lattice.starts >= 0] = np.searchsorted(states, lattice.starts[lattice.starts >= 0])
        at = [np.zeros(len(states), np.int64) for _ in followers]
        known = len(states)
        best = np.zeros(known)
        pruned = set(lattice.marks.get(PRUNED, ()))
        rows: list[tuple[np.ndarray, ...]] = []  # of each layer: sources, destinations, old arcs, graph, added
        for begin, end in lattice.layers:
            first = np.searchsorted(states, lattice.sources[begin:end], "left")
            ways = np.searchsorted(states, lattice.sources[begin:end], "right") - first
            taken, before = np.repeat(np.arange(begin, end), ways), ranges(first, ways)
            graph = lattice.graph[taken] if kept else np.zeros(len(taken))
            added = lattice.added[taken]
            after = [state[before] for state in at]
            for number, (follower, signs) in enumerate(followers):
                after[number], scores = said(follower, after[number], lattice, taken)
                graph, added = graph + signs[0] * scores, added + signs[1] * scores
            alive = np.flatnonzero(np.all([state != DEAD for state in after], axis=0))
            total = best[before] + lattice.acoustic[taken] + graph_scale * graph + added
            total += word_score * lattice.words.counts[taken]
            owners = lattice.owners[taken[alive]]
            if np.bincount(owners, minlength=1).max() > MOST:
                good = foremost((total + worth[lattice.destinations[taken]])[alive], owners, MOST)
                pruned.update(owners[~good].tolist())
                alive = alive[good]
            taken, before, after = taken[alive], before[alive], [each[alive] for each in after]
            states, at, numbers = merged(lattice.destinations[taken], after)
            rows.append((own[before], known + numbers, taken, graph[alive], added[alive]))
            own = known + np.arange(len(states))
            known += len(states)
            best = np.full(len(states), -np.inf)
            np.maximum.at(best, numbers, total[alive])
        sources, destinations, taken, graph, added = (
            np.concatenate([np.zeros(0, np.int64), *parts]) for parts in zip(*rows, strict=True)
        )
        bounds = np.cumsum([0, *(len(row[0]) for row in rows)])
        return replace(
            lattice, starts=starts, sources=sources, destinations=destinations, labels=lattice.labels[taken],
            words=lattice.words.take(taken), acoustic=lattice.acoustic[taken], graph=graph,
            owners=lattice.owners[taken], bounds=bounds, added=added,
            before=lattice.graph[taken] if self.larger else None, marks={**lattice.marks, PRUNED: pruned},
        )  # fmt: skip


def foremost(ranks: np.ndarray, owners: np.ndarray, most: int) -> np.ndarray:
    """Whether each of the ranks [K] is among the `most` highest of its owner [K], bool [K]."""
    order = np.lexsort((-ranks, owners))
    counts = np.bincount(owners)
    good = np.zeros(len(ranks), bool)
    good[order] = ranges(np.zeros_like(counts), counts) < most
    return good


def said(grammar: Follower, states: np.ndarray, lattice: Lattice, arcs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G's states [K] after arcs [K] of a lattice, and what it scores them, [K]."""
    states, total = states.copy(), np.zeros(len(states))
    counts, splits = lattice.words.counts[arcs], lattice.words.splits
    for place in range(int(counts.max(initial=0))):
        speaking = np.flatnonzero(counts > place)
        words = lattice.words.values[splits[arcs[speaking]] + place].astype(np.int64)
        states[speaking], scores = grammar.follow(states[speaking], words)
        total[speaking] += scores
    ending = np.flatnonzero(lattice.labels[arcs] == FINAL_LABEL)
    states[ending], scores = grammar.follow(states[ending], np.full(len(ending), FINAL_LABEL))
    total[ending] += scores
    return states, total


def merged(states: np.ndarray, grammars: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The different combinations of states [K], ordered by the first, and which of them each of the K is."""
    codes = states
    for each in grammars:
        values, ranks = np.unique(each, return_inverse=True)
        _, codes = np.unique(codes, return_inverse=True)
        codes = codes * max(len(values), 1) + ranks
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    return states[first], [each[first] for each in grammars], numbers

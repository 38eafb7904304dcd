"""LG for a second level of recognition: from a row of units, without a model's scores, to words.

It is L without silence composed with G, in k2's conventions (egret.graph.arcs): labels are unit ids, outputs words.
`egret.decoding.syllables` searches it with NumPy alone, so that k2 is needed only here.

It has all paths of L and G, for lists of several texts. k2's `remove_epsilon`, which compile_hlg uses, keeps of paths
with the same labels between the same states only the best: of words that sound alike and lead to the same history,
one.
"""

from dataclasses import dataclass

import numpy as np

from egret.base.errors import UsageError
from egret.graph.arcs import FINAL_LABEL, ArcTable, from_k2
from egret.graph.lexicon_graph import lexicon_graph
from egret.graph.ragged import Ragged, put_together, ranges
from egret.lang.lang import Lang
from egret.lang.lexicon import disambiguate, read_lexicon
from egret.lang.symbols import BACKOFF

KINDS = ("syllable", "phone")
LONGEST_WAY = 100  # epsilon arcs in a row; a model of order n has n back-offs


def compile_syllable_graph(lang: Lang, grammar: ArcTable) -> ArcTable:
    """LG of a lang folder's lexicon and G; words that sound alike have arcs of their own.

    Raises:
      UsageError: the folder's words are spelled, not pronounced.
    """
    if lang.about["kind"] not in KINDS:
        raise UsageError(f"--lg: the units of {lang.folder} are of the kind {lang.about['kind']!r}; LG leads from "
                         f"syllables or phones to words")  # fmt: skip
    from egret.graph.hlg import compose_lg

    entries, _ = disambiguate(read_lexicon(lang.folder / "lexicon.txt", literal=True))
    lexicon = lexicon_graph(entries, lang.tokens, lang.words, backoff_loop=True)
    return without_epsilons(from_k2(compose_lg(lexicon, grammar)), lang.first_disambiguation, lang.words[BACKOFF])


@dataclass(frozen=True)
class Ways:
    """W ways through a graph, each of one arc with a label and the epsilon arcs after it.

    Attributes:
      source, label, target: [W]
      score: float64 [W]
      words: their outputs.
    """

    source: np.ndarray
    label: np.ndarray
    target: np.ndarray
    score: np.ndarray
    words: Ragged

    def take(self, places: np.ndarray) -> "Ways":
        return Ways(self.source[places], self.label[places], self.target[places], self.score[places],
                    self.words.take(places))  # fmt: skip

    def then(self, other: "Ways", label: np.ndarray) -> "Ways":
        """Each way with one of another W ways behind it."""
        return Ways(self.source, label, other.target, self.score + other.score, self.words.followed_by(other.words))


def without_epsilons(graph: ArcTable, first_epsilon: int, backoff_word: int) -> ArcTable:
    """The same paths with the same words, each arc with a label and with all epsilon arcs that may follow it.

    Args:
      first_epsilon: labels from this one on are epsilons, as 0 is.
      backoff_word: an output that is none.

    Raises:
      ValueError: epsilon arcs go round in a circle.
    """
    label = graph.arcs[:, 2].astype(np.int64)
    ways = Ways(graph.arcs[:, 0].astype(np.int64), label, graph.arcs[:, 1].astype(np.int64),
                graph.scores.astype(np.float64), outputs(graph, backoff_word))  # fmt: skip
    epsilon = (label == 0) | (label >= first_epsilon)
    silent, spoken = ways.take(np.flatnonzero(epsilon)), ways.take(np.flatnonzero(~epsilon))
    states = graph.num_states
    begun = Ways(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1),
                 Ragged(np.zeros(0, np.int64), np.zeros(1, np.int64)))  # fmt: skip
    first = _all_ways(begun, silent, states)
    spoken = _joined([_followed(first, spoken, states, of_first=False), spoken.take(np.flatnonzero(spoken.source))])
    ends = spoken.label == FINAL_LABEL
    found = _all_ways(spoken.take(np.flatnonzero(~ends)), silent, states)
    useful = np.zeros(states, bool)
    useful[spoken.source] = True
    return _as_table(_joined([found.take(np.flatnonzero(useful[found.target])), spoken.take(np.flatnonzero(ends))]))


def outputs(graph: ArcTable, backoff_word: int = 0) -> Ragged:
    """The words of each arc; 0, -1 and `backoff_word` are none."""
    if graph.aux is None:
        return Ragged(np.zeros(0, np.int64), np.zeros(graph.num_arcs, np.int64))
    splits = np.arange(graph.num_arcs + 1) if graph.aux_splits is None else graph.aux_splits
    words = Ragged(graph.aux.astype(np.int64), np.diff(splits).astype(np.int64))
    return words.where((words.values > 0) & (words.values != backoff_word))


def _followed(ways: Ways, arcs: Ways, states: int, of_first: bool) -> Ways:
    """Each way with each of `arcs` (sorted by source) that leaves its target; its label is that of the first or of
    the arc."""
    counts_of = np.bincount(arcs.source, minlength=states)
    starts_of = np.cumsum(counts_of) - counts_of
    counts = counts_of[ways.target]
    before = np.repeat(np.arange(len(counts)), counts)
    after = arcs.take(ranges(starts_of[ways.target], counts))
    first = ways.take(before)
    return first.then(after, first.label if of_first else after.label)


def _all_ways(ways: Ways, silent: Ways, states: int) -> Ways:
    """The ways, and after them those that go on from them by one epsilon arc or more."""
    found = [ways]
    while len(found[-1].source):
        if len(found) > LONGEST_WAY:
            raise ValueError("epsilon arcs go round in a circle")
        found.append(_followed(found[-1], silent, states, of_first=True))
    return _joined(found)


def _joined(parts: list[Ways]) -> Ways:
    source, label, target, score = (np.concatenate([getattr(part, name) for part in parts])
                                    for name in ("source", "label", "target", "score"))  # fmt: skip
    return Ways(source, label, target, score, put_together([part.words for part in parts]))


def _as_table(ways: Ways) -> ArcTable:
    ways = ways.take(np.lexsort((ways.target, ways.label, ways.source)))
    arcs = np.stack([ways.source, ways.target, ways.label], axis=1).astype(np.int32)
    return ArcTable(arcs, ways.score.astype(np.float32), ways.words.values.astype(np.int32),
                    ways.words.splits.astype(np.int32))  # fmt: skip

"""Decoding in HLG with k2: a pruned search over a batch, then the best path of each lattice."""

from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import k2
import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import sha256
from egret.base.log import log
from egret.decoding.best import Best, read_graph, without_sure_blanks
from egret.decoding.grammar_walk import Change
from egret.decoding.hot_lattice import OPTION, HotPhrases
from egret.decoding.lattice import Lattice, make_lattice
from egret.decoding.options import HlgOptions
from egret.graph import arcs
from egret.graph.ragged import Ragged
from egret.lang.lang import Lang

LANGUAGE = "language"  # the attribute of an Fsa for the graph's scores as loaded


def refuse_other_grammar(folder: Path, grammar: Path) -> None:
    """Raises EgretError unless HLG in `folder` was composed of the G in this file; warns where that is not known."""
    path = folder / "HLG.safetensors"
    made_of = arcs.about(path).get("grammar")
    if made_of is None:
        log.warning("--first-lm %s: %s is of an earlier version and does not say which G it was made of; if of another "
                    "one, scores are taken off that were never put on. Run stage 3 again", grammar, path)  # fmt: skip
    elif made_of != sha256(grammar):
        raise EgretError(f"--first-lm {grammar}: {path} was made of another G; give that one (--grammar of "
                         f"steps/compile_graph.py), make the graph again, or leave --first-lm out")  # fmt: skip


class GraphDecoder:
    """HLG on a device."""

    def __init__(self, folder: Path, lang: Lang, device: torch.device) -> None:
        """Load `HLG.safetensors`.

        Raises:
          EgretError: it was made for another lang folder.
        """
        self.graph = arcs.to_k2(read_graph(folder, lang)).to(device)
        self.hot: HotPhrases | None = None  # the scores of which lattices get
        self.added = 0.0  # to the scores of the graph, for each word

    @cached_property
    def scores(self) -> Tensor:
        """The graph's scores as loaded, float32 [A]."""
        return self.graph.scores.clone()

    @cached_property
    def word_counts(self) -> Tensor:
        """How many words each arc says, int32 [A]."""
        aux = self.graph.aux_labels
        if not isinstance(aux, k2.RaggedTensor):
            return (aux > 0).to(torch.int32)
        before = torch.nn.functional.pad((aux.values > 0).to(torch.int32).cumsum(0, dtype=torch.int32), (1, 0))
        return torch.diff(before[aux.shape.row_splits(1).long()])

    def add_for_words(self, score: float) -> None:
        if score != self.added:
            self.graph.scores = self.scores + score * self.word_counts
            self.added = score

    def lattice(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float = 0.0
    ) -> k2.Fsa:
        """Lattices of log probabilities [N, T, V] of lengths [N], longest first; scores are divided by the scale.

        The model's scores and the beams are divided by it, which is the same search as with the graph's multiplied:
        a graph may have millions of arcs, and every batch may try several scales.
        """
        self.add_for_words(word_score / graph_scale)
        rows = torch.arange(len(lengths))
        segments = torch.stack([rows, torch.zeros_like(rows), lengths.cpu()], dim=1)
        dense = k2.DenseFsaVec(log_probs / graph_scale, segments.to(torch.int32))
        return k2.intersect_dense_pruned(
            self.graph,
            dense,
            search_beam=options.search_beam / graph_scale,
            output_beam=options.output_beam / graph_scale,
            min_active_states=options.min_active,
            max_active_states=options.max_active,
        )

    def decode(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float = 0.0
    ) -> list[Best]:
        """The best path of each utterance; one that no path through the graph fits gets no words."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        order = torch.argsort(lengths, descending=True, stable=True)
        order = order[lengths[order] > 0]  # k2 refuses utterances without frames
        found = [Best([], [], float("-inf"))] * len(lengths)
        if len(order):
            lattice = self.lattice(log_probs[order], lengths[order], options, graph_scale, word_score)
            paths = k2.shortest_path(lattice, use_double_scores=True)
            for place, best in zip(order.tolist(), best_paths(paths, graph_scale), strict=True):
                found[place] = replace(best, score=best.score + passed_over[place])
        return found

    def lattices(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float
    ) -> Lattice:
        """The lattices of all utterances, with the scores of the model, the graph and hot words apart; some have no
        path."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        order = torch.argsort(lengths, descending=True, stable=True)
        order = order[lengths[order] > 0]
        if not hasattr(self.graph, LANGUAGE):
            setattr(self.graph, LANGUAGE, self.scores)  # k2 carries it along to the arcs of lattices
        found = self.lattice(log_probs[order], lengths[order], options, graph_scale, word_score) if len(order) else None
        table = as_table(found, order.cpu().numpy(), np.array(passed_over), graph_scale, word_score / graph_scale)
        if self.hot is None:
            return table
        table, narrowed = Change(hot=self.hot)(table, graph_scale, word_score)
        if narrowed:
            log.warning("%s: %d lattices are too wide to follow every path (a lower --hlg.output-beam helps), the best "
                        "ones were", OPTION, len(narrowed))  # fmt: skip
        return table


def as_table(
    lattice: k2.Fsa | None, places: np.ndarray, passed_over: np.ndarray, graph_scale: float, word_score: float
) -> Lattice:
    """The lattices of k2, of the utterances at `places` of all that `passed_over` has."""
    starts = np.full(len(passed_over), -1)
    if lattice is None or not lattice.num_arcs:
        none, zero = np.zeros(0, np.int64), np.zeros(0)
        return make_lattice(starts, none, none, none, Ragged(none, none), zero, zero, none, passed_over)
    shape = lattice.arcs.shape()
    first_state = shape.row_splits(1).cpu().numpy().astype(np.int64)
    utterances = shape.row_ids(1).cpu().numpy()[shape.row_ids(2).cpu().numpy()]  # of each arc
    sources, destinations, labels, _ = lattice.arcs.values().cpu().numpy().astype(np.int64).T
    there = np.bincount(utterances, minlength=len(places)) > 0  # others have a start, and no arc from it
    starts[places[there]] = first_state[:-1][there]
    aux = lattice.aux_labels
    if isinstance(aux, k2.RaggedTensor):
        words = Ragged(aux.values.cpu().numpy(), np.diff(aux.shape.row_splits(1).cpu().numpy().astype(np.int64)))
    else:
        words = Ragged(aux.cpu().numpy(), np.ones(len(labels), np.int64))
    words = words.where(words.values > 0)
    graph = getattr(lattice, LANGUAGE).cpu().numpy().astype(np.float64)
    scores = lattice.scores.detach().cpu().numpy().astype(np.float64)
    acoustic = (scores - graph - word_score * words.counts) * graph_scale
    offsets = first_state[utterances]
    return make_lattice(starts, sources + offsets, destinations + offsets, labels, words, acoustic, graph,
                        places[utterances], passed_over)  # fmt: skip


def best_paths(paths: k2.Fsa, scale: float) -> list[Best]:
    """What the linear automata of `shortest_path` say, their scores multiplied by `scale`."""
    arc_splits = paths.arcs.shape().row_splits(2)[paths.arcs.shape().row_splits(1).long()].tolist()
    labels = paths.labels.cpu()
    scores = paths.scores.detach().cpu()
    aux = paths.aux_labels
    if isinstance(aux, k2.RaggedTensor):
        word_splits = aux.shape.row_splits(1).cpu()
        words = aux.values.cpu()
    else:
        word_splits, words = torch.arange(len(labels) + 1), aux.cpu()
    best = []
    for first, last in pairwise(arc_splits):
        spoken = words[word_splits[first] : word_splits[last]]
        frames = torch.unique_consecutive(labels[first:last])
        score = scores[first:last].sum(dtype=torch.float64).item() * scale if last > first else float("-inf")
        best.append(Best(spoken[spoken > 0].tolist(), frames[frames > 0].tolist(), score))
    return best

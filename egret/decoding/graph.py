"""Decoding in HLG with k2: a pruned search over a batch, then the best path of each lattice."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import k2
import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import sha256
from egret.base.log import log
from egret.decoding.best import Best, begun_tokens, read_graph, without_sure_blanks
from egret.decoding.grammar_walk import Change
from egret.decoding.hot_lattice import HotPhrases
from egret.decoding.lattice import PARTIAL, Lattice, make_lattice
from egret.decoding.options import HlgOptions
from egret.graph import arcs
from egret.graph.arcs import FINAL_LABEL, ArcTable
from egret.graph.ragged import Ragged
from egret.graph.syllable_graph import outputs
from egret.lang.lang import Lang

# Attributes of an Fsa, which k2 carries along to the arcs of lattices.
LANGUAGE = "language"  # the graph's scores as loaded
TOKENS = "tokens"  # the token that each arc begins, or 0


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


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
      lattice: of several utterances, some without a path.
      places: of them in the batch, int64.
      ended: paths end where the graph may end.
    """

    lattice: k2.Fsa
    places: np.ndarray
    ended: bool


class Hlg:
    """HLG on a device, and the search in it."""

    def __init__(self, table: ArcTable, device: torch.device) -> None:
        self.graph = arcs.to_k2(table)
        setattr(self.graph, TOKENS, torch.from_numpy(begun_tokens(table)))
        self.graph = self.graph.to(device)
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

    def set_apart(self) -> None:
        """Have lattices with the scores of the graph by themselves."""
        if not hasattr(self.graph, LANGUAGE):
            setattr(self.graph, LANGUAGE, self.scores)

    def add_for_words(self, score: float) -> None:
        if score != self.added:
            self.graph.scores = self.scores + score * self.word_counts
            self.added = score

    def lattice(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float
    ) -> k2.Fsa:
        """Lattices of log probabilities [N, T, V] of lengths [N], which k2 wants on the CPU and longest first; scores
        are divided by the scale.

        The model's scores and the beams are divided by it, which is the same search as with the graph's multiplied:
        a graph may have millions of arcs, and every batch may try several scales.
        """
        self.add_for_words(word_score / graph_scale)
        rows = torch.arange(len(lengths))
        segments = torch.stack([rows, torch.zeros_like(rows), lengths], dim=1)
        dense = k2.DenseFsaVec(log_probs / graph_scale, segments.to(torch.int32))
        return k2.intersect_dense_pruned(
            self.graph,
            dense,
            search_beam=options.search_beam / graph_scale,
            output_beam=options.output_beam / graph_scale,
            min_active_states=options.min_active,
            max_active_states=options.max_active,
        )


class GraphDecoder:
    """HLG, and what is found in it."""

    def __init__(self, folder: Path, lang: Lang, device: torch.device) -> None:
        """Load `HLG.safetensors`.

        Raises:
          EgretError: it was made for another lang folder, or k2 cannot use the device.
        """
        if device.type == "cuda" and not k2.with_cuda:
            raise EgretError("--num-gpus: the k2 that is installed was built without CUDA; install one with it, or "
                             "decode on the CPU (--num-gpus 0)")  # fmt: skip
        self.read = partial(read_graph, folder, lang)
        self.device = device
        self.whole = Hlg(self.read(), device)
        self.hot: HotPhrases | None = None  # the scores of which lattices get

    @cached_property
    def open_ended(self) -> Hlg:
        """HLG in which paths may end anywhere; few parts need it."""
        return Hlg(with_open_end(self.read()), self.device)

    def decode(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float = 0.0
    ) -> list[Best]:
        """The best path of each utterance; one that no path through the graph fits gets no words."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        found = [Best([], [], float("-inf"))] * len(lengths)
        for searched in self._search(log_probs, lengths, options, graph_scale, word_score):
            paths = k2.shortest_path(searched.lattice, use_double_scores=True)
            for place, best in zip(searched.places.tolist(), best_paths(paths, graph_scale), strict=True):
                ended = searched.ended or math.isinf(best.score)
                found[place] = replace(best, score=best.score + passed_over[place], partial=not ended)
        return found

    def lattices(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float
    ) -> Lattice:
        """The lattices of all utterances, with the scores of the model, the graph and hot words apart; some have no
        path."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        found = self._search(log_probs, lengths, options, graph_scale, word_score, apart=True)
        table = as_table(found, np.array(passed_over), graph_scale, word_score / graph_scale)
        return Change(hot=self.hot)(table, graph_scale, word_score) if self.hot else table

    def _search(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float,
        apart: bool = False,
    ) -> list[Searched]:  # fmt: skip
        """Lattices of all utterances, where possible of paths that end as the graph does; `apart`: with the scores of
        the graph as an attribute."""
        lengths = lengths.cpu()
        order = torch.argsort(lengths, descending=True, stable=True)
        order = order[lengths[order] > 0]  # k2 refuses utterances without frames
        found: list[Searched] = []
        for ended in (True, False):
            if len(order):
                hlg = self.whole if ended else self.open_ended
                if apart:
                    hlg.set_apart()
                lattice = hlg.lattice(log_probs[order], lengths[order], options, graph_scale, word_score)
                found.append(Searched(lattice, order.numpy(), ended))
                order = order[torch.from_numpy(arc_counts(lattice) == 0)]
        return found


def with_open_end(table: ArcTable) -> ArcTable:
    """The graph with an arc into the final state, of no score, from every state that has none."""
    final = table.num_states - 1
    lacking = np.setdiff1d(np.arange(final), table.arcs[table.arcs[:, 1] == final, 0])
    more = np.stack([lacking, np.full_like(lacking, final), np.full_like(lacking, FINAL_LABEL)], axis=1)
    rows = np.concatenate([table.arcs, more]).astype(np.int32)
    order = np.argsort(rows[:, 0], kind="stable")
    said = outputs(table)
    said = Ragged(said.values, np.concatenate([said.counts, np.zeros(len(more), np.int64)])).take(order)
    scores = np.concatenate([table.scores, np.zeros(len(more), np.float32)])[order]
    return ArcTable(rows[order], scores, said.values.astype(np.int32), said.splits.astype(np.int32))


def arc_counts(lattice: k2.Fsa) -> np.ndarray:
    """Of each utterance, int64 [N]; 0: there is no path."""
    shape = lattice.arcs.shape()
    return np.diff(shape.row_splits(2)[shape.row_splits(1).long()].cpu().numpy().astype(np.int64))


def as_table(found: list[Searched], passed_over: np.ndarray, graph_scale: float, word_score: float) -> Lattice:
    """The lattices of k2, of some of the utterances that `passed_over` has."""
    starts = np.full(len(passed_over), -1)
    unended: set[int] = set()
    none, zero = np.zeros(0, np.int64), np.zeros(0)
    rows: list[tuple[np.ndarray, ...]] = [(none, none, none, zero, zero, none)]
    said = [Ragged(none, none)]
    states = 0
    for searched in found:
        lattice, places = searched.lattice, searched.places
        if not lattice.num_arcs:
            continue
        shape = lattice.arcs.shape()
        first_state = shape.row_splits(1).cpu().numpy().astype(np.int64) + states
        states = first_state[-1]
        utterances = shape.row_ids(1).cpu().numpy()[shape.row_ids(2).cpu().numpy()]  # of each arc
        sources, destinations, labels, _ = lattice.arcs.values().cpu().numpy().astype(np.int64).T
        there = arc_counts(lattice) > 0  # others have a start, and no arc from it
        starts[places[there]] = first_state[:-1][there]
        unended |= set() if searched.ended else set(places[there].tolist())
        aux = lattice.aux_labels
        if isinstance(aux, k2.RaggedTensor):
            words = Ragged(aux.values.cpu().numpy(), np.diff(aux.shape.row_splits(1).cpu().numpy().astype(np.int64)))
        else:
            words = Ragged(aux.cpu().numpy(), np.ones(len(labels), np.int64))
        said.append(words.where(words.values > 0))
        tokens = np.where(labels == FINAL_LABEL, FINAL_LABEL, getattr(lattice, TOKENS).cpu().numpy())
        graph = getattr(lattice, LANGUAGE).cpu().numpy().astype(np.float64)
        scores = lattice.scores.detach().cpu().numpy().astype(np.float64)
        acoustic = (scores - graph - word_score * said[-1].counts) * graph_scale
        offsets = first_state[utterances]
        rows.append((sources + offsets, destinations + offsets, tokens, acoustic, graph, places[utterances]))
    sources, destinations, tokens, acoustic, graph, owners = map(np.concatenate, zip(*rows, strict=True))
    every = Ragged(np.concatenate([each.values for each in said]), np.concatenate([each.counts for each in said]))
    table = make_lattice(starts, sources, destinations, tokens, every, acoustic, graph, owners, passed_over)
    return replace(table, marks={PARTIAL: unended} if unended else {})


def best_paths(paths: k2.Fsa, scale: float) -> list[Best]:
    """What the linear automata of `shortest_path` say, their scores multiplied by `scale`."""
    arc_splits = paths.arcs.shape().row_splits(2)[paths.arcs.shape().row_splits(1).long()].tolist()
    tokens = getattr(paths, TOKENS).cpu()
    scores = paths.scores.detach().cpu()
    aux = paths.aux_labels
    if isinstance(aux, k2.RaggedTensor):
        word_splits = aux.shape.row_splits(1).cpu()
        words = aux.values.cpu()
    else:
        word_splits, words = torch.arange(len(tokens) + 1), aux.cpu()
    best = []
    for first, last in pairwise(arc_splits):
        spoken = words[word_splits[first] : word_splits[last]]
        begun = tokens[first:last]
        score = scores[first:last].sum(dtype=torch.float64).item() * scale if last > first else float("-inf")
        best.append(Best(spoken[spoken > 0].tolist(), begun[begun > 0].tolist(), score))
    return best

"""Decoding in HLG with k2: a pruned search over a batch, then the best path of each lattice."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import k2
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.decoding.options import HlgOptions
from egret.graph import arcs
from egret.lang.lang import Lang


@dataclass(frozen=True)
class Best:
    """The best path: words and tokens as ids, and its score."""

    words: list[int]
    tokens: list[int]
    score: float


class GraphDecoder:
    """HLG on a device, at one weight of the graph's scores at a time."""

    def __init__(self, folder: Path, lang: Lang, device: torch.device) -> None:
        """Load `HLG.safetensors`.

        Raises:
          EgretError: it was made for another lang folder.
        """
        path = folder / "HLG.safetensors"
        graph = arcs.to_k2(arcs.load(path)).to(device)
        about = arcs.about(path)
        if about != arcs.identity(lang):
            raise EgretError(f"{path}: made for other units or words than {lang.folder}; run stage 3 again")
        self.graph = graph
        self.scores = graph.scores.clone()

    def lattice(self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float) -> k2.Fsa:
        """Lattices of log probabilities [N, T, V] of lengths [N], longest first."""
        self.graph.scores = self.scores * graph_scale
        rows = torch.arange(len(lengths))
        segments = torch.stack([rows, torch.zeros_like(rows), lengths.cpu()], dim=1)
        dense = k2.DenseFsaVec(log_probs, segments.to(torch.int32))
        return k2.intersect_dense_pruned(
            self.graph,
            dense,
            search_beam=options.search_beam,
            output_beam=options.output_beam,
            min_active_states=options.min_active,
            max_active_states=options.max_active,
        )

    def decode(self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float) -> list[Best]:
        """The best path of each utterance; one that no path through the graph fits gets no words."""
        order = torch.argsort(lengths, descending=True, stable=True)
        paths = k2.shortest_path(
            self.lattice(log_probs[order], lengths[order], options, graph_scale), use_double_scores=True
        )
        found = best_paths(paths)
        return [found[place] for place in torch.argsort(order).tolist()]


def best_paths(paths: k2.Fsa) -> list[Best]:
    """What the linear automata of `shortest_path` say."""
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
        score = scores[first:last].sum(dtype=torch.float64).item() if last > first else float("-inf")
        best.append(Best(spoken[spoken > 0].tolist(), frames[frames > 0].tolist(), score))
    return best

"""CTC by k2 over graphs: every pronunciation of a word counts, and silence where the lexicon allows it."""

from functools import lru_cache

import k2
import numpy as np
import torch
from torch import Tensor

from egret.graph import arcs
from egret.graph.bigram import bigram_graph
from egret.graph.hlg import ctc_topology
from egret.graph.lexicon_graph import transcript_graph
from egret.graph.topology import Topology, is_modified
from egret.lang.lang import Lang
from egret.lang.transcript import Transcripts
from egret.models.transcribed import Transcribed

KEPT_GRAPHS = 2000
BEAM = 30.0  # in natural logarithms


class GraphCtcLoss:
    """The negative log probability of all token sequences that L gives a transcript (Miao et al. 2015, "EESEN",
    for the composition; k2's intersect_dense for the sum over paths).

    A transcript's part of L is made from its words' pronunciations, whatever the size of the lexicon, and composed
    with the topology of its own tokens, whatever the number of units. Where a corpus says which units were spoken,
    they are the only ones. Paths worse than the best by more than BEAM are left out of the sum.
    """

    def __init__(self, lang: Lang, topology: Topology = "auto", bigram: np.ndarray | None = None) -> None:
        """With `bigram`, of `egret.graph.bigram`, that weighs the token sequences in place of how likely silence is."""
        self.bigram = bigram
        self.transcripts = Transcripts(lang)
        self.modified = is_modified(topology, len(lang.units))
        # Small corpora are gone through many times; of large ones not all graphs fit in memory.
        self.graph = lru_cache(maxsize=KEPT_GRAPHS)(self.make_graph)

    def make_graph(self, text: str, spoken: str) -> k2.Fsa:
        """The training graph of a transcript: the topology composed with what may be heard."""
        slots = self.transcripts.slots(text, spoken)
        ids = sorted({token for slot in slots for tokens in slot for token in tokens})
        small = {token: number for number, token in enumerate(ids, 1)}
        graph = transcript_graph(slots, self.transcripts.pause, self.transcripts.pause_probability)
        if self.bigram is not None:
            graph.scores[:] = 0  # the bigram knows of silence
        graph.arcs[:, 2] = [small.get(label, label) for label in graph.arcs[:, 2].tolist()]
        tokens = k2.arc_sort(k2.connect(k2.remove_epsilon(arcs.to_k2(graph))))
        if self.bigram is not None:
            weights = k2.arc_sort(arcs.to_k2(bigram_graph(self.bigram, ids)))
            tokens = k2.arc_sort(k2.connect(k2.intersect(tokens, weights)))
        topology = ctc_topology(len(ids) + 1, self.modified)
        found = k2.connect(k2.compose(topology, tokens, treat_epsilons_specially=True))
        labels = torch.tensor([0, *ids, -1], dtype=torch.int32)  # label -1 takes the last
        found.labels = labels[found.labels.long()]
        return found

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        return self.per_utterance(log_probs, lengths, batch).sum()

    def per_utterance(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        graphs = [self.graph(*each) for each in zip(batch.texts, batch.spoken, strict=True)]
        order = torch.argsort(lengths, descending=True)  # as k2 wants it
        segments = torch.stack([order, torch.zeros_like(order), lengths[order]], dim=1).to(torch.int32).cpu()
        dense = k2.DenseFsaVec(log_probs, segments)
        sorted_graphs = k2.create_fsa_vec([graphs[place] for place in order.tolist()]).to(log_probs.device)
        lattice = k2.intersect_dense(sorted_graphs, dense, output_beam=BEAM)
        scores = lattice.get_tot_scores(log_semiring=True, use_double_scores=True)
        return -scores[torch.argsort(order)]

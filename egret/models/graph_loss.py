"""CTC by k2 over graphs: every pronunciation of a word counts, and silence where the lexicon allows it."""

from functools import lru_cache

import k2
import torch
from torch import Tensor

from egret.graph import arcs
from egret.graph.hlg import ctc_topology
from egret.lang.lang import Lang
from egret.models.transcribed import Transcribed

KEPT_GRAPHS = 2000
BEAM = 30.0  # in natural logarithms


class GraphCtcLoss:
    """The negative log probability of all token sequences that L gives a transcript (Miao et al. 2015, "EESEN",
    for the composition; k2's intersect_dense for the sum over paths).

    Paths worse than the best by more than BEAM are left out of the sum.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        # The lexicon read backwards: words come in, tokens are what the topology sees.
        self.lexicon = k2.arc_sort(k2.invert(arcs.to_k2(arcs.load(lang.folder / "L.safetensors"))))
        self.topology = ctc_topology(len(lang.units))
        # Small corpora are gone through many times; of large ones not all graphs fit in memory.
        self.graph = lru_cache(maxsize=KEPT_GRAPHS)(self.make_graph)

    def make_graph(self, text: str) -> k2.Fsa:
        """The training graph of a transcript: topology, lexicon and words composed."""
        if self.lang.about["kind"] == "char":  # one way to spell it, with words that the lexicon lacks
            tokens = k2.arc_sort(k2.linear_fsa(self.lang.encode(text)))
        else:
            tokens = self.tokens_of(text)
        return k2.connect(k2.compose(self.topology, tokens, treat_epsilons_specially=True))

    def tokens_of(self, text: str) -> k2.Fsa:
        """Every token sequence that L gives a transcript."""
        oov, known = self.lang.about["oov"], self.lang.pronunciations
        linear = k2.linear_fsa([self.lang.words[word if word in known else oov] for word in text.split()])
        spelled = k2.connect(k2.intersect(self.lexicon, linear, treat_epsilons_specially=True))
        return k2.arc_sort(k2.connect(k2.remove_epsilon(k2.invert(spelled))))

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        graphs = k2.create_fsa_vec([self.graph(text) for text in batch.texts]).to(log_probs.device)
        order = torch.argsort(lengths, descending=True)  # k2 wants the longest first
        segments = torch.stack([order, torch.zeros_like(order), lengths[order]], dim=1).to(torch.int32).cpu()
        dense = k2.DenseFsaVec(log_probs, segments)
        on_device = order.to(torch.int32).to(log_probs.device)
        lattice = k2.intersect_dense(k2.index_fsa(graphs, on_device), dense, output_beam=BEAM)
        return -lattice.get_tot_scores(log_semiring=True, use_double_scores=True).sum()

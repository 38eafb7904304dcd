"""Lattice-free maximum mutual information: the numerator by k2, the denominator by one matrix product a frame."""

import numpy as np
import torch
from torch import Tensor

from egret.graph.bigram import EDGE
from egret.graph.topology import Topology
from egret.lang.lang import Lang
from egret.models.graph_loss import GraphCtcLoss
from egret.models.transcribed import Transcribed


class LfMmiLoss:
    """How much less likely a transcript is than all that might have been said, both by CTC's topology and the same
    bigram of tokens (Povey et al. 2016, "Purely sequence-trained neural networks for ASR based on lattice-free MMI";
    with CTC's topology and from a flat start Hadian et al. 2018, "End-to-end speech recognition using lattice-free
    MMI"). It is never below zero, for what a transcript allows is a part of all that the bigram does.

    What all sequences share does not matter to it: the best token of a frame by itself is of little meaning then. A
    `ctc_share` of the loss is CTC over the same graphs, which keeps it one, as cross entropy does in the paper.
    """

    def __init__(self, lang: Lang, bigram: np.ndarray, topology: Topology = "auto", ctc_share: float = 0.0) -> None:
        self.numerator = GraphCtcLoss(lang, topology, bigram)
        self.ctc, self.ctc_share = GraphCtcLoss(lang, topology), ctc_share
        self.follows = torch.from_numpy(bigram).exp()

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        return self.per_utterance(log_probs, lengths, batch).sum()

    def per_utterance(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        self.follows = self.follows.to(log_probs.device)
        of_all = denominator(log_probs, lengths, self.follows, self.numerator.modified)
        loss = of_all + self.numerator.per_utterance(log_probs, lengths, batch)
        if not self.ctc_share:
            return loss
        return (1 - self.ctc_share) * loss + self.ctc_share * self.ctc.per_utterance(log_probs, lengths, batch)


def denominator(log_probs: Tensor, lengths: Tensor, follows: Tensor, modified: bool = False) -> Tensor:
    """The logarithm of the sum over every token sequence, of its probability by the bigram times that of all its
    alignments, float64 [N].

    By the forward algorithm, made one at each frame, so that no graph is quadratic in arcs for k2 to walk; on a CPU it
    takes a twentieth of the time of k2's intersection with 37 units.

    Args:
      log_probs: [N, T, V] of lengths [N].
      follows: probabilities of the bigram, [V, V], with EDGE for beginning and end.
      modified: two equal neighbours need no blank between them, as in k2's modified topology.
    """
    chances = log_probs.exp()
    ends = follows[:, EDGE]
    goes_on = follows.clone()
    goes_on[:, EDGE] = 0
    again = torch.zeros_like(ends) if modified else goes_on.diagonal()
    # By the last token: how likely all ways are that end in it, and in blanks after it (or in blanks at the beginning).
    spoken = torch.zeros_like(chances[:, 0])
    silent = torch.zeros_like(spoken)
    silent[:, EDGE] = 1
    total = torch.zeros(len(chances), dtype=torch.float64, device=chances.device)
    for frame in range(chances.shape[1]):
        inside = (frame < lengths).unsqueeze(1)
        here = chances[:, frame]
        both = spoken + silent
        begun = torch.addmm(-spoken * again, both, goes_on)
        after, pause = here * (spoken + begun), here[:, :1] * both
        size = torch.where(inside, (after + pause).sum(dim=1, keepdim=True), 1.0)
        spoken = torch.where(inside, after / size, spoken)
        silent = torch.where(inside, pause / size, silent)
        total = total + size.squeeze(1).double().log()
    return total + ((spoken + silent) @ ends).double().log()

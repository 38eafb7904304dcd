"""Lattice-free maximum mutual information: the denominator, by one matrix product a frame, and the loss."""

import numpy as np
import torch
from torch import Tensor

from egret.graph.bigram import EDGE
from egret.models.transcribed import Loss, Transcribed


class LfMmiLoss:
    """How much less likely a transcript is than all that might have been said, both by CTC's topology and the same
    bigram of tokens (Povey et al. 2016, "Purely sequence-trained neural networks for ASR based on lattice-free MMI";
    from a flat start Hadian et al. 2018, "End-to-end speech recognition using lattice-free MMI"; with CTC's topology
    Xiang and Ou 2019, "CRF-based single-stage acoustic modeling with CTC topology").

    It is not below zero but where several pronunciations make the same sequence, which the transcript then counts
    more than once. What is added to all tokens of a frame does not change it, so that the best one of a frame by itself
    says little. A `ctc_share` of the loss is CTC, over the same pronunciations and silences, which keeps it telling.

    Args:
      numerator: the loss of the graphs of the transcripts, weighed by the bigram.
      bigram: `egret.graph.bigram.smoothed`.
      modified: k2's modified topology, which the numerator must have too.
      ctc: the loss of the same graphs without the bigram.
    """

    def __init__(
        self,
        numerator: Loss,
        bigram: np.ndarray,
        modified: bool = False,
        ctc: Loss | None = None,
        ctc_share: float = 0.0,
    ) -> None:
        self.numerator, self.modified = numerator, modified
        self.follows = torch.from_numpy(bigram).exp()
        self.ctc, self.ctc_share = ctc, ctc_share

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        return self.per_utterance(log_probs, lengths, batch).sum()

    def per_utterance(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        self.follows = self.follows.to(log_probs.device)
        of_all = denominator(log_probs, lengths, self.follows, self.modified)
        loss = of_all + self.numerator.per_utterance(log_probs, lengths, batch)
        if self.ctc is None:
            return loss
        return (1 - self.ctc_share) * loss + self.ctc_share * self.ctc.per_utterance(log_probs, lengths, batch)


def denominator(log_probs: Tensor, lengths: Tensor, follows: Tensor, modified: bool = False) -> Tensor:
    """The logarithm of the sum over every token sequence, of its probability by the bigram times that of all its
    alignments, float64 [N].

    By the forward algorithm, its sum made one at each frame. As a graph it would have two arcs for each pair of units,
    all of which k2 would walk at every frame.

    Args:
      log_probs: [N, T, V] of lengths [N].
      follows: probabilities of the bigram, [V, V], with EDGE for beginning and end.
      modified: two equal neighbours need no blank between them, as in k2's modified topology.
    """
    ends = follows[:, EDGE]
    goes_on = follows.clone()
    goes_on[:, EDGE] = 0
    again = torch.zeros_like(ends) if modified else goes_on.diagonal()
    # By the last token: how likely all ways are that end in it, and in blanks after it (or in blanks at the beginning).
    spoken = torch.zeros_like(log_probs[:, 0])
    silent = torch.zeros_like(spoken)
    silent[:, EDGE] = 1
    total = torch.zeros(len(log_probs), dtype=torch.float64, device=log_probs.device)
    # Unbound and not indexed, whose gradient would be as large as all frames for each of them.
    for frame, here in enumerate(log_probs.exp().unbind(1)):
        inside = (frame < lengths).unsqueeze(1)
        both = spoken + silent
        begun = torch.addmm(-spoken * again, both, goes_on)
        after, pause = here * (spoken + begun), here[:, :1] * both
        size = torch.where(inside, (after + pause).sum(dim=1, keepdim=True), 1.0)
        spoken = torch.where(inside, after / size, spoken)
        silent = torch.where(inside, pause / size, silent)
        total = total + size.squeeze(1).double().log()
    return total + ((spoken + silent) @ ends).double().log()

"""Losses, summed over the utterances of a batch; the trainer divides by the tokens of the whole batch."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from egret.base.errors import EgretError
from egret.graph.topology import Topology
from egret.lang.lang import Lang
from egret.models.transcribed import Loss, Transcribed


def make_loss(
    name: str, lang: Lang, topology: Topology = "auto", bigram: np.ndarray | None = None, ctc_share: float = 0.0
) -> Loss:
    """The loss of a name in TrainOptions.

    Args:
      topology: of ctc_graph and lf_mmi.
      bigram, ctc_share: of lf_mmi: that of its denominator, `egret.graph.bigram.smoothed`; and CTC's part in it.

    Raises:
      EgretError: it needs k2, which is not installed.
    """
    if name == "ctc":
        return ctc_loss
    try:
        from egret.models.graph_loss import GraphCtcLoss
    except ImportError as error:
        raise EgretError(f"--loss {name} needs k2 ({error}); install it, or use --loss ctc") from None
    if name == "ctc_graph":
        return GraphCtcLoss(lang, topology)
    assert bigram is not None
    from egret.models.mmi_loss import LfMmiLoss

    numerator = GraphCtcLoss(lang, topology, bigram)
    ctc = GraphCtcLoss(lang, topology) if ctc_share else None
    return LfMmiLoss(numerator, bigram, numerator.modified, ctc, ctc_share)


class CtcLoss:
    """PyTorch's CTC loss (Graves et al. 2006), over each word's first pronunciation, without silence."""

    def __call__(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        return self._reduced(log_probs, lengths, batch, "sum")

    def per_utterance(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
        return self._reduced(log_probs, lengths, batch, "none")

    def _reduced(self, log_probs: Tensor, lengths: Tensor, batch: Transcribed, reduction: str) -> Tensor:
        tokens = [token for target in batch.targets for token in target]
        joined = torch.tensor(tokens, dtype=torch.long, device=log_probs.device)
        target_lengths = torch.tensor([len(target) for target in batch.targets])
        return functional.ctc_loss(
            log_probs.transpose(0, 1), joined, lengths.cpu(), target_lengths, blank=0, reduction=reduction
        )


ctc_loss = CtcLoss()

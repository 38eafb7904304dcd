"""Losses, summed over the utterances of a batch; the trainer divides by the tokens of the whole batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from egret.base.errors import EgretError
from egret.graph.topology import Topology
from egret.lang.lang import Lang
from egret.models.transcribed import Transcribed

# (log probabilities [N, T, V], lengths [N], transcripts) -> summed loss
Loss = Callable[[Tensor, Tensor, Transcribed], Tensor]


def make_loss(name: str, lang: Lang, topology: Topology = "auto") -> Loss:
    """The loss of a name in TrainOptions; `topology` is that of ctc_graph.

    Raises:
      EgretError: it needs k2, which is not installed.
    """
    if name == "ctc":
        return ctc_loss
    try:
        from egret.models.graph_loss import GraphCtcLoss
    except ImportError as error:
        raise EgretError(f"--loss {name} needs k2 ({error}); install it, or use --loss ctc") from None
    return GraphCtcLoss(lang, topology)


def ctc_loss(log_probs: Tensor, lengths: Tensor, batch: Transcribed) -> Tensor:
    """PyTorch's CTC loss (Graves et al. 2006), over each word's first pronunciation, without silence."""
    tokens = [token for target in batch.targets for token in target]
    joined = torch.tensor(tokens, dtype=torch.long, device=log_probs.device)
    target_lengths = torch.tensor([len(target) for target in batch.targets])
    return functional.ctc_loss(
        log_probs.transpose(0, 1), joined, lengths.cpu(), target_lengths, blank=0, reduction="sum"
    )

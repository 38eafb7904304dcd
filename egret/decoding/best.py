"""What every search in HLG gives and begins with; nothing here needs k2."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.graph import arcs
from egret.lang.lang import Lang


@dataclass(frozen=True)
class Best:
    """The best path: words and tokens as ids, its score, and whether it ends where the graph may not end."""

    words: list[int]
    tokens: list[int]
    score: float
    partial: bool = False


def read_graph(folder: Path, lang: Lang) -> arcs.ArcTable:
    """`HLG.safetensors` of a folder.

    Raises:
      EgretError: it is not there or not whole, or was made for another lang folder.
    """
    path = folder / "HLG.safetensors"
    table = arcs.load(path)
    if not arcs.is_for(arcs.about(path), lang):
        raise EgretError(f"{path}: made for other units or words than {lang.folder}; run stage 3 again")
    return table


def begun_tokens(graph: arcs.ArcTable) -> np.ndarray:
    """The token that each arc of HLG begins, 0 where it begins none, int32 [A].

    A state that loops on a token, and not on the blank, is inside that token, and arcs of the token go on with it.
    Those of other states begin one: with k2's modified topology a token may follow itself without a blank, so that
    labels alone do not tell.
    """
    source, destination, label = graph.arcs.T
    inside = np.zeros(graph.num_states, np.int32)
    loops = source == destination
    inside[source[loops]] = label[loops]
    inside[source[loops & (label == 0)]] = 0
    return np.where((label > 0) & (label != inside[source]), label, 0).astype(np.int32)


def without_sure_blanks(log_probs: Tensor, lengths: Tensor, sure: float) -> tuple[Tensor, Tensor, list[float]]:
    """Leave out frames whose blank has a probability above `sure`, as does that of the frame before.

    A path that has a blank there is as good without them (Chen et al. 2016, "Phone synchronous decoding with CTC
    lattice"); one frame of each stretch stays, to part equal tokens.

    Args:
      log_probs: [N, T, V]
      lengths: [N]

    Returns:
      Log probabilities [N, T', V], lengths [N], and the score of the blanks that were left out, of each of N.
    """
    if sure >= 1 or not len(lengths):
        return log_probs, lengths, [0.0] * len(lengths)
    blanks = log_probs[:, :, 0]
    inside = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths.to(log_probs.device)[:, None]
    certain = (blanks > math.log(sure)) & inside
    left_out = torch.zeros_like(certain)
    left_out[:, 1:] = certain[:, 1:] & certain[:, :-1]
    kept = inside & ~left_out
    counts = kept.sum(dim=1)
    # The frames that are kept first, in their order.
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)[:, : int(counts.max())]
    shorter = log_probs.gather(1, order[:, :, None].expand(-1, -1, log_probs.shape[2]))
    return (
        shorter,
        counts.to(lengths.device),
        blanks.masked_fill(~left_out, 0.0).sum(dim=1, dtype=torch.float64).tolist(),
    )

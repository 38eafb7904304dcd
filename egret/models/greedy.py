"""The best token at every frame, repeats merged, blanks dropped (Graves et al. 2006, "best path")."""

import torch
from torch import Tensor


def ctc_greedy(log_probs: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
    """Token ids and the logarithm of the path's probability, for each of N utterances.

    Args:
      log_probs: [N, T, V]
      lengths: [N]
    """
    scores, best = log_probs.max(dim=2)
    found = []
    for path, score, length in zip(best, scores, lengths.tolist(), strict=True):
        tokens = torch.unique_consecutive(path[:length])
        found.append((tokens[tokens != 0].tolist(), score[:length].sum().item()))
    return found

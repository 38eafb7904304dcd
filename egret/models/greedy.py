"""The most probable token at every step, without a search."""

import torch
from torch import Tensor

from egret.models.decoder import END
from egret.models.model import JointModel


def greedy(model: JointModel, features: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
    """Token ids and the logarithm of their probability, for each of N utterances: by CTC where the model has it,
    else by its decoder.

    Args:
      features: [N, T, C]
      lengths: [N]
    """
    x, lengths, _ = model.encode(features, lengths)
    if model.head is not None:
        return ctc_greedy(model.log_probs(x), lengths)
    assert model.decoder is not None
    memory, state = model.decoder.begin(x, lengths, 1)
    given = torch.full((len(x), 1), END, device=x.device)
    found: list[list[int]] = [[] for _ in range(len(x))]
    scores = [0.0] * len(x)
    alive = set(range(len(x)))
    for _ in range(int(lengths.max())):  # no transcript has more tokens than the encoder gives frames
        logits, state = model.decoder.step(given, memory, state)
        score, given = logits.float().log_softmax(dim=2).max(dim=2)
        for row in sorted(alive):
            token = int(given[row])
            scores[row] += float(score[row])
            if token == END:
                alive.remove(row)
            else:
                found[row].append(token)
        if not alive:
            break
    return list(zip(found, scores, strict=True))


def ctc_greedy(log_probs: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
    """The best token at every frame, repeats merged, blanks dropped (Graves et al. 2006, "best path"): token ids and
    the logarithm of the path's probability, for each of N utterances.

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

"""The most probable token at every step, without a search."""

from itertools import islice

import torch
from torch import Tensor

from egret.models.decoder import BLANK, END
from egret.models.masking import frame_mask
from egret.models.model import JointModel
from egret.models.options import MAX_RATIO
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder


def greedy(model: JointModel, x: Tensor, lengths: Tensor, frames: Tensor) -> list[tuple[list[int], float]]:
    """Token ids and the logarithm of their probability, for each of N utterances: by CTC where the model has it,
    else by its decoder.

    Args:
      x: the encoder's output [N, T, D] of lengths [N].
      frames: of the features, [N]; a decoder gives no more than MAX_RATIO tokens to each.
    """
    if model.head is not None:
        return ctc_greedy(model.log_probs(x), lengths)
    assert model.decoder is not None
    return decoder_greedy(model.decoder, x, lengths, most_tokens(frames, MAX_RATIO).tolist())


def decoder_greedy(
    decoder: TransformerDecoder | Speller, x: Tensor, lengths: Tensor, limits: list[int]
) -> list[tuple[list[int], float]]:
    """The most probable token after each one, from the encoder's output [N, T, D] of lengths [N], until the end or as
    many tokens as `limits` allows each utterance."""
    memory, state = decoder.begin(x, lengths, 1)
    given = torch.full((len(x), 1), END, device=x.device)
    found: list[list[int]] = [[] for _ in range(len(x))]
    scores = [0.0] * len(x)
    alive = set(range(len(x)))
    while alive:
        logits, state = decoder.step(given, memory, state)
        chances = logits.float().log_softmax(dim=2)
        chances[:, :, BLANK] = -torch.inf  # no transcript has blanks
        score, given = chances.max(dim=2)
        for row in sorted(alive):
            token = int(given[row])
            scores[row] += float(score[row])
            if token != END:
                found[row].append(token)
            if token == END or len(found[row]) == limits[row]:
                alive.remove(row)
    return list(zip(found, scores, strict=True))


def most_tokens(frames: Tensor, ratio: float) -> Tensor:
    """Most tokens of utterances of so many frames of features, int64 [N]; at least one."""
    return (frames * ratio).long().clamp(min=1)


def ctc_greedy(log_probs: Tensor, lengths: Tensor) -> list[tuple[list[int], float]]:
    """The best token at every frame, repeats merged, blanks dropped (Graves et al. 2006, "best path"): token ids and
    the logarithm of the path's probability, for each of N utterances.

    Args:
      log_probs: [N, T, V]
      lengths: [N]
    """
    scores, best = log_probs.max(dim=2)
    inside = frame_mask(lengths.to(best.device), best.shape[1])
    said = inside & (best != BLANK)
    said[:, 1:] &= best[:, 1:] != best[:, :-1]
    # All utterances at once: operations on a few numbers each would take longer than the search.
    tokens = iter(best[said].tolist())
    totals = scores.masked_fill(~inside, 0.0).sum(dim=1).tolist()
    return [(list(islice(tokens, count)), total) for count, total in zip(said.sum(dim=1).tolist(), totals, strict=True)]

"""What attention decoders have in common: tokens in, scores of the next token out, all at once or one by one.

A decoder is called in one of two ways, which give the same numbers:

    logits = decoder(x, lengths, tokens)                    # all tokens are known: training, rescoring
    memory, state = decoder.begin(x, lengths, beam)         # a search, token by token
    logits, state = decoder.step(tokens, memory, state)

`memory` belongs to the utterances, tensors [N, ...], so that a search can drop some; `state` to their hypotheses,
tensors [N, B, ...], so that a search can reorder it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

BLANK = 0  # CTC's, which no transcript has
END = 1  # <sos/eos>: begins what a decoder is given, and ends what it gives


def with_ends(targets: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids as a decoder is given them, int64 [N, U + 1], and those it should give in return, with -1 beyond the
    end; U is the length of the longest."""
    longest = max(map(len, targets), default=0)
    given = torch.full((len(targets), longest + 1), END, dtype=torch.long)
    wanted = torch.full((len(targets), longest + 1), -1, dtype=torch.long)
    for row, target in enumerate(targets):
        tokens = torch.tensor(target, dtype=torch.long)
        given[row, 1 : len(target) + 1] = tokens
        wanted[row, : len(target)] = tokens
        wanted[row, len(target)] = END
    return given.to(device), wanted.to(device)


def attention_loss(logits: Tensor, wanted: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of each utterance, summed over its tokens, [N].

    Args:
      logits: [N, U, V].
      wanted: int64 [N, U], -1 beyond the end.
      smoothing: of the probability, which all tokens share (Szegedy et al. 2016, section 7).
    """
    losses = functional.cross_entropy(
        logits.float().transpose(1, 2), wanted, ignore_index=-1, reduction="none", label_smoothing=smoothing
    )
    return losses.sum(dim=1)


def drawn_from(logits: Tensor) -> Tensor:
    """A token int64 [N, U] for each place by the scores [N, U, V]. Scores that are no numbers, as the loss will tell,
    count as 0 here: to draw from them would be an error."""
    chances = logits.detach().float().nan_to_num(0.0, 1e4, -1e4).softmax(dim=2)
    return torch.multinomial(chances.flatten(0, 1), 1).view(chances.shape[0], chances.shape[1])


def sampled(given: Tensor, logits: Tensor, truth: float) -> Tensor:
    """The tokens [N, U] that a decoder is given, each kept with the chance `truth`, else drawn by the scores [N, U, V]
    that it gave to the place (Bengio et al. 2015, "Scheduled sampling"); the first, END, stays."""
    drawn = drawn_from(logits[:, :-1])
    kept = torch.rand(drawn.shape, device=drawn.device) < truth
    return torch.cat([given[:, :1], torch.where(kept, given[:, 1:], drawn)], dim=1)

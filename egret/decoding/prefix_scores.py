"""CTC prefix scores: how probable it is that a transcript begins with some tokens, for beams of them at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from egret.decoding.beams import LOST, pick
from egret.decoding.prefix_beam import blanks_beyond
from egret.models.decoder import BLANK


@dataclass
class PrefixScores:
    """Prefixes of N utterances, B of each, against all frames (Watanabe et al. 2017, algorithm 2).

    Attributes:
      log_probs: [N, T, V] in float64, surely blank beyond an utterance's end.
      upto: sums of each token's log probabilities over the frames up to each, [N, T, V].
      in_token: of each prefix, the logarithm of the sum over alignments that end in its last token at a frame,
        [N, B, T].
      in_blank: over those that end in a blank.
      last: the last tokens, int64 [N, B]; BLANK: none.
    """

    log_probs: Tensor
    upto: Tensor
    in_token: Tensor
    in_blank: Tensor
    last: Tensor

    @classmethod
    def begin(cls, log_probs: Tensor, lengths: Tensor, beam: int) -> "PrefixScores":
        """Prefixes without tokens, by log probabilities [N, T, V] of lengths [N]."""
        log_probs = blanks_beyond(log_probs, lengths)
        upto = log_probs.cumsum(dim=1)
        in_blank = upto[:, :, BLANK].unsqueeze(1).expand(-1, beam, -1).contiguous()
        last = torch.full((len(log_probs), beam), BLANK, device=log_probs.device)
        return cls(log_probs, upto, torch.full_like(in_blank, LOST), in_blank, last)

    def whole(self) -> Tensor:
        """The logarithm of the probability that these are the whole transcripts, [N, B]."""
        return torch.logaddexp(self.in_token[:, :, -1], self.in_blank[:, :, -1])

    def longer(self, tokens: Tensor) -> "Longer":
        """What the prefixes are with each of the tokens [N, B, K] after them."""
        chances, upto = self._of(self.log_probs, tokens), self._of(self.upto, tokens)
        doubled = (tokens == self.last.unsqueeze(2)).unsqueeze(3)
        reached = torch.where(doubled, self.in_blank.unsqueeze(2),
                              torch.logaddexp(self.in_blank, self.in_token).unsqueeze(2))  # fmt: skip
        # The alignments on whose end the token can follow at each frame; before the first, those of no tokens alone.
        first = torch.where(self.last == BLANK, 0.0, LOST).to(reached)[:, :, None, None].expand_as(reached[..., :1])
        reached = torch.cat([first, reached[..., :-1]], dim=3)
        begins = torch.logsumexp(reached + chances, dim=3).clamp(min=LOST)
        in_token = sums(reached, upto)
        blanks = self.upto[:, None, None, :, BLANK]
        entered = torch.cat([torch.full_like(first, LOST), in_token[..., :-1]], dim=3)
        return Longer(self, tokens, begins, in_token, sums(entered, blanks))

    @staticmethod
    def _of(table: Tensor, tokens: Tensor) -> Tensor:
        """Columns [N, B, K, T] of a table [N, T, V] by tokens [N, B, K]."""
        batch, beam, count = tokens.shape
        places = tokens.flatten(1).unsqueeze(2).expand(-1, -1, table.shape[1])
        return table.transpose(1, 2).gather(1, places).view(batch, beam, count, -1)


@dataclass
class Longer:
    """Prefixes with one more token of K each.

    Attributes:
      begins: the logarithm of the probability that transcripts begin so, [N, B, K].
    """

    before: PrefixScores
    tokens: Tensor
    begins: Tensor
    in_token: Tensor
    in_blank: Tensor

    def chosen(self, places: Tensor) -> PrefixScores:
        """The prefixes at places [N, B'] among the B * K."""
        kept = [pick(each.flatten(1, 2), places) for each in (self.in_token, self.in_blank)]
        return PrefixScores(
            self.before.log_probs, self.before.upto, kept[0], kept[1], self.tokens.flatten(1).gather(1, places)
        )


def sums(entered: Tensor, upto: Tensor) -> Tensor:
    """Logarithms of a row of sums y_t = p_t (y_{t-1} + x_t), for all frames at once, [..., T].

    Args:
      entered: the logarithm of x_t.
      upto: the sum of log p over the frames up to t.
    """
    before = torch.cat([torch.zeros_like(upto[..., :1]), upto[..., :-1]], dim=-1)
    return (upto + torch.logcumsumexp(entered - before, dim=-1)).clamp(min=LOST)

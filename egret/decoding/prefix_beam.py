"""CTC prefix beam search, over all utterances of a batch and all their prefixes at once.

Graves 2012, "Sequence transduction with recurrent neural networks", and Hannun et al. 2014, "First-pass large
vocabulary continuous speech recognition using bi-directional recurrent DNNs": a transcript is scored by the sum over
its alignments, of which those that end in a blank and those that end in its last token are kept apart.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from egret.decoding.beams import LOST
from egret.decoding.fusion import Fusion
from egret.models.decoder import BLANK
from egret.models.masking import frame_mask

IMPROBABLE = -1e4  # natural logarithm
NO_PARENT = -1  # the key that no prefix has
# Odd numbers without a pattern, by which keys are mixed.
MIX_TOKEN, MIX_PREFIX = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9


@dataclass(frozen=True)
class Transcript:
    """A hypothesis: token ids, the logarithm of the sum over its alignments, and what was added to it."""

    tokens: list[int]
    ctc: float
    added: float

    @property
    def score(self) -> float:
        return self.ctc + self.added


@dataclass
class Beam:
    """The prefixes of a batch after some frames: all tensors [N, B], scores in float64.

    Attributes:
      in_blank: the logarithm of the sum over alignments that end in a blank.
      in_token: over those that end in the last token.
      last: the last token; BLANK: there is none.
      key: a number for each prefix by which equal ones are known; below NO_PARENT where a place is empty.
      parent: the key of the prefix without its last token.
      added: what `fusion` has added.
      context: numbers of its contexts.
    """

    in_blank: Tensor
    in_token: Tensor
    last: Tensor
    key: Tensor
    parent: Tensor
    added: Tensor
    context: Tensor

    @classmethod
    def empty(cls, batch: int, size: int, device: torch.device) -> "Beam":
        nothing = torch.zeros(batch, size, dtype=torch.long, device=device)
        in_blank = torch.full((batch, size), LOST, dtype=torch.float64, device=device)
        in_token = in_blank.clone()
        in_blank[:, 0] = 0.0
        beam = cls(in_blank, in_token, nothing, nothing + 1, nothing + NO_PARENT, torch.zeros_like(in_blank), nothing)
        beam.empty_places()
        return beam

    @property
    def ctc(self) -> Tensor:
        return torch.logaddexp(self.in_blank, self.in_token)

    def empty_places(self) -> None:
        """Places without a probability get keys of their own, so that none is taken for a prefix's double."""
        empty = self.ctc < LOST / 2
        places = torch.arange(self.key.shape[1], device=self.key.device)
        self.key = torch.where(empty, NO_PARENT - 1 - places, self.key)
        self.parent = self.parent.masked_fill(empty, NO_PARENT)


@torch.no_grad()
def prefix_beam(
    log_probs: Tensor,
    lengths: Tensor,
    size: int,
    most_tokens: int,
    token_beam: float,
    fusion: Fusion | None = None,
) -> list[list[Transcript]]:
    """The best transcripts of each utterance, the best first, at most `size`.

    Args:
      log_probs: [N, T, V] of lengths [N].
      size: prefixes kept of each utterance.
      most_tokens: with which prefixes are made longer at a frame, the most probable ones.
      token_beam: of these, those that are less probable than the frame's best by more than this are left out.
      fusion: adds scores to prefixes.
    """
    log_probs = blanks_beyond(log_probs, lengths)
    tokens, chances, most = worth_trying(log_probs, most_tokens, token_beam)
    beam = Beam.empty(len(log_probs), size, log_probs.device)
    origins: list[Tensor] = []  # of each frame with new tokens: the place that a prefix came from, and what it got
    given: list[Tensor] = []
    for frame, count in enumerate(most):
        longer = Longer(beam, tokens[:, frame, :count], chances[:, frame, :count], fusion) if count else None
        stay(beam, log_probs[:, frame])
        if longer is not None:
            origin, token = longer.choose(beam)
            origins.append(origin)
            given.append(token)
    return transcripts(beam, origins, given, fusion)


def blanks_beyond(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Log probabilities [N, T, V] in float64, frames beyond an utterance's end being surely blank: nothing changes
    there."""
    beyond = ~frame_mask(lengths.to(log_probs.device), log_probs.shape[1]).unsqueeze(2)
    # No frame is so improbable that the others no longer matter beside it.
    log_probs = log_probs.double().clamp(min=IMPROBABLE).masked_fill(beyond, LOST)
    log_probs[:, :, BLANK] = log_probs[:, :, BLANK].masked_fill(beyond.squeeze(2), 0.0)
    return log_probs


def worth_trying(log_probs: Tensor, most_tokens: int, token_beam: float) -> tuple[Tensor, Tensor, list[int]]:
    """Tokens [N, T, K] with which prefixes may grow, the most probable first, BLANK in the place of those left out;
    their log probabilities [N, T, K]; and how many of them each of the T frames has in any utterance."""
    best = log_probs.max(dim=2, keepdim=True).values
    kinds = log_probs.shape[2] - 1
    chances, tokens = log_probs[:, :, 1:].topk(min(most_tokens, kinds), dim=2)
    kept = chances >= best - token_beam
    most = kept.sum(dim=2).amax(dim=0).tolist()
    return (tokens + 1).masked_fill(~kept, BLANK), chances.masked_fill(~kept, LOST), most


def stay(beam: Beam, frame: Tensor) -> None:
    """All prefixes by one frame [N, V] on, without a new token; a prefix of the beam that another one becomes by a new
    token has it from this one as well."""
    ctc, again = beam.ctc, frame.gather(1, beam.last)
    # [N, B, B]: of prefix i, whether it is prefix j without the last token. At most one i is.
    grows = (beam.key.unsqueeze(2) == beam.parent.unsqueeze(1)).to(torch.float64)
    found = grows.amax(dim=1) > 0
    parent = grows.argmax(dim=1)
    # Between equal tokens there must be a blank.
    doubled = beam.last.gather(1, parent) == beam.last
    reached = torch.where(doubled, beam.in_blank.gather(1, parent), ctc.gather(1, parent)).masked_fill(~found, LOST)
    beam.in_token = torch.logaddexp(beam.in_token, reached) + again
    beam.in_blank = ctc + frame[:, :1]


class Longer:
    """What the prefixes of a beam become by the tokens of a frame, to be made before they `stay` over it."""

    def __init__(self, beam: Beam, tokens: Tensor, chances: Tensor, fusion: Fusion | None) -> None:
        """tokens, chances: [N, K]."""
        self.tokens, self.fusion = tokens, fusion
        new, last = tokens.unsqueeze(1), beam.last.unsqueeze(2)
        doubled = (new == last) & (last != BLANK)
        before = torch.where(doubled, beam.in_blank.unsqueeze(2), beam.ctc.unsqueeze(2))
        # Those that are in the beam already have their share by `stay`.
        child = (beam.key.unsqueeze(2) == beam.parent.unsqueeze(1)).float()
        ends_so = (beam.last.unsqueeze(2) == new).float()
        there = torch.bmm(child, ends_so) > 0
        self.ctc = (before + chances.unsqueeze(1)).masked_fill(there, LOST).clamp(min=LOST)  # [N, B, K]
        self.keys = mixed(beam.key.unsqueeze(2), new)

    def add(self, beam: Beam, least: Tensor) -> Tensor:
        """What is added to the longer prefixes [N, B, K]; those that cannot come to `least` [N] are given up."""
        added = beam.added.unsqueeze(2).expand_as(self.ctc)
        if self.fusion is None:
            return added
        most = self.fusion.most.to(self.ctc.device)[self.tokens].unsqueeze(1) + 1e-9  # rounding
        ahead = (self.ctc > LOST / 2) & (self.ctc + added + most >= least[:, None, None])
        self.ctc = self.ctc.masked_fill(~ahead, LOST)
        return added + self.fusion.scores(beam.context, self.tokens, ahead)

    def choose(self, beam: Beam) -> tuple[Tensor, Tensor]:
        """Keep the best of the prefixes as they were and the longer ones; returns the places [N, B] that they came
        from and the tokens [N, B] that they got, BLANK for none."""
        size, count = beam.key.shape[1], self.tokens.shape[1]
        as_before = beam.ctc + beam.added
        added = self.add(beam, as_before.amin(dim=1)).flatten(1)
        ranked = torch.cat([as_before, self.ctc.flatten(1) + added], dim=1)
        place = ranked.topk(size, dim=1).indices
        grown = place >= size
        beyond = (place - size).clamp(min=0)
        origin = torch.where(grown, torch.div(beyond, count, rounding_mode="floor"), place)
        token = torch.where(grown, self.tokens.gather(1, beyond % count), torch.full_like(place, BLANK))

        def chosen(stays: Tensor, grows: Tensor) -> Tensor:
            return torch.where(grown, grows, stays.gather(1, origin))

        context = beam.context.gather(1, origin)
        if self.fusion is not None:
            context = self.fusion.contexts_after(context, token)
        beam.in_token = chosen(beam.in_token, self.ctc.flatten(1).gather(1, beyond))
        beam.in_blank = beam.in_blank.gather(1, origin).masked_fill(grown, LOST)
        beam.added = chosen(beam.added, added.gather(1, beyond))
        beam.last = chosen(beam.last, token)
        beam.parent, beam.key = (
            chosen(beam.parent, beam.key.gather(1, origin)),
            chosen(beam.key, self.keys.flatten(1).gather(1, beyond)),
        )
        beam.context = context
        beam.empty_places()
        return origin, token


def mixed(key: Tensor, token: Tensor) -> Tensor:
    """The key of a prefix and one more token, int64 from 0 on; equal prefixes have equal keys, and others by chance in
    one of 2**63 cases."""
    key = (key ^ (token + 1) * MIX_TOKEN) * MIX_PREFIX
    key = (key ^ (key >> 31)) * MIX_TOKEN
    return (key ^ (key >> 29)) & ((1 << 63) - 1)


def transcripts(
    beam: Beam, origins: list[Tensor], given: list[Tensor], fusion: Fusion | None
) -> list[list[Transcript]]:
    """What the prefixes are, followed back through the frames."""
    added = beam.added if fusion is None else beam.added + fusion.endings(beam.context)
    order = (beam.ctc + added).argsort(dim=1, descending=True, stable=True)
    ctc, added = beam.ctc.gather(1, order), added.gather(1, order)
    rows = []
    place = order
    for origin, token in zip(reversed(origins), reversed(given), strict=True):
        rows.append(token.gather(1, place))
        place = origin.gather(1, place)
    said = torch.stack(rows[::-1], dim=2).tolist() if rows else [[[]] * order.shape[1]] * len(order)
    return [
        [
            Transcript([token for token in tokens if token != BLANK], score, more)
            for tokens, score, more in zip(*each, strict=True)
            if score > LOST / 2
        ]
        for each in zip(said, ctc.tolist(), added.tolist(), strict=True)
    ]

"""Beam search with an attention decoder alone, over all utterances of a batch at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egret.decoding.beams import LOST, length_penalty, pick
from egret.decoding.hypotheses import LENGTH_PENALTY, Hypothesis, Lists, middle, row_of
from egret.decoding.search import Context, Encoded, Made
from egret.lang.lang import Lang
from egret.models.decoder import BLANK, END, State
from egret.models.greedy import most_tokens
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder

NOTICED, WORSE = 3, 10.0  # lengths, and natural logarithms, after which longer hypotheses are given up


@dataclass(frozen=True)
class Spelled:
    """A hypothesis: token ids, the logarithm of their probability, the end's included, and that over the penalty."""

    tokens: list[int]
    score: float
    normalised: float


@dataclass
class Ended:
    """The best hypotheses so far that have ended.

    Attributes:
      ranked: what they are ordered by [N, B]: the logarithm of their probability over the length penalty.
      scores: the logarithm of their probability [N, B].
      tokens: int64 [N, B, U].
      counts: of their tokens, int64 [N, B].
    """

    ranked: Tensor
    scores: Tensor
    tokens: Tensor
    counts: Tensor

    @classmethod
    def none(cls, batch: int, beam: int, longest: int, like: Tensor) -> "Ended":
        lost = torch.full((batch, beam), LOST, device=like.device)
        return cls(lost, lost, torch.zeros(batch, beam, longest, dtype=torch.long, device=like.device),
                   torch.zeros(batch, beam, dtype=torch.long, device=like.device))  # fmt: skip

    def add(self, ranked: Tensor, scores: Tensor, tokens: Tensor, count: int) -> None:
        """Hypotheses that end now with so many tokens; only as many as before are kept."""
        beam = self.ranked.shape[1]
        self.ranked, chosen = torch.cat([self.ranked, ranked], dim=1).topk(beam, dim=1)
        self.scores = torch.cat([self.scores, scores], dim=1).gather(1, chosen)
        self.counts = torch.cat([self.counts, torch.full_like(self.counts, count)], dim=1).gather(1, chosen)
        self.tokens = pick(torch.cat([self.tokens, tokens], dim=1), chosen)

    def of(self, places: Tensor) -> "Ended":
        """Those of some utterances."""
        return Ended(self.ranked[places], self.scores[places], self.tokens[places], self.counts[places])

    def spelled(self) -> list[list[Spelled]]:
        """Of each utterance, the best first."""
        return [
            [
                Spelled(tokens[:count].tolist(), score, normalised)
                for tokens, score, normalised, count in zip(*each, strict=True)
                if score > LOST / 2
            ]
            for each in zip(self.tokens, self.scores.tolist(), self.ranked.tolist(), self.counts.tolist(), strict=True)
        ]


@torch.no_grad()
def attention_beam(
    decoder: TransformerDecoder | Speller,
    x: Tensor,
    lengths: Tensor,
    limits: Tensor,
    beam: int,
    penalty: float,
    listed: int = 1,
) -> list[list[Spelled]]:
    """The best transcripts of each utterance, the best first, at most as many as the beam is wide.

    Hypotheses grow by a token at a time; those that end are ordered by the logarithm of their probability over
    ((5 + tokens) / 6) ** penalty (Wu et al. 2016, section 7). An utterance is over when no longer hypothesis can become
    one of its `listed` best; when those that ended at the last few lengths were hopelessly worse (Watanabe et al. 2017,
    section 2.4), and those that go on are less probable than the last of these; or at as many tokens as it may have.
    What comes later for others in the batch does not matter to it.

    Args:
      x: the encoder's output [N, T, D] of lengths [N].
      limits: most tokens of each utterance, int64 [N].
      listed: how many of the transcripts are wanted, at most as many as the beam is wide; the others are what was found
        on the way.
    """
    batch, limits = len(x), limits.to(x.device)
    memory, state = decoder.begin(x, lengths, beam)
    longest = int(limits.max())
    scores = torch.full((batch, beam), LOST, device=x.device)
    scores[:, 0] = 0.0  # all begin alike
    tokens = torch.zeros(batch, beam, longest, dtype=torch.long, device=x.device)
    given = torch.full((batch, beam), END, device=x.device)
    ended = Ended.none(batch, beam, longest, x)
    at_length: list[Tensor] = []  # the best that ended with each number of tokens, [N]
    over = torch.zeros(batch, dtype=torch.bool, device=x.device)
    found: list[list[Spelled]] = [[] for _ in range(batch)]
    searched = torch.arange(batch, device=x.device)  # the utterances that are still in the tensors
    for count in range(longest + 1):
        logits, state = decoder.step(given, memory, state)
        chances = logits.float().log_softmax(dim=2)
        closing = (scores + chances[:, :, END]).masked_fill(over.unsqueeze(1), LOST)
        ended.add(closing / length_penalty(count, penalty), closing, tokens, count)
        at_length.append(closing.max(dim=1).values)
        over = over | hopeless(ended, scores, at_length, limits, penalty, listed) | (count >= limits)
        if int(over.sum()) * 5 >= len(over):  # those that are over would cost as much as the others
            for utterance, spelled in zip(searched[over].tolist(), ended.of(over).spelled(), strict=True):
                found[utterance] = spelled
            going_on = ~over
            if not bool(going_on.any()):
                break
            memory, state = some(memory, going_on), some(state, going_on)
            searched, limits, over, ended = searched[going_on], limits[going_on], over[going_on], ended.of(going_on)
            scores, tokens, chances = scores[going_on], tokens[going_on], chances[going_on]
            at_length = [best[going_on] for best in at_length]
        chances[:, :, [BLANK, END]] = LOST
        scores, places = (scores.unsqueeze(2) + chances).flatten(1).topk(beam, dim=1)
        parents, given = torch.div(places, chances.shape[2], rounding_mode="floor"), places % chances.shape[2]
        tokens, state = pick(tokens, parents), reordered(state, parents)
        tokens[:, :, count] = given
    return found


def some(tensors: State, places: Tensor) -> State:
    """Of a decoder's memory or state the part of some utterances."""
    return {name: tensor[places] for name, tensor in tensors.items()}


def hopeless(
    ended: Ended, scores: Tensor, at_length: list[Tensor], limits: Tensor, penalty: float, listed: int
) -> Tensor:
    """Whether longer hypotheses are of no use, bool [N]."""
    going_on, last = scores[:, 0], listed - 1
    # No hypothesis becomes more probable by growing, and none can be divided by more than the longest is.
    found = going_on / length_penalty(limits, penalty) <= ended.ranked[:, last]
    if len(at_length) > NOTICED:
        lately = torch.stack(at_length[-NOTICED:]).max(dim=0).values
        worse = torch.stack(at_length).max(dim=0).values - lately > WORSE
        found = found | (worse & (going_on < ended.scores[:, last]))
    return found


def reordered(state: State, parents: Tensor) -> State:
    return {name: pick(tensor, parents) for name, tensor in state.items()}


def spelled(context: Context, encoded: Encoded, penalty: float, whole: bool) -> list[list[Spelled]]:
    """What the search finds, once for all methods; the best one, or the whole list as wide as the beam."""
    options, decoder = context.options.attention, context.model.decoder
    assert decoder is not None  # make_search has looked
    limits = most_tokens(encoded.frames, options.max_ratio)
    return encoded.kept.once(("attention_beam", penalty, whole), lambda: attention_beam(
        decoder, encoded.x, encoded.lengths, limits, options.beam, penalty, options.beam if whole else 1))  # fmt: skip


def hypotheses(lang: Lang, found: Iterable[Spelled]) -> Iterator[Hypothesis]:
    for one in found:
        yield Hypothesis(lang.decode(one.tokens), one.tokens, one.score, {"attention": one.score}, one.normalised)


def fixed(context: Context) -> dict[str, Any]:
    """Of a setting what is the same in all."""
    return {"beam": context.options.attention.beam, "max_ratio": context.options.attention.max_ratio}


def penalties(context: Context) -> list[dict[str, Any]]:
    return [{LENGTH_PENALTY: penalty} for penalty in context.options.attention.length_penalty]


def attention_search(context: Context) -> Made:
    """The search, and each length penalty."""
    lang, keep = context.lang, context.options.nbest.keep

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [row_of(lang, hypotheses(lang, found), keep)
                for found in spelled(context, encoded, params[LENGTH_PENALTY], keep > 1)]  # fmt: skip

    return search, [{**fixed(context), **each} for each in penalties(context)]


def attention_lists(context: Context) -> Lists:
    """What the search finds with the middle one of the length penalties, to be ordered with each of them."""
    lang, first = context.lang, middle(context.options.attention.length_penalty)

    def make(encoded: Encoded) -> list[list[Hypothesis]]:
        return [list(hypotheses(lang, found)) for found in spelled(context, encoded, first, True)]

    def total(found: Hypothesis, params: dict[str, Any]) -> float:
        return found.parts["attention"]

    return Lists("attention_beam", make, total, fixed(context), {LENGTH_PENALTY: first}, penalties(context))

"""One-pass beam search with CTC and an attention decoder together, over all utterances of a batch at once.

Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition", section 2.4.3.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egret.decoding.attention_beam import Ended, hopeless, reordered
from egret.decoding.beams import LOST, length_penalty, pick
from egret.decoding.hypotheses import LENGTH_PENALTY, Hypothesis, Lists, middle, row_of
from egret.decoding.prefix_scores import PrefixScores
from egret.decoding.search import Context, Encoded, Made
from egret.lang.lang import Lang
from egret.models.decoder import BLANK, END
from egret.models.greedy import most_tokens
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder


@dataclass(frozen=True)
class Joint:
    """A hypothesis: token ids, the weighted sum of the logarithms of its probabilities, that over the penalty, and the
    logarithms themselves."""

    tokens: list[int]
    score: float
    normalised: float
    ctc: float
    attention: float


@torch.no_grad()
def joint_beam(
    decoder: TransformerDecoder | Speller,
    x: Tensor,
    log_probs: Tensor,
    lengths: Tensor,
    limits: Tensor,
    beam: int,
    preselected: int,
    ctc_weight: float,
    penalty: float,
    listed: int = 1,
) -> list[list[Joint]]:
    """The best transcripts of each utterance, the best first, at most as many as the beam is wide.

    As `attention_beam`, with scores of (1 - ctc_weight) times the decoder's and ctc_weight times CTC's: for a
    hypothesis that goes on, that transcripts begin so, for one that ends, that this is all. What CTC has no room for is
    left out.

    Args:
      x: the encoder's output [N, T, D] of lengths [N].
      log_probs: CTC's [N, T, V].
      limits: most tokens of each utterance, int64 [N].
      preselected: tokens after each hypothesis that CTC is asked about: those that the decoder finds most probable.
      listed: how many of the transcripts are wanted, as of `attention_beam`.
    """
    batch = len(x)
    memory, state = decoder.begin(x, lengths, beam)
    ctc = PrefixScores.begin(log_probs, lengths, beam)
    limits = torch.minimum(limits.to(x.device), lengths.to(x.device))  # CTC has room for no more
    longest = int(limits.max())
    by_attention = torch.zeros(batch, beam, device=x.device)
    scores = torch.full((batch, beam), LOST, device=x.device)
    scores[:, 0] = 0.0  # all begin alike
    tokens = torch.zeros(batch, beam, longest, dtype=torch.long, device=x.device)
    given = torch.full((batch, beam), END, device=x.device)
    ended = Ended.none(batch, beam, longest, x)
    # The same hypotheses: what CTC gives them, and the decoder.
    ended_ctc, ended_attention = (Ended.none(batch, beam, 0, x) for _ in range(2))
    at_length: list[Tensor] = []  # the best that ended with each number of tokens, [N]
    over = torch.zeros(batch, dtype=torch.bool, device=x.device)
    for count in range(longest + 1):
        logits, state = decoder.step(given, memory, state)
        chances = logits.float().log_softmax(dim=2)
        whole = ctc.whole().to(scores)
        spelled = by_attention + chances[:, :, END]
        closing = mixed(spelled, whole, ctc_weight, scores)
        closing = closing.masked_fill(over.unsqueeze(1), LOST)
        ranked = closing / length_penalty(count, penalty)
        ended.add(ranked, closing, tokens, count)
        ended_ctc.add(ranked, whole, tokens[:, :, :0], count)
        ended_attention.add(ranked, spelled, tokens[:, :, :0], count)
        at_length.append(closing.max(dim=1).values)
        over = over | hopeless(ended, scores, at_length, limits, penalty, listed) | (count >= limits)
        if bool(over.all()):
            break
        chances[:, :, [BLANK, END]] = LOST
        chances, candidates = chances.topk(min(preselected, chances.shape[2] - 2), dim=2)
        longer = ctc.longer(candidates)
        attention = by_attention.unsqueeze(2) + chances
        ahead = mixed(attention, longer.begins.to(scores), ctc_weight, scores.unsqueeze(2)).flatten(1)
        if ahead.shape[1] < beam:  # so few units: places that no hypothesis has
            lacking = beam - ahead.shape[1]
            ahead = torch.cat([ahead, ahead.new_full((batch, lacking), LOST)], dim=1)
        scores, places = ahead.topk(beam, dim=1)
        places = places.clamp(max=attention[0].numel() - 1)
        by_attention, given = attention.flatten(1).gather(1, places), candidates.flatten(1).gather(1, places)
        parents = torch.div(places, candidates.shape[2], rounding_mode="floor")
        ctc, tokens, state = longer.chosen(places), pick(tokens, parents), reordered(state, parents)
        tokens[:, :, count] = given
    columns = [each.tolist() for each in (ended.scores, ended.ranked, ended_ctc.scores, ended_attention.scores)]
    return [
        [Joint(tokens[:count].tolist(), *scores) for tokens, count, *scores in zip(*each, strict=True)
         if scores[0] > LOST / 2]
        for each in zip(ended.tokens, ended.counts.tolist(), *columns, strict=True)
    ]  # fmt: skip


def mixed(attention: Tensor, ctc: Tensor, weight: float, before: Tensor) -> Tensor:
    """The weighted sum of both scores; LOST where CTC has none, or had been before."""
    lost = (ctc < LOST / 2) | (before < LOST / 2)
    return ((1 - weight) * attention + weight * ctc).masked_fill(lost, LOST)


def found_jointly(
    context: Context, encoded: Encoded, ctc_weight: float, penalty: float, whole: bool
) -> list[list[Joint]]:
    """What the search finds, once for all methods; the best one, or the whole list as wide as the beam."""
    options, decoder = context.options.joint, context.model.decoder
    assert decoder is not None  # make_search has looked
    preselected = math.ceil(options.preselect * options.beam)
    limits = most_tokens(encoded.frames, options.max_ratio)
    listed = options.beam if whole else 1
    return encoded.kept.once(("joint_beam", ctc_weight, penalty, whole), lambda: joint_beam(
        decoder, encoded.x, *encoded.ctc, limits, options.beam, preselected, ctc_weight, penalty, listed))  # fmt: skip


def hypotheses(lang: Lang, found: Iterable[Joint]) -> Iterator[Hypothesis]:
    for one in found:
        parts = {"ctc": one.ctc, "attention": one.attention}
        yield Hypothesis(lang.decode(one.tokens), one.tokens, one.score, parts, one.normalised)


def fixed(context: Context) -> dict[str, Any]:
    """Of a setting what is the same in all."""
    options = context.options.joint
    return {"beam": options.beam, "preselect": options.preselect, "max_ratio": options.max_ratio}


def weights(context: Context) -> list[dict[str, Any]]:
    """Each weight of CTC with each length penalty."""
    options = context.options.joint
    return [{"ctc_weight": weight, LENGTH_PENALTY: penalty}
            for weight in options.ctc_weight for penalty in options.length_penalty]  # fmt: skip


def joint_search(context: Context) -> Made:
    """The search, and each weight of CTC with each length penalty."""
    lang, keep = context.lang, context.options.nbest.keep

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        found = found_jointly(context, encoded, params["ctc_weight"], params[LENGTH_PENALTY], keep > 1)
        return [row_of(lang, hypotheses(lang, each), keep) for each in found]

    return search, [{**fixed(context), **each} for each in weights(context)]


def joint_lists(context: Context) -> Lists:
    """What the search finds with the middle ones of the weights and of the penalties, to be weighed with each pair."""
    options, lang = context.options.joint, context.lang
    weight, penalty = middle(options.ctc_weight), middle(options.length_penalty)

    def make(encoded: Encoded) -> list[list[Hypothesis]]:
        return [list(hypotheses(lang, found)) for found in found_jointly(context, encoded, weight, penalty, True)]

    def total(found: Hypothesis, params: dict[str, Any]) -> float:
        share = params["ctc_weight"]
        return share * found.parts["ctc"] + (1 - share) * found.parts["attention"]

    first = {"ctc_weight": weight, LENGTH_PENALTY: penalty}
    return Lists("joint_beam", make, total, fixed(context), first, weights(context))

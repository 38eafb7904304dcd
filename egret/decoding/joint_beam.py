"""One-pass beam search with CTC and an attention decoder together, over all utterances of a batch at once.

Watanabe et al. 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition", section 2.4.3.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egret.decoding.attention_beam import Ended, hopeless, length_penalty, reordered
from egret.decoding.beams import LOST, pick
from egret.decoding.prefix_scores import PrefixScores
from egret.decoding.search import Context, Encoded, Made, best_said
from egret.models.decoder import BLANK, END
from egret.models.greedy import most_tokens
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder


@dataclass(frozen=True)
class Joint:
    """A hypothesis: token ids, the weighted sum of the logarithms of its probabilities, and CTC's alone."""

    tokens: list[int]
    score: float
    ctc: float


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
    ended_ctc = Ended.none(batch, beam, 0, x)  # the same hypotheses: what CTC gives them
    at_length: list[Tensor] = []  # the best that ended with each number of tokens, [N]
    over = torch.zeros(batch, dtype=torch.bool, device=x.device)
    for count in range(longest + 1):
        logits, state = decoder.step(given, memory, state)
        chances = logits.float().log_softmax(dim=2)
        whole = ctc.whole().to(scores)
        closing = mixed(by_attention + chances[:, :, END], whole, ctc_weight, scores)
        closing = closing.masked_fill(over.unsqueeze(1), LOST)
        ranked = closing / length_penalty(count, penalty)
        ended.add(ranked, closing, tokens, count)
        ended_ctc.add(ranked, whole, tokens[:, :, :0], count)
        at_length.append(closing.max(dim=1).values)
        over = over | hopeless(ended, scores, at_length, limits, penalty) | (count >= limits)
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
    return [
        [Joint(tokens[:count].tolist(), score, by_ctc)
         for tokens, score, count, by_ctc in zip(*each, strict=True) if score > LOST / 2]
        for each in zip(ended.tokens, ended.scores.tolist(), ended.counts.tolist(), ended_ctc.scores.tolist(),
                        strict=True)
    ]  # fmt: skip


def mixed(attention: Tensor, ctc: Tensor, weight: float, before: Tensor) -> Tensor:
    """The weighted sum of both scores; LOST where CTC has none, or had been before."""
    lost = (ctc < LOST / 2) | (before < LOST / 2)
    return ((1 - weight) * attention + weight * ctc).masked_fill(lost, LOST)


def parts(found: Joint, ctc_weight: float) -> dict[str, float]:
    """The score by source."""
    if ctc_weight == 1:
        return {"ctc": found.ctc}
    return {"ctc": found.ctc, "attention": (found.score - ctc_weight * found.ctc) / (1 - ctc_weight)}


def joint_search(context: Context) -> Made:
    """The search, and each weight of CTC with each length penalty."""
    options, decoder, lang = context.options.joint, context.model.decoder, context.lang
    assert decoder is not None  # make_search has looked
    keep = context.options.nbest.keep
    preselected = math.ceil(options.preselect * options.beam)

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        limits = most_tokens(encoded.frames, options.max_ratio)
        log_probs, lengths = encoded.ctc
        weight = params["ctc_weight"]
        found = joint_beam(decoder, encoded.x, log_probs, lengths, limits, options.beam, preselected, weight,
                           params["length_penalty"])  # fmt: skip
        return [best_said(lang, [(one.tokens, one.score, parts(one, weight)) for one in each], keep) for each in found]

    fixed = {"beam": options.beam, "preselect": options.preselect, "max_ratio": options.max_ratio}
    return search, [{**fixed, "ctc_weight": weight, "length_penalty": penalty}
                    for weight in options.ctc_weight for penalty in options.length_penalty]  # fmt: skip

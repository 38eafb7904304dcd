"""The searches of decoding by name, and what each needs of a model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egret.base.errors import EgretError, UsageError, nearest
from egret.decoding.attention_beam import Spelled, attention_beam
from egret.decoding.options import AUTO, METHODS, DecodeOptions
from egret.lang.lang import Lang
from egret.models.greedy import ctc_greedy, most_tokens
from egret.models.model import JointModel


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a batch: its output [N, T, D], lengths [N], and CTC's log probabilities [N, T, V]; the
    features' lengths [N]."""

    x: Tensor
    lengths: Tensor
    frames: Tensor
    log_probs: Tensor | None

    @property
    def ctc(self) -> tuple[Tensor, Tensor]:
        """Log probabilities and lengths; refuse_without sees to it that there are some."""
        assert self.log_probs is not None
        return self.log_probs, self.lengths


# (what the encoder made of a batch, one setting of the method) -> N hypotheses
Search = Callable[[Encoded, dict[str, Any]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Context:
    """What searches are made of."""

    options: DecodeOptions
    model: JointModel
    lang: Lang


# A search and the settings to try with it.
Made = tuple[Search, list[dict[str, Any]]]


@dataclass(frozen=True)
class Method:
    """How a search is made, and what it needs.

    Attributes:
      needs: of `ctc`, `decoder` (of the model) and `graph` (--graph).
    """

    make: Callable[[Context], Made]
    needs: frozenset[str]


def make_search(method: str, context: Context) -> Made:
    """The search of a name, and its settings.

    Raises:
      UsageError: there is no such method, the model lacks what it needs, or the graph was not given.
      EgretError: it needs k2, which is not installed.
    """
    if method not in SEARCHES:
        known = [*METHODS, AUTO]
        raise UsageError(f"--method {method}: unknown{nearest(method, known)}; there are {', '.join(known)}")
    lacking = SEARCHES[method].needs - there_is(context.options, context.model)
    for part, name in (("ctc", "CTC"), ("decoder", "attention decoder")):
        if part in lacking:
            raise UsageError(f"--method {method}: the model in {context.options.experiment} has no {name}; use "
                             f"{' or '.join(possible(context.options, context.model))}, or train with one "
                             f"(--model.decoder, --model.ctc-weight)")  # fmt: skip
    if lacking:
        raise UsageError(f"--method {method} needs --graph, the folder with HLG.safetensors (stage 3)")
    return SEARCHES[method].make(context)


def there_is(options: DecodeOptions, model: JointModel) -> set[str]:
    """What methods may need and have."""
    there = {"ctc": model.head is not None, "decoder": model.decoder is not None, "graph": options.graph is not None}
    return {name for name, is_there in there.items() if is_there}


def possible(options: DecodeOptions, model: JointModel) -> list[str]:
    """The methods that the model has outputs for, in a graph if there is one."""
    there = there_is(options, model)
    return [name for name in METHODS if SEARCHES[name].needs <= there]


def methods(options: DecodeOptions, model: JointModel) -> list[str]:
    """Those that were asked for; instead of `auto` all that the model has outputs for."""
    if AUTO in options.method and len(options.method) > 1:
        raise UsageError(f"--method {' '.join(options.method)}: {AUTO} takes all that there are; give it alone")
    return possible(options, model) if options.method == [AUTO] else options.method


def greedy_search(context: Context) -> Made:
    lang = context.lang

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [hypothesis(lang, tokens, lang.decode(tokens), score)
                for tokens, score in ctc_greedy(*encoded.ctc)]  # fmt: skip

    return search, [{}]


def attention_search(context: Context) -> Made:
    options, decoder, lang = context.options.attention, context.model.decoder, context.lang
    assert decoder is not None  # make_search has looked

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        limits = most_tokens(encoded.frames, options.max_ratio)
        found = attention_beam(decoder, encoded.x, encoded.lengths, limits, options.beam, params["length_penalty"])
        best = [each[0] if each else Spelled([], -math.inf) for each in found]  # none: the scores are no numbers
        return [hypothesis(lang, each.tokens, lang.decode(each.tokens), each.score) for each in best]

    fixed = {"beam": options.beam, "max_ratio": options.max_ratio}
    return search, [{**fixed, "length_penalty": penalty} for penalty in options.length_penalty]


def hlg_search(context: Context) -> Made:
    options, lang = context.options, context.lang
    assert options.graph is not None  # make_search has looked
    try:
        from egret.decoding.graph import GraphDecoder
    except ImportError as error:
        raise EgretError(f"--method hlg_1best needs k2, which cannot be imported ({error}); install it "
                         f"(utils/doctor.py says how) or use --method ctc_greedy") from None  # fmt: skip
    decoder = GraphDecoder(options.graph, lang, torch.device("cpu"))
    beams = options.hlg

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            hypothesis(lang, best.tokens, [lang.word_names[word] for word in best.words], best.score)
            for best in decoder.decode(*encoded.ctc, beams, params["graph_scale"], params["word_score"])
        ]

    fixed = {"search_beam": beams.search_beam, "output_beam": beams.output_beam,
             "min_active": beams.min_active, "max_active": beams.max_active,
             "sure_blank": beams.sure_blank}  # fmt: skip
    return search, [{**fixed, "graph_scale": scale, "word_score": score}
                    for scale in beams.graph_scale for score in beams.word_score]  # fmt: skip


def hypothesis(lang: Lang, tokens: list[int], words: list[str], score: float) -> dict[str, Any]:
    """A row of hyp.jsonl without its id; the total score is null where no path was found (JSON has no infinity)."""
    total = score if math.isfinite(score) else None
    return {"words": words, "tokens": [lang.units[token] for token in tokens], "score": {"total": total}}


CTC, DECODER, GRAPH = "ctc", "decoder", "graph"
SEARCHES = {
    "ctc_greedy": Method(greedy_search, frozenset({CTC})),
    "attention_beam": Method(attention_search, frozenset({DECODER})),
    "hlg_1best": Method(hlg_search, frozenset({CTC, GRAPH})),
}

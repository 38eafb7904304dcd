"""N-best lists and lattices weighed anew: with other scales, a larger n-gram, an attention decoder.

HLG is searched once for a batch, with the middle one of the scales and of the words' scores that are to be tried. Every
setting then weighs what was found there, so that trying many costs next to nothing. Without a graph, lists come from
another search and are weighed in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egret.base.log import log
from egret.decoding.attention_beam import attention_lists
from egret.decoding.grammar_walk import Change, Grammar
from egret.decoding.hypotheses import Hypothesis, Lists, middle, row_of, settings_of
from egret.decoding.joint_beam import joint_lists
from egret.decoding.lattice import PRUNED, Lattice, Path, best_paths
from egret.decoding.options import HlgOptions
from egret.decoding.prefix_search import prefix_lists
from egret.decoding.search import Context, Encoded, Made
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.models.decoder import attention_loss, with_ends
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder

AT_ONCE = 128  # hypotheses that an attention decoder scores together


class Weights(NamedTuple):
    """How the scores of paths through HLG are weighed."""

    graph_scale: float
    word_score: float


def first_pass(options: HlgOptions) -> Weights:
    """With which HLG is searched."""
    return Weights(middle(options.graph_scale), middle(options.word_score))


def every_weight(options: HlgOptions) -> list[dict[str, Any]]:
    """Those to try."""
    return [Weights(*each)._asdict() for each in product(options.graph_scale, options.word_score)]


def lattices(context: Context, encoded: Encoded) -> Lattice:
    hlg = context.options.hlg
    return encoded.kept.once("lattices", lambda: context.graph.lattices(*encoded.ctc, hlg, *first_pass(hlg)))


def by_graph(lang: Lang, paths: Iterable[Path], params: dict[str, Any]) -> Iterator[Hypothesis]:
    for path in paths:
        total = path.total(params["graph_scale"], params["word_score"])
        parts = {"acoustic": path.acoustic, "graph": path.graph, **({"added": path.added} if path.added else {})}
        yield Hypothesis([lang.word_names[word] for word in path.words], path.tokens, total, parts, marks=path.marks)


# Lists


def lattice_lists(context: Context) -> Lists:
    """The best paths of each lattice within its beam, to be weighed with each scale and score of words."""
    options, first = context.options, first_pass(context.options.hlg)
    _ = context.graph  # what it lacks is said now, not at the first batch

    def make(encoded: Encoded) -> list[list[Hypothesis]]:
        found = best_paths(lattices(context, encoded), *first, options.nbest.paths, options.hlg.output_beam)
        return [list(by_graph(context.lang, paths, first._asdict())) for paths in found]

    def total(found: Hypothesis, params: dict[str, Any]) -> float:
        by_model = found.parts["acoustic"] + found.parts.get("added", 0.0)
        return by_model + params["graph_scale"] * found.parts["graph"] + params["word_score"] * len(found.words)

    fixed = {**options.hlg.beams, "paths": options.nbest.paths}
    return Lists("hlg_nbest", make, total, fixed, first._asdict(), every_weight(options.hlg))


def any_lists(context: Context, method: str) -> Lists:
    """Those of lattices where there is a graph, and CTC by which to search in it; else of the first of joint beam,
    attention beam and CTC prefix beam search that the model has outputs for."""
    model = context.model
    if model.head is None:
        return told(method, attention_lists(context))
    if context.options.graph or model.decoder is None:
        return lists_by_ctc(context, method)
    return told(method, joint_lists(context))


def lists_by_ctc(context: Context, method: str) -> Lists:
    """Those of lattices where there is a graph, else of CTC prefix beam search; for a model with CTC."""
    return told(method, (lattice_lists if context.options.graph else prefix_lists)(context))


def told(method: str, lists: Lists) -> Lists:
    log.info("%s: chooses from the n-best lists of %s", method, lists.source)
    return replace(lists, fixed={"lists": lists.source, **lists.fixed})


# Methods that choose from them


def nbest_search(context: Context) -> Made:
    """The best of the n-best list."""
    lists, keep = lattice_lists(context), context.options.nbest.keep

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [row_of(context.lang, lists.ranked(found, params), keep) for found in lists.find(encoded)]

    return search, lists.settings


def oracle_search(context: Context) -> Made:
    """Of the n-best list the hypothesis with the fewest errors, of equals the best: no method, but the floor of all
    that choose from the list."""
    lang, keep = context.lang, context.options.nbest.keep
    lists = any_lists(context, "nbest_oracle")

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for found, text in zip(lists.find(encoded), encoded.texts, strict=True):
            reference = normalise(text, lang.normaliser).split()
            ranked = list(lists.ranked(found, params))
            rows.append(row_of(lang, sorted(ranked, key=lambda each: errors(each, reference))[:1]))
            if keep:
                rows[-1]["nbest"] = row_of(lang, ranked, keep)["nbest"]
        return rows

    def errors(found: Hypothesis, reference: list[str]) -> int:
        import kaldialign

        said = normalise(" ".join(found.words), lang.normaliser).split()
        return int(kaldialign.edit_distance(reference, said)["total"])

    return search, [{**lists.fixed, **lists.first, "floor": True}]


class Source(NamedTuple):
    """What else scores the hypotheses of lists, each list once, and the weights to try for it."""

    name: str
    scales: Sequence[float]
    score: Callable[[Encoded, list[list[Hypothesis]]], list[list[float]]]


def rescored(context: Context, lists: Lists, sources: Sequence[Source]) -> Made:
    """The best of the n-best list with the scores of other sources as well; and all their weights with each setting of
    the list's own scores."""
    lang, keep = context.lang, context.options.nbest.keep

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        found = lists.find(encoded)
        scores = {source.name: encoded.kept.once((source.name, lists.source), partial(source.score, encoded, found))
                  for source in sources}  # fmt: skip
        return [row_of(lang, lists.ranked(each, params, {name: of[place] for name, of in scores.items()}), keep)
                for place, each in enumerate(found)]  # fmt: skip

    names = [f"{source.name}_scale" for source in sources]
    weights = [dict(zip(names, each, strict=True)) for each in product(*(source.scales for source in sources))]
    return search, [{**setting, **each} for setting in lists.settings for each in weights]


def attention_search(context: Context) -> Made:
    """The n-best list ordered by the scores of CTC, the graph and the attention decoder (Watanabe et al. 2017)."""
    return rescored(context, lists_by_ctc(context, "attention_rescore"), [by_attention(context)])


def by_attention(context: Context) -> Source:
    """The model's attention decoder."""
    decoder, lang = context.model.decoder, context.lang
    assert decoder is not None  # make_search has looked
    return Source("attention", context.options.nbest.attention_scale,
                  lambda encoded, found: decoder_scores(decoder, encoded, found, lang))  # fmt: skip


@torch.no_grad()
def decoder_scores(
    decoder: TransformerDecoder | Speller, encoded: Encoded, lists: Sequence[Sequence[Hypothesis]], lang: Lang
) -> list[list[float]]:
    """The logarithm of the probability that an attention decoder gives to each hypothesis, its end included."""
    owners = [place for place, found in enumerate(lists) for _ in found]
    targets = [spelling(each, lang) for found in lists for each in found]
    scores = [0.0] * len(targets)
    order = sorted(range(len(targets)), key=lambda place: len(targets[place]))
    for begin in range(0, len(order), AT_ONCE):
        chosen = order[begin : begin + AT_ONCE]
        given, wanted = with_ends([targets[place] for place in chosen], encoded.x.device)
        rows = torch.tensor([owners[place] for place in chosen], device=encoded.x.device)
        logits: Tensor = decoder(encoded.x[rows], encoded.lengths[rows.to(encoded.lengths.device)], given)
        for place, loss in zip(chosen, attention_loss(logits, wanted).tolist(), strict=True):
            scores[place] = -loss
    pending = iter(scores)
    return [[next(pending) for _ in found] for found in lists]


def spelling(found: Hypothesis, lang: Lang) -> list[int]:
    """The tokens of a hypothesis as decoders are trained with them: words in their first pronunciation and no silence.
    Where words have none, and where units that were spoken are trained, those that were found without silences."""
    text = " ".join(found.words)
    if not lang.spoken and not lang.outside(text):
        return lang.encode(text)
    silence = lang.tokens.get(lang.silence or "")
    return [token for token in found.tokens if token != silence]


# The whole lattice


def lattice_search(context: Context) -> Made:
    """The best path of the lattice with the scores of a larger n-gram, or with a share of them and the rest of the
    first one's: the two are interpolated log-linearly.

    Raises:
      EgretError: it is of other words than the lang folder has.
    """
    options, lang = context.options, context.lang
    assert options.rescore_lm is not None  # make_search has looked
    first = Grammar.read(options.first_lm, lang) if options.first_lm else None
    change = Change(Grammar.read(options.rescore_lm, lang), first)
    _ = context.graph

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        lattice = lattices(context, encoded)
        changed = encoded.kept.once("rescored", lambda: change(lattice, *first_pass(options.hlg)))
        keep = options.nbest.keep
        found = best_paths(changed.shared(params["rescore_scale"]), params["graph_scale"], params["word_score"],
                           max(keep, 1), options.hlg.output_beam)  # fmt: skip
        rows = [row_of(lang, by_graph(lang, paths, params), keep) for paths in found]
        if not all(found):  # without a path through the larger G; some may have none in the first pass either
            before = encoded.kept.once("first", lambda: best_paths(lattice, *first_pass(options.hlg)))
            for place, paths in enumerate(before):
                if paths and not found[place]:
                    rows[place] = {**row_of(lang, by_graph(lang, paths, params), keep), "fell_back": True}
        for place in changed.marks.get(PRUNED, ()):
            rows[place][PRUNED] = True
        return rows

    tried = [{**each, "rescore_scale": share} for each in every_weight(options.hlg) for share in options.rescore_scale]
    return search, settings_of(options.hlg.beams, first_pass(options.hlg)._asdict(), tried)

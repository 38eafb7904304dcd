"""N-best lists and lattices from HLG, weighed anew: with other scales, a larger n-gram, an attention decoder.

HLG is searched once for a batch, with the middle one of the scales and of the words' scores that are to be tried. Every
setting then weighs what was found there, so that trying many costs next to nothing.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from egret.decoding.grammar_walk import Change, Grammar
from egret.decoding.lattice import PRUNED, Lattice, Path, best_paths
from egret.decoding.options import HlgOptions
from egret.decoding.search import Context, Encoded, Made, hypothesis
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.models.decoder import attention_loss, with_ends
from egret.models.speller import Speller
from egret.models.transformer_decoder import TransformerDecoder

AT_ONCE = 128  # hypotheses that an attention decoder scores together


def middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def first_pass(options: HlgOptions) -> tuple[float, float]:
    """The graph's scale and the words' score with which HLG is searched."""
    return middle(options.graph_scale), middle(options.word_score)


def weights(options: HlgOptions) -> list[dict[str, Any]]:
    """The graph's scales and the words' scores to try, with what does not vary."""
    scale, score = first_pass(options)
    fixed = {**options.beams, "searched_with_scale": scale, "searched_with_word_score": score}
    return [{**fixed, "graph_scale": scale, "word_score": score}
            for scale, score in product(options.graph_scale, options.word_score)]  # fmt: skip


def lattices(context: Context, encoded: Encoded) -> Lattice:
    hlg = context.options.hlg
    return encoded.kept.once("lattices", lambda: context.graph.lattices(*encoded.ctc, hlg, *first_pass(hlg)))


def nbest(context: Context, encoded: Encoded) -> list[list[Path]]:
    """The n-best list of each utterance, the best of the first pass first: what is within the beam of the lattice."""
    options = context.options

    def make() -> list[list[Path]]:
        beam = options.hlg.output_beam
        return best_paths(lattices(context, encoded), *first_pass(options.hlg), options.nbest.paths, beam)

    return encoded.kept.once("nbest", make)


Scored = tuple[float, Path, dict[str, float]]  # the total score, the hypothesis, and scores by source


def row_of(context: Context, ranked: Sequence[Scored], keep: int = 0) -> dict[str, Any]:
    """A row of hyp.jsonl of hypotheses, the best first; `keep` of them are listed."""
    names = context.lang.word_names

    def words(path: Path) -> list[str]:
        return [names[word] for word in path.words]

    if ranked:
        total, path, parts = ranked[0]
        row = {**hypothesis(context.lang, path.tokens, words(path), total, parts), **dict.fromkeys(path.marks, True)}
    else:
        row = hypothesis(context.lang, [], [], -math.inf)
    if keep:
        row["nbest"] = [{"words": words(path), "score": {"total": total, **parts}}
                        for total, path, parts in ranked[:keep]]  # fmt: skip
    return row


def by_graph(path: Path, params: dict[str, Any]) -> Scored:
    total = path.total(params["graph_scale"], params["word_score"])
    parts = {"acoustic": path.acoustic, "graph": path.graph}
    return total, path, parts | ({"added": path.added} if path.added else {})


def nbest_search(context: Context) -> Made:
    """The best of the n-best list."""
    options = context.options
    _ = context.graph  # what it lacks is said now, not at the first batch

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for paths in nbest(context, encoded):
            ranked = sorted((by_graph(path, params) for path in paths), key=lambda each: -each[0])
            rows.append(row_of(context, ranked, options.nbest.keep))
        return rows

    return search, [{**each, "paths": options.nbest.paths} for each in weights(options.hlg)]


def oracle_search(context: Context) -> Made:
    """Of the n-best list the hypothesis with the fewest errors, of equals the best: no method, but the floor of all
    that choose from the list."""
    options, lang = context.options, context.lang
    normaliser = lang.normaliser
    _ = context.graph
    scale, score = first_pass(options.hlg)
    params = {**options.hlg.beams, "graph_scale": scale, "word_score": score, "paths": options.nbest.paths}

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for paths, text in zip(nbest(context, encoded), encoded.texts, strict=True):
            reference = normalise(text, normaliser).split()
            ranked = [by_graph(path, params) for path in paths]
            nearest = sorted(ranked, key=lambda each: errors(each[1], reference))
            rows.append(row_of(context, nearest[:1]))
            if options.nbest.keep:
                rows[-1]["nbest"] = row_of(context, ranked, options.nbest.keep)["nbest"]
        return rows

    def errors(path: Path, reference: list[str]) -> int:
        import kaldialign

        said = normalise(" ".join(lang.word_names[word] for word in path.words), normaliser).split()
        return int(kaldialign.edit_distance(reference, said)["total"])

    return search, [{**params, "floor": True}]


def lattice_search(context: Context) -> Made:
    """The best path of the lattice with the scores of a larger n-gram, or with a share of them and the rest of the
    first one's: the two are interpolated log-linearly.

    Raises:
      EgretError: it is of other words than the lang folder has.
    """
    options = context.options
    assert options.rescore_lm is not None  # make_search has looked
    first = Grammar.read(options.first_lm, context.lang) if options.first_lm else None
    change = Change(Grammar.read(options.rescore_lm, context.lang), first)
    _ = context.graph

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        lattice = lattices(context, encoded)
        changed = encoded.kept.once("rescored", lambda: change(lattice, *first_pass(options.hlg)))
        keep = options.nbest.keep
        found = best_paths(changed.shared(params["rescore_scale"]), params["graph_scale"], params["word_score"],
                           max(keep, 1), options.hlg.output_beam)  # fmt: skip
        rows = [row_of(context, [by_graph(path, params) for path in paths], keep) for paths in found]
        if not all(found):  # without a path through the larger G; some may have none in the first pass either
            before = encoded.kept.once("first", lambda: best_paths(lattice, *first_pass(options.hlg)))
            for place, paths in enumerate(before):
                if paths and not found[place]:
                    rows[place] = {**row_of(context, [by_graph(paths[0], params)], keep), "fell_back": True}
        for place in changed.marks.get(PRUNED, ()):
            rows[place][PRUNED] = True
        return rows

    return search, [{**each, "rescore_scale": scale}
                    for each in weights(options.hlg) for scale in options.rescore_scale]  # fmt: skip


def attention_search(context: Context) -> Made:
    """The n-best list ordered by the scores of CTC, the graph and the attention decoder (Watanabe et al. 2017)."""
    options, decoder = context.options, context.model.decoder
    assert decoder is not None  # make_search has looked
    _ = context.graph

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        lists = nbest(context, encoded)
        spelled = encoded.kept.once("attention", lambda: decoder_scores(decoder, encoded, lists, context.lang))
        rows = []
        for paths, scores in zip(lists, spelled, strict=True):
            ranked = []
            for path, attention in zip(paths, scores, strict=True):
                total, _, parts = by_graph(path, params)
                parts["attention"] = attention
                ranked.append((total + params["attention_scale"] * attention, path, parts))
            rows.append(row_of(context, sorted(ranked, key=lambda each: -each[0]), options.nbest.keep))
        return rows

    return search, [{**each, "paths": options.nbest.paths, "attention_scale": scale}
                    for each in weights(options.hlg) for scale in options.nbest.attention_scale]  # fmt: skip


@torch.no_grad()
def decoder_scores(
    decoder: TransformerDecoder | Speller, encoded: Encoded, lists: list[list[Path]], lang: Lang
) -> list[list[float]]:
    """The logarithm of the probability that an attention decoder gives to each hypothesis, its end included."""
    owners = [place for place, paths in enumerate(lists) for _ in paths]
    targets = [spelling(path, lang) for paths in lists for path in paths]
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
    return [[next(pending) for _ in paths] for paths in lists]


def spelling(path: Path, lang: Lang) -> list[int]:
    """The tokens of a hypothesis as decoders are trained with them: words in their first pronunciation and no silence.
    Where words have none, and where units that were spoken are trained, those of the path without its silences."""
    text = " ".join(lang.word_names[word] for word in path.words)
    if not lang.spoken and not lang.outside(text):
        return lang.encode(text)
    silence = lang.tokens.get(lang.silence or "")
    return [token for token in path.tokens if token != silence]

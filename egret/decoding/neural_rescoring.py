"""N-best lists ordered by a neural language model as well: its scores are added to those that chose the list.

Lists come from HLG or, without --graph, from CTC prefix beam search. A list is scored once by the language model, whose
weight is tried on dev together with the weights of the list's own scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

from egret.base.errors import EgretError
from egret.decoding import rescoring
from egret.decoding.lattice import Path
from egret.decoding.prefix_beam import Transcript, prefix_beam
from egret.decoding.search import Context, Encoded, Made, hypothesis
from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary
from egret.models.language_model import LanguageModel, token_scores
from egret.models.language_model_files import load_language_model


@dataclass(frozen=True)
class Candidate:
    """A hypothesis of a list.

    Attributes:
      scores: its own, by source.
      total: of them, with the weights of a setting.
      marks: as of `egret.decoding.lattice.Path`.
    """

    words: list[str]
    tokens: list[int]
    scores: dict[str, float]
    total: Callable[[dict[str, Any]], float]
    marks: tuple[str, ...] = ()


Lists = Callable[[Encoded], list[list[Candidate]]]


@dataclass(frozen=True)
class NeuralLm:
    """A trained language model and what it counts."""

    model: LanguageModel
    vocabulary: Vocabulary

    @classmethod
    def read(cls, experiment: File, lang: Lang) -> "NeuralLm":
        """Raises EgretError where there is none, or one of other words or tokens than the lang folder has."""
        model, config = load_language_model(experiment)
        vocabulary = Vocabulary(lang, config["unit"])
        if vocabulary.digest != config["units"]:
            raise EgretError(f"--neural-lm {experiment}: counts other {config['unit']}s than {lang.folder} has; train "
                             f"one with that folder (steps/train_lm.py --lang)")  # fmt: skip
        return cls(model, vocabulary)

    def scores(self, lists: Sequence[Sequence[Candidate]], encoded: Encoded) -> list[list[float]]:
        """The logarithm of the probability of each hypothesis, its end included."""
        self.model.to(encoded.x.device)
        found = token_scores(self.model, [self.numbers(each) for candidates in lists for each in candidates])
        totals = iter(map(sum, found))
        return [[next(totals) for _ in candidates] for candidates in lists]

    def numbers(self, candidate: Candidate) -> list[int]:
        """What the model is given: the text as it is spelled in training, or, where a word of it has no tokens, those
        that were recognised."""
        return candidate.tokens if self.vocabulary.outside(candidate.words) else self.vocabulary.encode(candidate.words)


def neural_search(context: Context) -> Made:
    """The search, and each weight of the language model with each setting of the list's own scores.

    Raises:
      EgretError: the language model is none, or is of other units.
    """
    options = context.options
    assert options.neural_lm is not None  # make_search has looked
    lm = NeuralLm.read(options.neural_lm, context.lang)
    lists, settings = from_graph(context) if options.graph else from_prefixes(context)

    def search(encoded: Encoded, params: dict[str, Any]) -> list[dict[str, Any]]:
        candidates = lists(encoded)
        scored = encoded.kept.once("neural_lm", lambda: lm.scores(candidates, encoded))
        return [ranked(context, *each, params) for each in zip(candidates, scored, strict=True)]

    return search, [{**setting, "neural_lm_scale": scale}
                    for setting in settings for scale in options.nbest.neural_lm_scale]  # fmt: skip


def from_graph(context: Context) -> tuple[Lists, list[dict[str, Any]]]:
    """Lists from HLG, with the scales of the graph and the scores of words."""
    options, names = context.options, context.lang.word_names
    _ = context.graph  # what it lacks is said now, not at the first batch

    def candidate(path: Path) -> Candidate:
        words, scores = [names[word] for word in path.words], {"acoustic": path.acoustic, "graph": path.graph}

        def total(params: dict[str, Any]) -> float:
            return path.total(params["graph_scale"], params["word_score"])

        return Candidate(words, path.tokens, scores, total, path.marks)

    def lists(encoded: Encoded) -> list[list[Candidate]]:
        found = rescoring.nbest(context, encoded)
        return encoded.kept.once("candidates", lambda: [list(map(candidate, paths)) for paths in found])

    return lists, [{**each, "paths": options.nbest.paths} for each in rescoring.weights(options.hlg)]


def from_prefixes(context: Context) -> tuple[Lists, list[dict[str, Any]]]:
    """Lists from CTC prefix beam search by CTC alone, with the scores of words."""
    options, lang = context.options.prefix, context.lang

    def candidate(found: Transcript) -> Candidate:
        words = lang.decode(found.tokens)
        return Candidate(words, found.tokens, {"ctc": found.ctc},
                         lambda params: found.ctc + params["word_score"] * len(words))  # fmt: skip

    def make(encoded: Encoded) -> list[list[Candidate]]:
        found = prefix_beam(*encoded.ctc, options.beam, options.tokens, options.token_beam)
        return [list(map(candidate, each)) for each in found]

    def lists(encoded: Encoded) -> list[list[Candidate]]:
        return encoded.kept.once("prefixes", lambda: make(encoded))

    fixed = {"beam": options.beam, "tokens": options.tokens, "token_beam": options.token_beam}
    return lists, [{**fixed, "word_score": score} for score in options.word_score]


def ranked(
    context: Context, candidates: Sequence[Candidate], scores: Sequence[float], params: dict[str, Any]
) -> dict[str, Any]:
    """A row of hyp.jsonl: the candidate with the best sum of its own score and the language model's."""
    keep = context.options.nbest.keep
    if not candidates:
        return hypothesis(context.lang, [], [], float("-inf")) | ({"nbest": []} if keep else {})
    order = [(each.total(params) + params["neural_lm_scale"] * score, each, {**each.scores, "neural_lm": score})
             for each, score in zip(candidates, scores, strict=True)]  # fmt: skip
    order.sort(key=lambda each: -each[0])
    total, best, parts = order[0]
    row = {**hypothesis(context.lang, best.tokens, best.words, total, parts), **dict.fromkeys(best.marks, True)}
    if keep:
        listed: dict[tuple[str, ...], dict[str, float]] = {}
        for total, each, parts in order:
            listed.setdefault(tuple(each.words), {"total": total, **parts})
        row["nbest"] = [{"words": list(words), "score": score} for words, score in listed.items()][:keep]
    return row

"""N-best lists ordered by a neural language model as well: its scores are added to those that chose the list, and to
those of the model's attention decoder, where it has one and the list comes from a lattice.

A list is scored once by each, whose weights are tried on dev together with those of the list's own scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.decoding.hypotheses import Hypothesis
from egret.decoding.rescoring import Source, any_lists, by_attention, rescored
from egret.decoding.search import Context, Encoded, Made
from egret.lang.lang import Lang
from egret.lm.vocabulary import Vocabulary
from egret.models.language_model import LanguageModel, token_scores
from egret.models.language_model_files import load_language_model


@dataclass(frozen=True)
class NeuralLm:
    """A trained language model and what it counts."""

    model: LanguageModel
    vocabulary: Vocabulary

    @classmethod
    def read(cls, experiment: Path, lang: Lang) -> "NeuralLm":
        """Raises EgretError where there is none, or one of other words or tokens than the lang folder has."""
        model, config = load_language_model(experiment)
        vocabulary = Vocabulary(lang, config["unit"])
        if vocabulary.digest != config["units"]:
            raise EgretError(f"--neural-lm {experiment}: counts other {config['unit']}s than {lang.folder} has; train "
                             f"one with that folder (steps/train_lm.py --lang)")  # fmt: skip
        return cls(model, vocabulary)

    def scores(self, encoded: Encoded, lists: Sequence[Sequence[Hypothesis]]) -> list[list[float]]:
        """The logarithm of the probability of each hypothesis, its end included."""
        self.model.to(encoded.x.device)
        scores = token_scores(self.model, [self.numbers(each) for found in lists for each in found])
        totals = iter(map(sum, scores))
        return [[next(totals) for _ in found] for found in lists]

    def numbers(self, found: Hypothesis) -> list[int]:
        """What the model is given: the text as it is spelled in training, or, where a word of it has no tokens, those
        that were recognised."""
        return found.tokens if self.vocabulary.outside(found.words) else self.vocabulary.encode(found.words)


def neural_search(context: Context) -> Made:
    """The search, and each weight of the language model with each setting of the list's own scores.

    Raises:
      EgretError: the language model is none, or is of other units.
    """
    options = context.options
    assert options.neural_lm is not None  # make_search has looked
    lm = NeuralLm.read(options.neural_lm, context.lang)
    lists = any_lists(context, "neural_lm_rescore")
    sources = [Source("neural_lm", options.nbest.neural_lm_scale, lm.scores)]
    if options.graph and context.model.head is not None and context.model.decoder is not None:
        sources.append(by_attention(context))  # of which lattices know nothing
    return rescored(context, lists, sources)

"""Scores that a prefix search adds to transcripts as they grow: an n-gram model's for words, and those of hot words."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from egret.decoding.word_ends import Unit

LN10 = math.log(10)


class Scorer(Protocol):
    """Adds to the score of a row of tokens by what it is alone, token by token; the context is all that it remembers
    of those before."""

    def most(self, token: int) -> float:
        """The most that a token may add, at least 0."""

    def begin(self) -> Any:
        """The context of no tokens."""

    def step(self, context: Any, token: int) -> tuple[float, Any]:
        """What one more token adds, and the context with it."""

    def end(self, context: Any) -> float:
        """What the end adds."""


class Words:
    """An n-gram model's scores of words as they end, and a score for each word.

    Args:
      units: each token as part of a word.
      model: of KenLM; None: none.
      scale: the weight of its natural logarithms.
      word_score: added for each word.
    """

    def __init__(self, units: Sequence[Unit], model: Any, scale: float, word_score: float) -> None:
        self.units, self.model, self.scale, self.word_score = units, model, scale, word_score

    def most(self, token: int) -> float:
        """A token may end the word before it and be one itself; the model's logarithms are not above 0."""
        return (self.units[token].begins + self.units[token].ends) * max(self.word_score, 0.0)

    def begin(self) -> tuple[Any, str]:
        """The model's state before the first word, and no part of a word."""
        if self.model is None:
            return None, ""
        import kenlm

        state = kenlm.State()
        self.model.BeginSentenceWrite(state)
        return state, ""

    def step(self, context: tuple[Any, str], token: int) -> tuple[float, tuple[Any, str]]:
        state, part = context
        unit = self.units[token]
        added = 0.0
        if unit.begins and part:
            added, state = self.word(state, part)
            part = ""
        part += unit.text
        if unit.ends and part:
            more, state = self.word(state, part)
            added, part = added + more, ""
        return added, (state, part)

    def end(self, context: tuple[Any, str]) -> float:
        state, part = context
        added = 0.0
        if part:
            added, state = self.word(state, part)
        return added + self._ngram(state, "</s>")[0]

    def word(self, state: Any, word: str) -> tuple[float, Any]:
        added, state = self._ngram(state, word)
        return added + self.word_score, state

    def _ngram(self, state: Any, word: str) -> tuple[float, Any]:
        if self.model is None:
            return 0.0, None
        import kenlm

        after = kenlm.State()
        return self.scale * LN10 * self.model.BaseScore(state, word, after), after


class Fusion:
    """Scorers for all the prefixes of a search, whose contexts are known to it by numbers.

    Attributes:
      most: the most that each of `units` tokens can add, [V].
    """

    def __init__(self, scorers: Sequence[Scorer], units: int) -> None:
        self.scorers = scorers
        added = [sum(scorer.most(token) for scorer in scorers) for token in range(units)]
        self.most = torch.tensor(added, dtype=torch.float64)
        self.contexts: list[list[Any]] = [[scorer.begin() for scorer in scorers]]  # 0: of no tokens
        self.found: dict[Hashable, tuple[float, list[Any]]] = {}
        self.numbers: dict[Hashable, int] = {}

    def _step(self, context: int, token: int) -> tuple[float, list[Any]]:
        found = self.found.get((context, token))
        if found is None:
            steps = [scorer.step(each, token)
                     for scorer, each in zip(self.scorers, self.contexts[context], strict=True)]  # fmt: skip
            found = sum(score for score, _ in steps), [each for _, each in steps]
            self.found[context, token] = found
        return found

    def scores(self, contexts: Tensor, tokens: Tensor, wanted: Tensor) -> Tensor:
        """What tokens [N, K] add to prefixes of contexts [N, B], float64 [N, B, K]; 0 where it is not `wanted`."""
        row, prefix, place = wanted.nonzero(as_tuple=True)
        pairs = zip(contexts[row, prefix].tolist(), tokens[row, place].tolist(), strict=True)
        added = [self._step(context, token)[0] for context, token in pairs]
        scores = torch.zeros(wanted.shape, dtype=torch.float64, device=contexts.device)
        scores[row, prefix, place] = torch.tensor(added, dtype=torch.float64, device=contexts.device)
        return scores

    def contexts_after(self, contexts: Tensor, tokens: Tensor) -> Tensor:
        """The contexts [N, B] of prefixes that got a token each [N, B], 0 for none."""
        rows = [[self._number(context, token) if token else context for context, token in zip(*each, strict=True)]
                for each in zip(contexts.tolist(), tokens.tolist(), strict=True)]  # fmt: skip
        return torch.tensor(rows, dtype=torch.long, device=contexts.device)

    def _number(self, context: int, token: int) -> int:
        number = self.numbers.get((context, token))
        if number is None:
            number = self.numbers[context, token] = len(self.contexts)
            self.contexts.append(self._step(context, token)[1])
        return number

    def endings(self, contexts: Tensor) -> Tensor:
        """What the end adds to prefixes of contexts [N, B]."""
        rows = [[sum(scorer.end(each) for scorer, each in zip(self.scorers, self.contexts[context], strict=True))
                 for context in prefixes] for prefixes in contexts.tolist()]  # fmt: skip
        return torch.tensor(rows, dtype=torch.float64, device=contexts.device)

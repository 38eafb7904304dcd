"""Search by trying everything, written for the tests: alignments, pronunciations, silences and back-offs, one by one.

Nothing here looks at an automaton: a lexicon is a list of (word, tokens), an n-gram the numbers of its ARPA file.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

Lexicon = list[tuple[str, list[str]]]
LN10 = math.log(10)


def alignments(
    log_probs: list[list[float]], tokens: list[int], merge: bool = True
) -> dict[tuple[int, ...], list[float]]:
    """The scores of all ways of saying each token sequence, from every path of blanks (0) and `tokens` over the frames.

    `merge` is CTC proper. Without it, equal neighbours may also stay as many tokens as they are frames, as in k2's
    modified topology, in as many ways as they can be divided among them.
    """
    found: dict[tuple[int, ...], list[float]] = {}
    for path in product([0, *tokens], repeat=len(log_probs)):
        score = sum(frame[token] for frame, token in zip(log_probs, path, strict=True))
        runs = [(token, len(list(run))) for token, run in groupby(path)]
        spelled = [
            [(token,) * n for n in range(1, 2 if merge else length + 1) for _ in range(math.comb(length - 1, n - 1))]
            for token, length in runs if token
        ]  # fmt: skip
        for parts in product(*spelled):
            found.setdefault(sum(parts, ()), []).append(score)
    return found


@dataclass
class Ngram:
    """A bigram model (a unigram one without `bigrams`): natural logarithms.

    `score` takes the best of the listed bigram and the way over the back-off: in a graph whose back-off arcs are
    ordinary epsilon arcs nothing forbids a back-off where the bigram is listed.
    """

    unigrams: dict[str, float]
    bigrams: dict[tuple[str, str], float] = field(default_factory=dict)
    backoffs: dict[str, float] = field(default_factory=dict)

    def follow(self, history: str, word: str) -> float:
        backed_off = self.backoffs.get(history, 0.0) + self.unigrams[word]
        return max(self.bigrams.get((history, word), -math.inf), backed_off)

    def score(self, words: list[str]) -> float:
        return sum(self.follow(*pair) for pair in zip(["<s>", *words], [*words, "</s>"], strict=True))

    def write(self, path: Path) -> Path:
        lines = ["\\data\\", f"ngram 1={len(self.unigrams) + 1}"]
        lines += [f"ngram 2={len(self.bigrams)}"] if self.bigrams else []
        lines += ["", "\\1-grams:"]
        for word, score in [("<s>", -99 * LN10), *self.unigrams.items()]:
            weight = f"\t{self.backoffs[word] / LN10:.9g}" if word in self.backoffs else ""
            lines.append(f"{score / LN10:.9g}\t{word}{weight}")
        if self.bigrams:
            lines += ["", "\\2-grams:"]
            lines += [f"{score / LN10:.9g}\t{' '.join(pair)}" for pair, score in sorted(self.bigrams.items())]
        path.write_text("\n".join([*lines, "", "\\end\\", ""]))
        return path


def random_ngram(rng: random.Random, words: list[str], order: int) -> Ngram:
    """Probabilities need not sum to one: every number has its own value, so that none can stand for another."""
    unigrams = {word: math.log(rng.uniform(0.02, 0.9)) for word in [*words, "</s>"]}
    if order == 1:
        return Ngram(unigrams)
    pairs = [pair for pair in product(["<s>", *words], [*words, "</s>"]) if rng.random() < 0.5]
    bigrams = {pair: math.log(rng.uniform(0.02, 0.9)) for pair in [*pairs, ("<s>", words[0])]}
    return Ngram(unigrams, bigrams, {word: math.log(rng.uniform(0.1, 0.9)) for word in ["<s>", *words]})


def sayings(
    lexicon: Lexicon, words: list[str], silence: str | None, probability: float
) -> Iterator[tuple[list[str], float]]:
    """Every way of saying the words: tokens, and the logarithm of the probability of its silences."""
    pronunciations = [[tokens for each, tokens in lexicon if each == word] for word in words]
    pauses = [([], math.log1p(-probability)), ([silence], math.log(probability))] if silence else [([], 0.0)]
    for parts in product(pauses, *(product(spoken, pauses) for spoken in pronunciations)):
        (tokens, score), *rest = parts
        tokens = list(tokens)
        for spoken, (pause, weight) in rest:
            tokens += [*spoken, *pause]
            score += weight
        yield tokens, score


def word_sequences(lexicon: Lexicon, frames: int) -> Iterator[list[str]]:
    """Every sequence of words that has so few tokens that it fits into the frames."""
    shortest: dict[str, int] = {}
    for word, tokens in lexicon:
        shortest[word] = min(len(tokens), shortest.get(word, len(tokens)))
    pending: list[tuple[list[str], int]] = [([], 0)]
    while pending:
        words, length = pending.pop()
        yield words
        pending += [([*words, word], length + n) for word, n in shortest.items() if length + n <= frames]

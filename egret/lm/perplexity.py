"""Perplexity: the row of a report for any language model, and that of a KenLM model on sentences."""

import math
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from egret.base.errors import EgretError


def scored(
    model_file: Path, sentences: Iterable[str], known: Container[str], unknown: str
) -> Iterator[list[tuple[float, bool]]]:
    """Of each sentence the log10 probability of each word, and of its end, and whether the word is out of vocabulary.

    Args:
      model_file: KenLM binary or ARPA.
      known: words of the lexicon; others are scored as `unknown` and are the OOVs.
      unknown: what stands for other words.

    Raises:
      ImportError: there is no module kenlm.
      EgretError: the model cannot be read.
    """
    import kenlm

    try:
        model = kenlm.Model(str(model_file))
    except OSError as error:
        raise EgretError(f"{model_file}: KenLM cannot read it ({error}); run the step again with --force") from None
    for sentence in sentences:
        tokens = sentence.split()
        outside = [token not in known for token in tokens] + [False]
        mapped = [unknown if out else token for token, out in zip(tokens, outside, strict=False)]
        scores = model.full_scores(" ".join(mapped))
        yield [(log10, out) for (log10, _, _), out in zip(scores, outside, strict=True)]


def log10_scores(model_file: Path, sentences: Iterable[str], known: Container[str], unknown: str) -> np.ndarray:
    """log10 of the probabilities of all words and ends of sentences, one after the other; see `scored`."""
    return np.array([log10 for words in scored(model_file, sentences, known, unknown) for log10, _ in words])


def perplexity(binary: Path, sentences: Iterable[str], known: Container[str], unknown: str) -> dict[str, Any]:
    """The row of a report of a KenLM model, see `row_of` and `scored`."""
    count = words = oov = 0
    total = inside = 0.0
    for scores in scored(binary, sentences, known, unknown):
        total += sum(log10 for log10, _ in scores)
        inside += sum(log10 for log10, out in scores if not out)
        count += 1
        words += len(scores) - 1
        oov += sum(out for _, out in scores)
    return row_of(count, words, oov, math.log(10) * total, math.log(10) * inside)


def row_of(sentences: int, words: int, oov: int, total: float, inside: float) -> dict[str, Any]:
    """Perplexity per word, the end of each sentence counted as one, with and without unknown words.

    Args:
      oov: how many of the words are unknown.
      total: the logarithm of the probability of all sentences.
      inside: of that the part of the ends and the words that are not unknown.

    Returns:
      sentences, words, oov, oov_percent, perplexity, perplexity_without_oov (words that are OOV left out of sum and
      count, their neighbours conditioned on them as ever); None where there are no sentences.
    """
    return {
        "sentences": sentences,
        "words": words,
        "oov": oov,
        "oov_percent": round(100 * oov / max(1, words), 3) if sentences else None,
        "perplexity": of_each(total, words + sentences),
        "perplexity_without_oov": of_each(inside, words + sentences - oov),
    }


def of_each(total: float, count: int) -> float | None:
    """The perplexity of each of `count` words or tokens whose probabilities together have this logarithm; None: there
    are none."""
    return round(math.exp(-total / count), 3) if count else None

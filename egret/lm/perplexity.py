"""Perplexity of a KenLM model on sentences."""

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
    """Perplexity per word, the end of the sentence counted as one, with and without unknown words; see `scored`.

    Returns:
      sentences, words, oov (tokens), oov_percent, perplexity, perplexity_without_oov (words that are OOV left out
      of sum and count, their neighbours conditioned on them as ever).
    """
    count = words = oov = 0
    total = inside = 0.0
    for scores in scored(binary, sentences, known, unknown):
        total += sum(log10 for log10, _ in scores)
        inside += sum(log10 for log10, out in scores if not out)
        count += 1
        words += len(scores) - 1
        oov += sum(out for _, out in scores)
    if not count:
        return {"sentences": 0, "words": 0, "oov": 0, "oov_percent": None, "perplexity": None,
                "perplexity_without_oov": None}  # fmt: skip
    return {
        "sentences": count,
        "words": words,
        "oov": oov,
        "oov_percent": round(100 * oov / words, 3) if words else 0.0,
        "perplexity": round(10 ** (-total / (words + count)), 3),
        "perplexity_without_oov": round(10 ** (-inside / (words + count - oov)), 3),
    }

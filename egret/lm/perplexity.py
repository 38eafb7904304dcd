"""Perplexity of a KenLM model on sentences."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError


def perplexity(binary: Path, sentences: Iterable[str], known: Container[str], unknown: str) -> dict[str, Any]:
    """Perplexity per word, the end of the sentence counted as one, with and without unknown words.

    Args:
      binary: KenLM binary or ARPA.
      known: words of the lexicon; others are scored as `unknown` and are the OOVs.
      unknown: what stands for other words.

    Returns:
      sentences, words, oov (tokens), oov_percent, perplexity, perplexity_without_oov (words that are OOV left out
      of sum and count, their neighbours conditioned on them as ever).

    Raises:
      ImportError: there is no module kenlm.
    """
    import kenlm

    try:
        model = kenlm.Model(str(binary))
    except OSError as error:
        raise EgretError(f"{binary}: KenLM cannot read it ({error}); run the step again with --force") from None
    count = words = oov = 0
    total = inside = 0.0
    for sentence in sentences:
        tokens = sentence.split()
        outside = [token not in known for token in tokens] + [False]
        mapped = [unknown if out else token for token, out in zip(tokens, outside, strict=False)]
        for (log10, _, _), out in zip(model.full_scores(" ".join(mapped)), outside, strict=True):
            total += log10
            if not out:
                inside += log10
        count += 1
        words += len(tokens)
        oov += sum(outside)
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

"""What a trained language model makes of dev and test: perplexities beside those of n-gram models."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from egret.base.log import log
from egret.corpus.cuts import part_name
from egret.lm.vocabulary import UNKNOWN_ID
from egret.models.language_model import LanguageModel, token_scores
from egret.models.language_model_files import load_language_model
from egret.training.lm_options import LmOptions
from egret.training.sentences import Sentences
from egret.training.text import Text

AT_ONCE = 2000  # sentences


def report(options: LmOptions) -> dict[str, Any]:
    """The perplexity of the trained model on each file of dev and test, by its name; also said in the log.

    Raises:
      EgretError: the model, or a file, cannot be read.
    """
    import torch

    task = Text(options)
    model, config = load_language_model(options.out)
    model.to(torch.device("cuda" if options.num_gpus else "cpu"))
    files: Iterable[tuple[Path, bool]] = [(path, True) for path in [*options.dev_cuts, *options.test_cuts]]
    files = [*files, *((path, False) for path in options.dev_text)]
    results = {}
    for path, cuts in files:
        sentences, about = task.reader.sentences([path] if cuts else [], [] if cuts else [path])
        row = {**perplexity(model, sentences, task.vocabulary.unit), "left_out": sum(about["rejected"].values())}
        results[part_name(path)] = row
        per_token = f" per word, {row['perplexity_per_token']} per token" if config["unit"] == "token" else " per word"
        log.info("%s: perplexity %s%s, the ends of sentences counted; %d of %d words unknown, %d sentences left out",
                 path, row["perplexity"], per_token, row["oov"], row["words"], row["left_out"])  # fmt: skip
    return results


def perplexity(model: LanguageModel, sentences: Sentences, unit: str) -> dict[str, Any]:
    """Perplexity per word and per token (which, where words are counted, are the same), the end of each sentence
    counted as one, as egret.lm.perplexity has it of n-gram models.

    Returns:
      sentences, words, tokens, oov (words that are `<unk>`), oov_percent, perplexity, perplexity_without_oov (where
      words are counted: those that are OOV left out of sum and count), perplexity_per_token.
    """
    count, words, tokens = len(sentences), int(sentences.words.sum()), len(sentences.numbers)
    if not count:
        return {"sentences": 0, "words": 0, "tokens": 0, "oov": 0, "oov_percent": None, "perplexity": None,
                "perplexity_per_token": None}  # fmt: skip
    total = inside = 0.0
    for begin in range(0, count, AT_ONCE):
        chosen = [sentences[row] for row in range(begin, min(count, begin + AT_ONCE))]
        for numbers, scores in zip(chosen, token_scores(model, chosen), strict=True):
            total += math.fsum(scores)
            inside += math.fsum(
                score for number, score in zip([*numbers, 0], scores, strict=True) if number != UNKNOWN_ID
            )
    oov = sentences.unknown if unit == "word" else 0  # sentences with words that have no tokens are left out
    found = {
        "sentences": count,
        "words": words,
        "tokens": tokens,
        "oov": oov,
        "oov_percent": round(100 * oov / words, 3),
        "perplexity": round(math.exp(-total / (words + count)), 3),
        "perplexity_per_token": round(math.exp(-total / (tokens + count)), 3),
    }
    if unit == "word":
        found["perplexity_without_oov"] = round(math.exp(-inside / (words + count - oov)), 3)
    return found

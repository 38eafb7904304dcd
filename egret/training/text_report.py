"""What a trained language model makes of dev and test: perplexities beside those of n-gram models."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from egret.base.log import log
from egret.corpus.cuts import part_name
from egret.lm.perplexity import of_each, row_of
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
    """The row of a report as egret.lm.perplexity has it of n-gram models, with `tokens` and `perplexity_per_token`
    (which, where words are counted, is that per word); without `perplexity_without_oov` where tokens are counted."""
    count, words, tokens = len(sentences), int(sentences.words.sum()), len(sentences.numbers)
    total = inside = 0.0
    for begin in range(0, count, AT_ONCE):
        chosen = [sentences[row] for row in range(begin, min(count, begin + AT_ONCE))]
        for numbers, scores in zip(chosen, token_scores(model, chosen), strict=True):
            total += math.fsum(scores)
            inside += math.fsum(
                score for number, score in zip([*numbers, 0], scores, strict=True) if number != UNKNOWN_ID
            )
    oov = sentences.unknown if unit == "word" else 0  # sentences with words that have no tokens are left out
    found = row_of(count, words, oov, total, inside)
    if unit != "word":
        del found["perplexity_without_oov"]
    return {**found, "tokens": tokens, "perplexity_per_token": of_each(total, tokens + count)}

"""What can be set in training of language models."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.errors import UsageError, first_few
from egret.base.options import group, infile, option
from egret.corpus.cuts import part_name
from egret.lang.segment import Segmentation
from egret.models.language_model_options import LanguageModelOptions
from egret.training.loop_options import LoopOptions, PlanOptions
from egret.training.measure import TEXT


@dataclass(kw_only=True)
class TextBatchOptions(PlanOptions):
    """How batches of text are made."""

    max_tokens: int = option(4000, "tokens and ends of sentences in a batch, padding included", minimum=1)
    max_sentences: int = option(1000, "sentences in a batch", minimum=1)
    weights: list[float] = option(
        [], "how often an epoch has the sentences of each file, those of --cuts first: 2.5 is twice, and a random half "
        "of them thrice; none given: all once", minimum=0,
    )  # fmt: skip

    @property
    def limits(self) -> tuple[float, float, float]:
        return math.inf, self.max_tokens, self.max_sentences

    @property
    def largest(self) -> float:
        return self.max_tokens


@dataclass(kw_only=True)
class LmOptions(LoopOptions):
    step, measure, report_only = "train_lm", TEXT, ("test_cuts",)

    cuts: list[Path] = infile("cuts whose transcripts are training text", "stage 0", default=[])
    text: list[Path] = infile("plain training text, a sentence a line, .gz accepted", default=[])
    dev_cuts: list[Path] = infile(
        "cuts whose transcripts training is judged by; none, nor --dev-text: checkpoints are not chosen", "stage 0",
        default=[],
    )  # fmt: skip
    dev_text: list[Path] = infile("the same as plain text", default=[])
    test_cuts: list[Path] = infile("cuts whose perplexity is reported besides", "stage 0", default=[])
    init_from: Path | None = infile(
        "a trained language model's folder whose weights this one begins with; of the same units and size",
        "steps/train_lm.py",
        default=None,
    )
    unit: Literal["auto", "word", "token"] = option(
        "auto", "what is counted: words of --lang, others as <unk>, or its tokens; auto: tokens of characters and "
        "pieces, words of units that need a lexicon, such as phones",
    )  # fmt: skip
    normaliser: str = option("", "text normaliser; empty: that of --lang")
    segment: Segmentation = option("none", "cut normalised text into words of --lang: by longest match or by jieba")
    longest: int = option(500, "tokens of a sentence; longer ones are left out, counted and listed", minimum=1)
    model: LanguageModelOptions = group(LanguageModelOptions)
    batch: TextBatchOptions = group(TextBatchOptions)

    def __post_init__(self) -> None:
        files = [*self.cuts, *self.text]
        if not files:
            raise UsageError("nothing to train on: give --cuts or --text")
        if self.batch.weights and len(self.batch.weights) != len(files):
            raise UsageError(f"--batch.weights: {len(self.batch.weights)} for {len(files)} files of --cuts and --text; "
                             f"give one for each")  # fmt: skip
        names = list(map(part_name, [*self.dev_cuts, *self.dev_text, *self.test_cuts]))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"--dev-cuts, --dev-text and --test-cuts: perplexity is reported by the file's name, and "
                             f"more than one is called {first_few(twice)}; rename one")  # fmt: skip
        super().__post_init__()

    @property
    def has_dev(self) -> bool:
        return bool(self.dev_cuts or self.dev_text)

    def unused(self) -> tuple[str, ...]:
        return tuple(f"model.{part}" for part in self.model.unused())

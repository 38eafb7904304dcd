"""Training of a language model on text, in batches by number of tokens."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError, first_few
from egret.base.files import count_lines
from egret.lang.lang import Lang
from egret.lang.normalise import identity
from egret.lm.vocabulary import Vocabulary, usual_unit
from egret.models.decoder import attention_loss, with_ends
from egret.models.language_model import LanguageModel
from egret.models.language_model_files import build_language_model, load_language_model
from egret.training.lm_options import LmOptions
from egret.training.objective import autocast
from egret.training.plan import Table
from egret.training.sentences import Reader, Sentences


@dataclass(frozen=True)
class TextBatch:
    """N sentences.

    Attributes:
      ids: where they are from.
      targets: the numbers of their tokens.
    """

    ids: list[str]
    targets: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens and ends of sentences: what is predicted."""
        return sum(map(len, self.targets)) + len(self.targets)

    @property
    def amount(self) -> float:
        return self.tokens

    @property
    def padded(self) -> float:
        return (max(map(len, self.targets)) + 1) * len(self.targets)

    def not_finite(self) -> list[str]:
        """None: text is never at fault."""
        return []

    def halves(self) -> list["TextBatch"]:
        middle = len(self.ids) // 2
        return [
            TextBatch(self.ids[:middle], self.targets[:middle]),
            TextBatch(self.ids[middle:], self.targets[middle:]),
        ]

    # It is small and has no tensors: the loss makes them where the model lies.

    def packed(self) -> "TextBatch":
        return self

    def unpacked(self) -> "TextBatch":
        return self

    def to(self, device: torch.device) -> "TextBatch":
        return self

    def pin_memory(self) -> "TextBatch":
        return self


class Lines(Sequence[str]):
    """The names of sentences: a file and a line, or a manifest and a cut, counted from 1."""

    def __init__(self, files: Sequence[Path], sentences: Sentences) -> None:
        self.files, self.sentences = files, sentences

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # slices are not needed
        return f"{self.files[self.sentences.parts[row]]}:{self.sentences.places[row] + 1}"


class TextCorpus:
    """Sentences in memory, four bytes a token.

    Attributes:
      table: a row for each; its length, and its tokens, are what is predicted of it.
    """

    def __init__(self, files: Sequence[Path], sentences: Sentences) -> None:
        self.sentences = sentences
        predicted = sentences.tokens + 1
        self.table = Table(Lines(files, sentences), predicted.astype(np.float32), predicted.astype(np.int32),
                           sentences.places, sentences.parts)  # fmt: skip

    def load(
        self, rows: Sequence[int] | np.ndarray, key: tuple[int, ...] = (), copies: Sequence[int] | np.ndarray = ()
    ) -> TextBatch:
        """The sentences of a batch; nothing is augmented, so that `key` and `copies` change nothing."""
        chosen = [int(row) for row in rows]
        return TextBatch([self.table.ids[row] for row in chosen], [self.sentences[row] for row in chosen])


class CrossEntropy:
    """The loss of a batch of sentences, summed over their tokens and ends."""

    def __init__(self, options: LmOptions, model: LanguageModel, device: torch.device) -> None:
        self.model, self.device = model, device
        self.precision = autocast(options.precision, device)

    def __call__(self, batch: TextBatch) -> Tensor:
        given, wanted = with_ends(batch.targets, self.device)
        with self.precision():
            logits = self.model(given)
        return attention_loss(logits, wanted).sum()

    @torch.no_grad()
    def plain(self, batch: TextBatch) -> Tensor:
        return self(batch)

    def in_epoch(self, epoch: int) -> None:
        """The same in all epochs."""


class Text:
    """Transcripts and plain text, and a recurrent network or a Transformer."""

    def __init__(self, options: LmOptions) -> None:
        self.options = options
        self.lang = Lang.read(options.lang)
        self.vocabulary = Vocabulary(self.lang, usual_unit(self.lang) if options.unit == "auto" else options.unit)
        normaliser = options.normaliser or self.lang.normaliser
        self.reader = Reader(self.vocabulary, normaliser, options.segment, options.longest)

    def check(self) -> None:
        """Raises UsageError where there is no normaliser of the name that is asked for."""
        identity(self.reader.normaliser)

    def more_inputs(self) -> dict[str, str]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {
            **self.options.of_the_model(),
            "unit": self.vocabulary.unit,
            "vocabulary": len(self.vocabulary),
            "units": self.vocabulary.digest,
            "normaliser": identity(self.reader.normaliser),
        }

    def keep(self) -> None:
        name = "tokens.txt" if self.vocabulary.unit == "token" else "words.txt"
        shutil.copyfile(self.options.lang / name, self.options.out / name)

    def model(self, config: dict[str, Any]) -> LanguageModel:
        return build_language_model(config)

    def take_weights(self, model: LanguageModel) -> None:
        source = self.options.init_from
        assert source is not None
        other, config = load_language_model(source)
        if config["units"] != self.vocabulary.digest:
            raise EgretError(f"--init-from {source}: of other {self.vocabulary.unit}s than {self.lang.folder} has")
        try:
            model.load_state_dict(other.state_dict())
        except RuntimeError:
            raise EgretError(f"--init-from {source}: a network of another kind or size; give the options of model in "
                             f"its config.yaml") from None  # fmt: skip

    def corpora(self, model: LanguageModel, config: dict[str, Any]) -> tuple[TextCorpus, TextCorpus | None]:
        options = self.options
        train = self.corpus(options.cuts, options.text, "train")
        self.refuse_too_many_rejected(len(train.table))
        if train.sentences.unknown == len(train.sentences.numbers):
            where = first_few(map(str, [*options.cuts, *options.text]))
            raise EgretError(f"{where}: none of its words is in {options.lang}/words.txt; is it of another language "
                             f"or case? (--normaliser)")  # fmt: skip
        return train, self.corpus(options.dev_cuts, options.dev_text, "dev") if options.has_dev else None

    def corpus(self, cuts: list[Path], text: list[Path], part: str) -> TextCorpus:
        out = self.options.out
        kept, rejected = out / f".{part}.text.safetensors", out / f"rejected_{part}.jsonl"
        return TextCorpus([*cuts, *text], self.reader.read(cuts, text, kept, rejected))

    def refuse_too_many_rejected(self, used: int) -> None:
        """Raises EgretError where more of the training part was left out than --max-reject-percent."""
        listed = self.options.out / "rejected_train.jsonl"
        rejected = count_lines(listed)
        if rejected * 100 > self.options.max_reject_percent * (used + rejected):
            raise EgretError(f"{rejected} of {used + rejected} sentences cannot be used, all in {listed}; mend them or "
                             f"raise --max-reject-percent")  # fmt: skip

    def begin(self, model: LanguageModel, train: TextCorpus, config: dict[str, Any]) -> None:
        """Nothing is taken from the training data."""

    def objective(self, model: LanguageModel, device: torch.device) -> CrossEntropy:
        return CrossEntropy(self.options, model, device)

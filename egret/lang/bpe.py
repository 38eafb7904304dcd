"""Pieces of words: byte-pair encoding (Sennrich et al. 2016) by SentencePiece, learnt from counted words.

A piece that begins a word begins with `▁`, so that a row of pieces says where words begin.
"""

import io
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from egret.base.errors import EgretError, UsageError
from egret.base.files import atomic_path
from egret.lang.symbols import SPECIAL_TOKENS

BEGIN = "▁"
RESERVED = [BEGIN, "#", *SPECIAL_TOKENS]


def train_bpe(words: Mapping[str, int], size: int, option: str) -> bytes:
    """A model of `size` pieces, of words with their counts; the same words and counts give the same bytes.

    Args:
      option: what `size` is called, for errors.

    Raises:
      EgretError: there are no words.
      UsageError: they make fewer pieces than asked for, or have more characters.
    """
    import sentencepiece

    if not words:
        raise EgretError(f"{option} {size}: there are no words to learn pieces from; give --cuts or --text")
    if strange := sorted(word for word in words if any(name in word for name in RESERVED)):
        raise EgretError(f"{option}: the word {strange[0]!r} has one of {' '.join(RESERVED)} in it, which mean "
                         f"something of their own among units; change the text, or its --normaliser")  # fmt: skip
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in sorted(words.items())),
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=size + 1,  # and the unknown piece
            character_coverage=1.0,
            normalization_rule_name="identity",  # the text is normalised already
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=1 << 20,  # longer words would be left out without a word
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        text = str(error)
        if found := re.search(r"value <= (\d+)", text):
            raise UsageError(f"{option} {size}: the text is too small for so many pieces; the largest possible is "
                             f"{int(found[1]) - 1}") from None  # fmt: skip
        if found := re.search(r"\d+ vs (\d+)", text):
            raise UsageError(f"{option} {size}: the text has more characters than that; the least possible is "
                             f"{int(found[1]) - 1}") from None  # fmt: skip
        raise EgretError(f"{option} {size}: SentencePiece cannot learn pieces of this text ({text})") from None
    return model.getvalue()


def write_bpe(path: Path, model: bytes) -> None:
    with atomic_path(path) as part:
        part.write_bytes(model)


class Bpe:
    """A trained SentencePiece model."""

    def __init__(self, model: bytes, source: str = "the model of pieces") -> None:
        """Raises EgretError where `model` (of `source`, for errors) is not one."""
        import sentencepiece

        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise EgretError(f"{source}: not a whole SentencePiece model; make the lang folder again") from None

    @classmethod
    def read(cls, path: Path) -> "Bpe":
        """Raises EgretError: it is not there, or not a model."""
        try:
            return cls(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise EgretError(f"{path}: no such model; it is made by steps/prepare_lang.py (stage 2)") from None

    @cached_property
    def pieces(self) -> list[str]:
        """All pieces but the unknown one."""
        return [self.processor.id_to_piece(number) for number in range(1, self.processor.get_piece_size())]

    @cached_property
    def characters(self) -> frozenset[str]:
        """What words can be made of."""
        return frozenset("".join(self.pieces)) - {BEGIN}

    def spells(self, word: str) -> bool:
        """Every character of the word is known."""
        return self.characters.issuperset(word)

    def encode(self, words: Iterable[str]) -> list[list[str]]:
        """The pieces of each word."""
        return self.processor.encode(list(words), out_type=str, num_threads=1)  # to start threads takes longer

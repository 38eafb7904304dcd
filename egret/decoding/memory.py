"""Batches that memory has no room for: searched in halves, and where one utterance is too much, with narrower beams."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from egret.base.errors import EgretError
from egret.base.log import log
from egret.base.memory import out_of_memory, return_memory
from egret.decoding.options import DecodeOptions
from egret.decoding.search import Encoded, Kept, Search

NARROWEST = 4  # the last level of beams that is tried
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Piece:
    """Some utterances of a batch, which are searched together.

    Attributes:
      cuts: of the utterances.
      halved: it is not the whole batch, for want of memory.
      level: how often beams have been narrowed for it.
    """

    cuts: list[dict[str, Any]]
    encoded: Encoded
    halved: bool = False
    level: int = 0

    def smaller(self) -> list["Piece"]:
        """Two halves; of one utterance the same with narrower beams, none where there are no narrower ones."""
        if len(self.cuts) > 1:
            middle = len(self.cuts) // 2
            return [replace(self, cuts=self.cuts[part], encoded=some_of(self.encoded, part), halved=True)
                    for part in (slice(0, middle), slice(middle, None))]  # fmt: skip
        if self.level == NARROWEST:
            return []
        return [replace(self, encoded=replace(self.encoded, kept=Kept()), level=self.level + 1)]


def some_of(encoded: Encoded, part: slice) -> Encoded:
    """Of a batch some utterances, without what has been kept of all."""
    lengths = encoded.lengths[part]
    longest = int(lengths.max())
    log_probs = None if encoded.log_probs is None else encoded.log_probs[part, :longest]
    return Encoded(encoded.x[part, :longest], lengths, encoded.frames[part], log_probs, encoded.texts[part])


def encoded_pieces(cuts: list[dict[str, Any]], encode: Callable[[list[dict[str, Any]]], Encoded]) -> list[Piece]:
    """A batch through the encoder, in as few pieces as memory has room for.

    Raises:
      EgretError: not even one utterance fits.
    """
    try:
        return [Piece(cuts, encode(cuts))]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    return_all_memory()
    if len(cuts) == 1:
        raise EgretError(f"{cuts[0]['id']}: memory is too small to encode its {cuts[0]['duration']:.0f} s of speech; "
                         f"cut it up or leave it out")  # fmt: skip
    log.warning("memory ran out for a batch of %d utterances; its halves are encoded one after the other", len(cuts))
    middle = len(cuts) // 2
    pieces = [*encoded_pieces(cuts[:middle], encode), *encoded_pieces(cuts[middle:], encode)]
    return [replace(piece, halved=True) for piece in pieces]


def searched(
    piece: Piece,
    search: Search,
    settings: Sequence[dict[str, Any]],
    options: DecodeOptions,
    seconds: list[float],
    finish: Callable[[Piece, Rows], None] = lambda piece, rows: None,
) -> list[tuple[Piece, list[Rows]]]:
    """What a search finds in a piece with each setting; the piece becomes several where memory runs out.

    The settings of a method are to be compared: where one of them needs narrower beams for an utterance, all get them.
    The piece that is given back is as wide as it was, so that the methods that follow begin with their own beams.

    Args:
      seconds: that each setting takes are added here, those of attempts without success among them.
      finish: adds to the rows of a setting what is no matter of the search, and may want memory, too.

    Returns:
      Rows of hyp.jsonl of each setting, which say what was done for want of memory: `halved`, `beam_narrowed`, and
      `out_of_memory` where nothing helped and there are no words.
    """
    said: list[Rows] = []
    done = False
    try:
        with narrowed(options, piece.level):
            for place, params in enumerate(settings):
                begun = time.monotonic()
                try:
                    said.append(search(piece.encoded, params))
                finally:
                    seconds[place] += time.monotonic() - begun + piece.encoded.kept.settle()
                finish(piece, said[place])
        done = True
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # The error is gone now, and with it what the search had held.
    if not done:
        return_all_memory()
        smaller = piece.smaller()
        if smaller:
            log.warning("memory ran out in a search; %s", "the batch is halved" if len(smaller) > 1
                        else f"{piece.cuts[0]['id']} is searched with narrower beams")  # fmt: skip
            found = [each for half in smaller for each in searched(half, search, settings, options, seconds, finish)]
            return found if len(smaller) > 1 else [(piece, rows) for _, rows in found]
        said = [[{"words": [], "tokens": [], "score": {"total": None}, "out_of_memory": True}] for _ in settings]
        for rows in said:
            finish(piece, rows)
    marks = {"halved": piece.halved, "beam_narrowed": piece.level > 0}
    there = {mark: True for mark, is_there in marks.items() if is_there}
    return [(piece, [[{**row, **there} for row in rows] for rows in said])]


def return_all_memory() -> None:
    """What is held between pieces in use, here and on the GPU, where the next attempt may want it in one piece."""
    return_memory()
    torch.cuda.empty_cache()  # does nothing where there is none


@contextlib.contextmanager
def narrowed(options: DecodeOptions, level: int) -> Iterator[None]:
    """All beams narrower for a while: at every other level the search beam of graphs halved, at the others what is kept
    of the lattice and the states of a frame; the other searches' hypotheses halved at each."""
    hlg, kept = options.hlg, []

    def put(group: Any, name: str, value: float) -> None:
        kept.append((group, name, getattr(group, name)))
        setattr(group, name, value)

    try:
        if level:
            put(hlg, "search_beam", hlg.search_beam / 2 ** ((level + 1) // 2))
            put(hlg, "output_beam", hlg.output_beam / 2 ** (level // 2))
            put(hlg, "max_active", max(hlg.max_active >> (level // 2), hlg.min_active + 1))
            for group in (options.attention, options.prefix, options.joint):
                put(group, "beam", max(1, group.beam >> level))
        yield
    finally:
        for group, name, value in reversed(kept):
            setattr(group, name, value)

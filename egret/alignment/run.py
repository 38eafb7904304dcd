"""Align a manifest: every utterance with its transcript, in the order of the manifest."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egret.alignment.long import align_long, heard_in_chunks
from egret.alignment.options import AlignOptions
from egret.alignment.text import Text, Texts
from egret.alignment.timed import timed
from egret.base.errors import EgretError
from egret.base.log import log, progress
from egret.corpus.cuts import Cut, distinct_cuts
from egret.decoding.recognise import batches, inputs_of, load_numbers, refuse_other_units, refuse_unfit
from egret.features.made import kind_trained_on
from egret.graph.automaton import Automaton, expand
from egret.graph.clock import Clock
from egret.graph.topology import was_modified
from egret.graph.viterbi import Alignment, align_batch
from egret.lang.lang import Lang
from egret.models.files import load_model
from egret.training.survey import transcript

Row = dict[str, Any]  # of align.jsonl
TOGETHER = 2000  # cuts that are sorted by length; their results wait in memory for those before them
TRELLIS = 1 << 25  # frames times states that are walked as a batch, eight bytes each


@dataclass(frozen=True)
class Rejected:
    """Why an utterance has no alignment."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Due:
    """An utterance that can be aligned."""

    cut: Cut
    text: Text
    automaton: Automaton


class Aligner:
    """A trained model and the texts of a lang folder."""

    def __init__(self, options: AlignOptions) -> None:
        """Load them.

        Raises:
          EgretError: the model has no CTC, or its units are not those of the lang folder.
        """
        if options.threads:
            torch.set_num_threads(options.threads)
        self.options = options
        self.lang = Lang.read(options.lang)
        self.model, config = load_model(options.experiment, options.weights)
        refuse_other_units(options.experiment, config, self.lang)
        if self.model.head is None:
            raise EgretError(f"{options.experiment}: its model has no CTC output (--model.ctc-weight 0), which alone "
                             f"says when a token was heard; align with one that has")  # fmt: skip
        self.texts = Texts(self.lang)
        self.kind = kind_trained_on(config)
        self.inputs = inputs_of(self.model, config.get("normalise", "global"), [options.cuts])
        self.modified = was_modified(config, len(self.lang.units))
        self.stride = math.prod(self.model.encoder.strides)
        self.total = sum(1 for _ in distinct_cuts(options.cuts))
        self.speech = self.in_model = self.in_alignment = 0.0

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Of speech that was aligned, and of work in the model and in all that comes after it."""
        return self.speech, self.in_model, self.in_alignment

    def align(self) -> Iterator[tuple[Cut, Row | Rejected]]:
        """Every cut with its row of align.jsonl, or with why it has none.

        Raises:
          EgretError: the manifest or its features cannot be read, or are not such as the model was trained on.
        """
        cuts = distinct_cuts(self.options.cuts)
        for done in range(0, max(1, self.total), TOGETHER):
            rows = list(islice(cuts, TOGETHER))
            refuse_unfit(self.options.cuts, rows, self.model, self.kind)
            yield from self._align(rows, f"aligning {self.options.cuts.name}, {done} of {self.total} done")

    def _align(self, rows: Sequence[Cut], what: str) -> Iterator[tuple[Cut, Row | Rejected]]:
        if self.options.long:
            for cut in rows:
                ready = self.ready(cut)
                yield cut, self._long(ready) if isinstance(ready, Due) else ready
            return
        judged = {cut["id"]: self.ready(cut) for cut in rows}
        due = {name: each for name, each in judged.items() if isinstance(each, Due)}
        found: dict[str, Row | Rejected] = {name: each for name, each in judged.items() if isinstance(each, Rejected)}
        planned = list(batches([each.cut for each in due.values()], self.options.max_duration))
        for batch in progress(planned, len(planned), what):
            together = [due[cut["id"]] for cut in batch]
            found |= zip((cut["id"] for cut in batch), self._aligned(together, *self._heard(together)), strict=True)
        yield from ((cut, found[cut["id"]]) for cut in rows)

    def ready(self, cut: Cut) -> Due | Rejected:
        """What is needed to align a cut."""
        begun = time.monotonic()
        try:
            return self._ready(cut)
        finally:
            self.in_alignment += time.monotonic() - begun

    def _ready(self, cut: Cut) -> Due | Rejected:
        said, spoken = transcript(cut, self.lang)
        if unknown := self.lang.outside(said, spoken):
            return Rejected("text outside the units", " ".join(unknown))
        if not said.split():
            return Rejected("empty text", "")
        try:
            text = self.texts.read(said, spoken)
        except EgretError as error:
            return Rejected("spoken units of other words", str(error))
        automaton = expand(text.slots, self.modified)
        frames = self.model.output_frames(cut["features"]["num_frames"])
        if frames < automaton.frames:
            return Rejected("too short for CTC", f"{frames} frames for {automaton.frames} tokens and repeats")
        return Due(cut, text, automaton)

    @torch.no_grad()
    def _heard(self, due: Sequence[Due]) -> tuple[np.ndarray, list[int]]:
        """CTC's log probabilities [N, T, V], and lengths."""
        begun = time.monotonic()
        log_probs, lengths = self.model(*load_numbers([each.cut for each in due], self.inputs))
        self.in_model += time.monotonic() - begun
        return log_probs.numpy(), lengths.tolist()

    def _aligned(self, due: Sequence[Due], log_probs: np.ndarray, lengths: list[int]) -> list[Row | Rejected]:
        begun = time.monotonic()
        values = [each[:length] for each, length in zip(log_probs, lengths, strict=True)]
        for each, heard in zip(due, values, strict=True):
            refuse_no_numbers(each.cut, heard)
        automata = [each.automaton for each in due]
        if log_probs.shape[1] * sum(len(each.labels) for each in automata) > TRELLIS:
            found = [align_long(each, automaton) for each, automaton in zip(values, automata, strict=True)]
        else:
            found = align_batch(log_probs, lengths, automata)
        rows = list(map(self._row, due, found, values))
        self.in_alignment += time.monotonic() - begun
        return rows

    def _long(self, due: Due) -> Row | Rejected:
        """Align a recording, with bounded memory."""
        options, cut = self.options.segment, due.cut
        begun = time.monotonic()
        [features] = self.inputs.load([cut], [], [])
        shift = cut["features"]["frame_shift"]
        chunk, overlap = max(1, round(options.chunk / shift)), round(options.overlap / shift)
        at_once = max(1, int(self.options.max_duration / (options.chunk + 2 * options.overlap)))
        log_probs = heard_in_chunks(self.model, features, chunk, overlap, at_once, f"hearing {cut['id']}")
        refuse_no_numbers(cut, log_probs)
        heard = time.monotonic()
        row = self._row(due, align_long(log_probs, due.automaton, options.beam), log_probs)
        self.in_model += heard - begun
        self.in_alignment += time.monotonic() - heard
        return row

    def _row(self, due: Due, alignment: Alignment, log_probs: np.ndarray) -> Row | Rejected:
        self.speech += due.cut["duration"]
        if alignment.score == -np.inf:
            return Rejected("no path", "the model gives its tokens no probability")
        clock = Clock(due.cut["features"]["frame_shift"] * self.stride, due.cut["duration"], self.options.widen)
        return timed(due.cut["id"], alignment, due.text, log_probs, self.lang, clock)


def refuse_no_numbers(cut: Cut, log_probs: np.ndarray) -> None:
    """Raises EgretError where the model's outputs for a cut are NaN."""
    if np.isnan(log_probs).any():
        raise EgretError(f"the model's outputs are not numbers on {cut['id']}; train again, or take other --weights")


def refuse_many(path: Path, rejected: Iterable[dict[str, str]], total: int, most: float, listed: Path) -> None:
    """Say how many utterances have no alignment, and why.

    Raises:
      EgretError: they are more than `most` percent, or all.
    """
    rejected = list(rejected)
    if not rejected:
        return
    reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(row["reason"] for row in rejected).most_common())
    log.warning("%s: %d of %d utterances cannot be aligned (%s; listed in %s)",
                path, len(rejected), total, reasons, listed)  # fmt: skip
    if len(rejected) == total or len(rejected) * 100 > most * total:
        first = rejected[0]
        raise EgretError(
            f"{path}: {len(rejected)} of {total} utterances cannot be aligned ({reasons}), first {first['id']} "
            f"({first['detail'] or first['reason']}); all in {listed}; mend them or raise --max-reject-percent"
        )

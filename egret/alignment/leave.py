"""The files that steps/align.py leaves, each written as its lines come."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from egret.alignment.options import AlignOptions
from egret.alignment.outputs import ctm, suspicious, textgrid, textgrid_name
from egret.alignment.run import Rejected, refuse_many
from egret.alignment.segments import as_cut, divide
from egret.base.errors import EgretError
from egret.base.files import atomic_open, atomic_path, write_jsonl, write_text
from egret.base.log import log
from egret.corpus.cuts import Cut, spoken_of, write_cuts


class Files:
    """What becomes of the rows of a manifest.

    Attributes:
      rejected: rows of rejected.jsonl, of utterances.
      left_out: the same of segments.
      ranked: rows of suspicious.tsv.
      segments: cuts.
    """

    def __init__(self, options: AlignOptions, spoken: str = "") -> None:
        """`spoken`: the field of a supervision's `custom` that says which units were spoken; empty: none does."""
        self.options, self.out, self.spoken = options, options.out, spoken
        self.rejected: list[dict[str, str]] = []
        self.left_out: list[dict[str, str]] = []
        self.ranked: list[tuple[str, float, str, str]] = []
        self.segments: list[Cut] = []
        self.total = self.words = self.words_left_out = 0

    @contextmanager
    def open(self) -> Iterator["Files"]:
        """Take rows, and leave the files when all have come.

        Raises:
          EgretError: too many were rejected; rejected.jsonl is all that is left then.
        """
        with ExitStack() as stack:
            self.rows = stack.enter_context(atomic_open(self.out / "align.jsonl"))
            self.ctm = stack.enter_context(atomic_open(self.out / "ctm"))
            self.grids: Path | None = None
            if self.options.textgrid:
                self.grids = stack.enter_context(atomic_path(self.out / "textgrid"))
                self.grids.mkdir()
            yield self
            write_jsonl(self.out / "rejected.jsonl", self.rejected + self.left_out)
            refuse_many(self.options.cuts, self.rejected, self.total, self.options.max_reject_percent,
                        self.out / "rejected.jsonl")  # fmt: skip
            self._refuse_no_segment()
        if not self.options.textgrid:
            shutil.rmtree(self.out / "textgrid", ignore_errors=True)  # those of an earlier run
        write_text(self.out / "suspicious.tsv", suspicious(self.ranked))
        if self.options.long:
            write_cuts(self.out / "segments.jsonl", self.segments)
        else:
            for name in ("segments.jsonl", "segments.index.tsv"):
                (self.out / name).unlink(missing_ok=True)

    def add(self, cut: Cut, row: dict[str, Any] | Rejected) -> None:
        self.total += 1
        if isinstance(row, Rejected):
            self.rejected.append({"id": cut["id"], "reason": row.reason, "detail": row.detail})
            return
        self.words += len(row["words"])
        self.rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.ctm.write(ctm(cut, row))
        if self.grids is not None:
            # Without waiting for the disk, as atomic files do: the folder is what appears when it is whole.
            (self.grids / textgrid_name(cut["id"])).write_text(textgrid(row, cut["duration"]), encoding="utf-8")
        if self.options.long:
            self._cut_up(cut, row)
        else:
            self._rank(cut["id"], row["words"])

    def _refuse_no_segment(self) -> None:
        """Raises EgretError where of long recordings nothing is left; warns where much is not."""
        if not self.left_out:
            return
        listed = self.out / "rejected.jsonl"
        lost = 100 * self.words_left_out / max(1, self.words)
        if not self.segments:
            raise EgretError(
                f"{self.options.cuts}: not one of {len(self.left_out)} segments can be used, the first: "
                f"{self.left_out[0]['reason']}; all in {listed}; is it the text of this recording?"
            )
        log.warning("%s: %d segments left out, with %.1f %% of the words; listed in %s",
                    self.options.cuts, len(self.left_out), lost, listed)  # fmt: skip

    def _rank(self, name: str, words: list[dict[str, Any]]) -> None:
        worst = min(words, key=lambda word: word["agreement"])
        text = " ".join(word["word"] for word in words)
        self.ranked.append((name, worst["agreement"], worst["word"], text))

    def _cut_up(self, cut: Cut, row: dict[str, Any]) -> None:
        options, words = self.options.segment, row["words"]
        for number, segment in enumerate(divide(words, cut["duration"], options), 1):
            said = words[segment.first : segment.last]
            custom = {}
            if spoken_of(cut, self.spoken):  # the tokens are what was spoken then
                of_words = range(segment.first, segment.last)
                custom = {self.spoken: " ".join(each["token"] for each in row["tokens"] if each["word"] in of_words)}
            made = as_cut(cut, number, segment, said, custom)
            self._rank(made["id"], said)
            fault = None
            if made["duration"] > options.max_seconds:
                fault = "word longer than --segment.max-seconds", f"{said[0]['word']}: {made['duration']:.2f} s"
            elif segment.doubtful:
                fault = "low agreement", f"{made['custom']['confidence']:.4g}: {made['supervisions'][0]['text']}"
            if fault:
                self.left_out.append({"id": made["id"], "reason": fault[0], "detail": fault[1]})
                self.words_left_out += len(said)
            else:
                self.segments.append(made)

    @property
    def outputs(self) -> list[Path]:
        names = ["align.jsonl", "ctm", "suspicious.tsv", "rejected.jsonl", *(["segments.jsonl"] * self.options.long)]
        return [self.out / name for name in names]

    @property
    def counts(self) -> dict[str, Any]:
        counts = {"utterances": self.total, "aligned": self.total - len(self.rejected), "rejected": len(self.rejected),
                  "words": self.words}  # fmt: skip
        if self.options.long:
            hours = sum(cut["duration"] for cut in self.segments) / 3600
            counts |= {"segments": len(self.segments), "hours in segments": round(hours, 3),
                       "segments left out": len(self.left_out)}  # fmt: skip
        return counts

    def say(self) -> None:
        """The first of those that most probably have a wrong transcript."""
        if self.ranked:
            name, value, word, text = min(self.ranked, key=itemgetter(1))
            log.info("lowest confidence, %.3g: %s, at %r of: %s", value, name, word, text)

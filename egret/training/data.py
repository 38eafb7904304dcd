"""From a manifest of cuts with features to padded batches."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.base.log import log
from egret.corpus.cuts import CutIndex, spoken_of, text_of
from egret.features.batching import load_batch
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.models.model import CtcModel
from egret.training.plan import Table


@dataclass(frozen=True)
class Batch:
    """Utterances padded to one length.

    Attributes:
      ids: N utterance ids.
      features: float32 [N, T, C], zeros beyond an utterance's end.
      lengths: int64 [N], frames.
      targets: token ids of each utterance.
      texts: the transcripts.
      spoken: the units that the corpus says were spoken; "": it does not say.
      seconds: of speech, padding not counted.
    """

    ids: list[str]
    features: Tensor
    lengths: Tensor
    targets: list[list[int]]
    texts: list[str]
    spoken: list[str]
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of all transcripts: what losses are divided by."""
        return sum(map(len, self.targets))

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its features on a device."""
        return replace(self, features=self.features.to(device), lengths=self.lengths.to(device))


class Corpus:
    """The utterances of a part that can be trained on (or whose loss can be taken), read from disk on demand."""

    def __init__(self, manifest: Path, lang: Lang, model: CtcModel, rejected: Path, max_reject_percent: float) -> None:
        """Read the manifest once; utterances that cannot be used are listed in `rejected` with the reason.

        Raises:
          EgretError: too many utterances cannot be used, or none is left.
        """
        self.manifest, self.lang, self.index = manifest, lang, CutIndex(manifest)
        rows, dropped = [], []
        for place in range(len(self.index)):
            cut = self.index.at(place)
            reason, tokens = self._judge(cut, model)
            if reason:
                dropped.append({"id": cut["id"], **reason})
            else:
                rows.append((cut["id"], cut["duration"], tokens, place))
        self.table = Table.of(rows)
        self._report(rejected, dropped, max_reject_percent)

    def text(self, cut: dict) -> str:
        """The transcript, as the lexicon spells it."""
        return normalise(text_of(cut), self.lang.about["normaliser"]["name"])

    def _judge(self, cut: dict, model: CtcModel) -> tuple[dict[str, str], int]:
        """({reason, detail} or empty, number of tokens)."""
        text, spoken = self.text(cut), spoken_of(cut, self.lang.spoken)
        if "features" not in cut:
            raise EgretError(f"{self.manifest}: {cut['id']} has no features; give the manifest that stage 1 leaves")
        if unknown := self.lang.outside(text, spoken):
            return {"reason": "text outside the units", "detail": " ".join(unknown)}, 0
        target = self.lang.encode(text, spoken)
        if not target:
            return {"reason": "empty text", "detail": ""}, 0
        due = len(target) + sum(a == b for a, b in pairwise(target))
        frames = model.output_frames(cut["features"]["num_frames"])
        if frames < due:
            return {
                "reason": "too short for CTC",
                "detail": f"{frames} frames for {due} tokens and repeats",
            }, 0
        return {}, len(target)

    def _report(self, rejected: Path, dropped: list[dict], max_reject_percent: float) -> None:
        total = len(self.table) + len(dropped)
        write_jsonl(rejected, dropped)
        reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(d["reason"] for d in dropped).most_common())
        log.info("%s: %d utterances in, %d used%s", self.manifest, total, len(self.table),
                 f", {len(dropped)} rejected ({reasons}; listed in {rejected})" if dropped else "")  # fmt: skip
        if not len(self.table):
            raise EgretError(f"{self.manifest}: no utterance can be used ({reasons or 'it is empty'})")
        if len(dropped) * 100 > max_reject_percent * total:
            raise EgretError(
                f"{self.manifest}: {len(dropped)} of {total} utterances cannot be used ({reasons}), first "
                f"{dropped[0]['id']} ({dropped[0]['detail']}); all in {rejected}; "
                "mend them or raise --max-reject-percent"
            )

    def load(self, rows: Iterable[int]) -> Batch:
        """Read the utterances of a batch."""
        cuts = [self.index.at(self.table.places[row]) for row in rows]
        texts = [self.text(cut) for cut in cuts]
        spoken = [spoken_of(cut, self.lang.spoken) for cut in cuts]
        features, lengths = load_batch(cuts)
        return Batch(
            ids=[cut["id"] for cut in cuts],
            features=features,
            lengths=lengths,
            targets=[self.lang.encode(*each) for each in zip(texts, spoken, strict=True)],
            texts=texts,
            spoken=spoken,
            seconds=sum(cut["duration"] for cut in cuts),
        )

"""From manifests of cuts to padded batches."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.base.log import log
from egret.corpus.cuts import Cut, CutIndex
from egret.corpus.shar import manifest_of
from egret.features.batching import STORED, Inputs, load_batch
from egret.lang.lang import Lang
from egret.training.plan import Table
from egret.training.survey import Survey, frames_due, survey, transcript


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

    @property
    def amount(self) -> float:
        """What speed is told by."""
        return self.seconds

    @property
    def padded(self) -> float:
        """Seconds, padding included."""
        return self.seconds * self.features.shape[0] * self.features.shape[1] / float(self.lengths.sum())

    def not_finite(self) -> list[str]:
        """The utterances of which a feature is no finite number."""
        return [name for name, each in zip(self.ids, self.features, strict=True) if not torch.isfinite(each).all()]

    def halves(self) -> list["Batch"]:
        """The same as two batches, each with half of the utterances."""
        middle = len(self.ids) // 2

        def part(chosen: slice) -> Batch:
            lengths = self.lengths[chosen]
            return replace(
                self,
                ids=self.ids[chosen],
                features=self.features[chosen, : int(lengths.max())],
                lengths=lengths,
                targets=self.targets[chosen],
                texts=self.texts[chosen],
                spoken=self.spoken[chosen],
                seconds=self.seconds * float(lengths.sum()) / float(self.lengths.sum()),
            )

        return [part(slice(0, middle)), part(slice(middle, None))]

    def packed(self) -> "Batch":
        """As arrays: between processes tensors would go through shared memory, of which containers often have next to
        none."""
        return replace(self, features=self.features.numpy(), lengths=self.lengths.numpy())  # type: ignore[arg-type]

    def unpacked(self) -> "Batch":
        """What `packed` was called of."""
        features, lengths = torch.from_numpy(self.features), torch.from_numpy(self.lengths)
        return replace(self, features=features, lengths=lengths)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its features on a device; from pinned memory they are sent while work goes on."""
        features, lengths = (each.to(device, non_blocking=True) for each in (self.features, self.lengths))
        return replace(self, features=features, lengths=lengths)

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU can read by itself."""
        return replace(self, features=self.features.pin_memory(), lengths=self.lengths.pin_memory())


class Rows(Sequence[str]):
    """The ids of a table's rows, looked up where the indexes of the manifests have them."""

    def __init__(self, indexes: list[CutIndex], parts: np.ndarray, places: np.ndarray) -> None:
        self.indexes, self.parts, self.places = indexes, parts, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # slices are not needed
        return self.indexes[self.parts[row]].ids[int(self.places[row])]


def kept(rejected: Path, number: int, ending: str) -> Path:
    """Where something about a manifest, which is one of several, is kept for the next start."""
    return rejected.with_name(f".{rejected.stem}.{number}.{ending}")


class Corpus:
    """The utterances that can be trained on (or whose loss can be taken), read from disk on demand.

    Attributes:
      table: a row for each; what batches are planned by.
      features: how many a frame has.
      kind: of features, by name.
    """

    def __init__(
        self,
        manifests: Sequence[Path],
        lang: Lang,
        token_room: Callable[[int], int],
        rejected: Path,
        max_reject_percent: float,
        inputs: Inputs = STORED,
        again: bool = False,
    ) -> None:
        """Look at every cut once; those that cannot be used are listed in `rejected` with the reason. What was found
        is kept beside that list, so that the next start need not look again.

        Args:
          manifests: of cuts, or folders of Lhotse's Shar format.
          token_room: how many tokens and repeats the model has room for in so many frames of features.
          again: this program has opened it before, and said what is in it.

        Raises:
          EgretError: too many utterances cannot be used, or none is left; or none says its speaker, where features are
            normalised by it.
        """
        self.lang, self.inputs = lang, inputs
        self.indexes = [
            CutIndex(manifest_of(path, kept(rejected, number, "jsonl")) if path.is_dir() else path)
            for number, path in enumerate(manifests)
        ]
        surveys = [survey(index, lang, inputs, kept(rejected, number, "safetensors"))
                   for number, index in enumerate(self.indexes)]  # fmt: skip
        self.features, self.kind = self._size(surveys)
        longest = max((int(found.frames.max(initial=0)) for found in surveys), default=0)
        # As a list and not as the function, which workers would get with the model that it is a method of.
        self._token_room = np.array([token_room(frames) for frames in range(longest + 1)])
        usable = [(found.tokens > 0) & (self._token_room[found.frames] >= found.due) for found in surveys]
        self.table = self._table(surveys, usable)
        dropped = [row for number in range(len(surveys)) for row in self._dropped(number, surveys[number], usable)]
        if not again:
            self._report(rejected, dropped, max_reject_percent)
            if inputs.normalise and inputs.normalise.speakers is not None:
                self._report_nameless(surveys)

    def _size(self, surveys: list[Survey]) -> tuple[int, str]:
        """Features a frame and their kind, which are the same in all manifests."""
        found = {(each.features, each.kind): index.path for each, index in zip(surveys, self.indexes, strict=True)}
        found.pop((0, ""), None)
        if len(found) > 1:
            each = [f"{path} has {size} features a frame ({kind})" for (size, kind), path in found.items()]
            raise EgretError(f"{' and '.join(each)}; extract them with the same options")
        return max(found, default=(0, ""))

    def _table(self, surveys: list[Survey], usable: list[np.ndarray]) -> Table:
        places = np.concatenate([np.flatnonzero(good) for good in usable]).astype(np.int64)
        parts = np.repeat(np.arange(len(usable), dtype=np.int16), [int(good.sum()) for good in usable])
        seconds, tokens = (
            np.concatenate([getattr(found, name)[good] for found, good in zip(surveys, usable, strict=True)])
            for name in ("seconds", "tokens")
        )
        return Table(Rows(self.indexes, parts, places), seconds, tokens, places, parts)

    def _dropped(self, number: int, found: Survey, usable: list[np.ndarray]) -> list[dict[str, str]]:
        ids = self.indexes[number].ids
        short = np.flatnonzero((found.tokens > 0) & ~usable[number])
        rows = found.unusable + [
            (int(place), "too short for CTC", f"{self._token_room[found.frames[place]]} frames for "
             f"{found.due[place]} tokens and repeats") for place in short
        ]  # fmt: skip
        return [{"id": ids[place], "reason": reason, "detail": detail} for place, reason, detail in sorted(rows)]

    def _report(self, rejected: Path, dropped: list[dict[str, str]], max_reject_percent: float) -> None:
        total = len(self.table) + len(dropped)
        write_jsonl(rejected, dropped)
        names = ", ".join(str(index.path) for index in self.indexes)
        reasons = ", ".join(f"{reason}: {n}" for reason, n in Counter(d["reason"] for d in dropped).most_common())
        log.info("%s: %d utterances in, %d used%s", names, total, len(self.table),
                 f", {len(dropped)} rejected ({reasons}; listed in {rejected})" if dropped else "")  # fmt: skip
        if not len(self.table):
            raise EgretError(f"{names}: no utterance can be used ({reasons or 'it is empty'})")
        if len(dropped) * 100 > max_reject_percent * total:
            raise EgretError(
                f"{names}: {len(dropped)} of {total} utterances cannot be used ({reasons}), first "
                f"{dropped[0]['id']} ({dropped[0]['detail']}); all in {rejected}; "
                "mend them or raise --max-reject-percent"
            )

    def _report_nameless(self, surveys: list[Survey]) -> None:
        for index, found in zip(self.indexes, surveys, strict=True):
            count, first = found.nameless
            if count == len(index):
                raise EgretError(f"{index.path}: no utterance says its speaker (first: {first}); "
                                 f"name them in the corpus, or take --normalise utterance")  # fmt: skip
            if count:
                log.warning(
                    "%s: %d of %d utterances do not say their speaker (first: %s) and are normalised by themselves",
                    index.path, count, len(index), first,
                )  # fmt: skip

    def cut(self, row: int) -> Cut:
        """The cut of a row of the table."""
        return self.indexes[self.table.parts[row]].at(int(self.table.places[row]))

    def load(
        self, rows: Sequence[int] | np.ndarray, key: tuple[int, ...] = (), copies: Sequence[int] | np.ndarray = ()
    ) -> Batch:
        """Read the utterances of a batch.

        Args:
          key: with the number of its row it decides how an utterance is augmented: the same key, the same batch.
            Empty: no utterance is.
          copies: for each row how often it was there before under this key, which augments it otherwise; none given:
            never.

        Raises:
          EgretError: features or recordings cannot be read, or a manifest has changed.
        """
        cuts = [self.cut(row) for row in rows]
        texts, spoken = zip(*(transcript(cut, self.lang) for cut in cuts), strict=True)
        targets = [self.lang.encode(*each) for each in zip(texts, spoken, strict=True)]
        before = copies if len(copies) else [0] * len(rows)
        keys = [[*key, int(row), int(copy)] for row, copy in zip(rows, before, strict=True)] if key else []
        randoms = list(map(np.random.default_rng, keys))
        fewest = np.searchsorted(self._token_room, [frames_due(target) for target in targets])
        features, lengths = load_batch(cuts, self.inputs, randoms, fewest.tolist())
        return Batch(
            ids=[cut["id"] for cut in cuts],
            features=features,
            lengths=lengths,
            targets=targets,
            texts=list(texts),
            spoken=list(spoken),
            seconds=sum(cut["duration"] for cut in cuts),
        )

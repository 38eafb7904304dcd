"""Cut manifests as JSON lines: read whole, or any cut by its place without reading what precedes it.

A cut is Lhotse's MonoCut as a plain dictionary (`lhotse.MonoCut.from_dict` makes the object), so that a
program which needs ids and texts imports neither Lhotse nor torch.
"""

import contextlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import atomic_open, count_lines, read_jsonl

Cut = dict[str, Any]


def read_cuts(path: Path, first: int = 0, last: int | None = None) -> Iterator[Cut]:
    """The cuts of a manifest in its order, `.gz` accepted; of a range those from place `first` to before `last`.

    Raises:
      EgretError: no such manifest, or a line that is not a cut.
    """
    with _reading(path):
        for number, cut in enumerate(read_jsonl(path, first, last), first + 1):
            if not isinstance(cut, dict) or "id" not in cut:
                raise EgretError(f"{path}:{number}: not a cut (no id); make the manifest again")
            yield cut


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise EgretError(f"{path}: no such manifest; stage 0 makes the cuts, stage 1 their features") from None
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise EgretError(f"{path}: cannot be read ({error}); make the manifest again") from error


def share(total: int, job: int, jobs: int) -> slice:
    """The places of a job's share of so many things: consecutive ones, shares differing by at most one."""
    return slice(total * (job - 1) // jobs, total * job // jobs)


def share_of(path: Path, job: int, jobs: int) -> list[Cut]:
    """The job's share of a manifest; cuts of others are not parsed.

    Raises:
      EgretError: as `read_cuts`.
    """
    with _reading(path):
        part = share(count_lines(path), job, jobs)
    return list(read_cuts(path, part.start, part.stop))


def part_name(manifest: Path) -> str:
    """`train` of `data/cuts/train.jsonl.gz`."""
    return manifest.name.removesuffix(".gz").removesuffix(".jsonl")


def text_of(cut: Cut) -> str:
    """The transcript: the texts of the supervisions in time order, joined by spaces.

    Raises:
      EgretError: one is no text.
    """
    supervisions = sorted(cut.get("supervisions", []), key=lambda supervision: supervision["start"])
    texts = [text for supervision in supervisions if (text := supervision.get("text"))]
    if strange := [each for each in texts if not isinstance(each, str)]:
        raise EgretError(f"{cut['id']}: the text of its supervision is no text but {strange[0]!r}; write it in quotes")
    return " ".join(texts)


def spoken_of(cut: Cut, name: str) -> str:
    """The field `name` of the supervisions' `custom` in time order, joined by spaces; "" where not all have it.

    Raises:
      EgretError: it is no text.
    """
    supervisions = sorted(cut.get("supervisions", []), key=lambda supervision: supervision["start"])
    spoken = [(supervision.get("custom") or {}).get(name) or "" for supervision in supervisions]
    if strange := [each for each in spoken if not isinstance(each, str)]:
        raise EgretError(f"{cut['id']}: custom field {name!r} of its supervision is no text but {strange[0]!r}; "
                         f"write the units with spaces between")  # fmt: skip
    return " ".join(spoken) if name and all(spoken) else ""


def references(path: Path) -> dict[str, str]:
    """The transcript of every cut by its id, in the order of the manifest.

    Raises:
      EgretError: no such manifest, or two cuts with one id.
    """
    return {cut["id"]: text_of(cut) for cut in distinct_cuts(path)}


def distinct_cuts(path: Path) -> Iterator[Cut]:
    """`read_cuts`, which raises EgretError at a second cut with one id."""
    seen: set[str] = set()
    for cut in read_cuts(path):
        if cut["id"] in seen:
            raise EgretError(f"{path}: two cuts have the id {cut['id']!r}; make the manifest again")
        seen.add(cut["id"])
        yield cut


def write_cuts(path: Path, cuts: Iterable[Cut]) -> int:
    """Write a manifest, whole or not at all, and the index beside it (none for `.gz`); returns how many cuts."""
    ids = Names()
    offsets = array("q")
    offset = 0
    with atomic_open(path) as out:
        for cut in cuts:
            line = json.dumps(cut, ensure_ascii=False) + "\n"
            out.write(line)
            ids.append(cut["id"])
            offsets.append(offset)
            offset += len(line.encode())
    if Path(path).suffix != ".gz":
        _write_index(path, offset, ids, offsets)
    return len(ids)


def index_path(path: Path) -> Path:
    """`train.index.tsv` beside `train.jsonl`."""
    return Path(path).with_suffix(".index.tsv")


def _write_index(path: Path, size: int, ids: "Names", offsets: array) -> None:
    with atomic_open(index_path(path)) as out:
        out.write(f"# {size} bytes, {len(ids)} cuts\n")
        out.writelines(f"{offset}\t{name}\n" for offset, name in zip(offsets, ids, strict=True))


class Names(Sequence[str]):
    """Strings, a million of which take no more memory than their letters and an integer each."""

    def __init__(self) -> None:
        self._letters, self._ends = bytearray(), array("q")

    def append(self, name: str | bytes) -> None:
        """Add a string, given as it is or in UTF-8."""
        self._letters += name.encode() if isinstance(name, str) else name
        self._ends.append(len(self._letters))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # slices are not needed
        end = self._ends[place]
        place %= len(self._ends)
        return self._letters[self._ends[place - 1] if place else 0 : end].decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class CutIndex:
    """Any cut of a manifest by its place, at the cost of reading its line.

    The index is a text file of `offset<TAB>id` lines. It is made where it is missing or belongs to a manifest
    of another size or a newer one, and kept in memory only where the folder cannot be written. Safe to share
    between threads and forked processes, and can be pickled.

    Raises:
      EgretError: no such manifest, a compressed one, two cuts with one id, or a line that is not a cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file: int | None = None
        if self.path.suffix == ".gz":
            raise EgretError(f"{path}: cuts cannot be picked out of a compressed manifest; gunzip it first")
        try:
            state = self.path.stat()
        except FileNotFoundError:
            raise EgretError(f"{path}: no such manifest; stage 0 makes the cuts, stage 1 their features") from None
        self.size = state.st_size
        loaded = self._load(state.st_mtime_ns)
        self.ids, self.offsets = loaded if loaded else self._build()

    def _load(self, newer_than: int) -> tuple[Names, array] | None:
        """The index beside the manifest, or None where there is none that belongs to it."""
        ids, offsets = Names(), array("q")
        try:
            if index_path(self.path).stat().st_mtime_ns < newer_than:
                return None
            with open(index_path(self.path), "rb") as lines:
                header = next(lines, b"").decode()
                for line in lines:
                    offset, _, name = line.partition(b"\t")
                    offsets.append(int(offset))
                    ids.append(name[:-1])
        except (OSError, ValueError):
            return None
        return (ids, offsets) if header == f"# {self.size} bytes, {len(ids)} cuts\n" else None

    def _build(self) -> tuple[Names, array]:
        ids, offsets = Names(), array("q")
        offset = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                ids.append(self._parse(line, f"{self.path}:{number}")["id"])
                offsets.append(offset)
                offset += len(line)
        if len({hash(name) for name in ids}) < len(ids):  # or two that differ have one hash
            seen: set[str] = set()
            twice = (name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            if (name := next(twice, None)) is not None:
                raise EgretError(f"{self.path}: two cuts have the id {name!r}; make the manifest again")
        with contextlib.suppress(OSError):  # on a read-only disk the index in memory serves this process
            _write_index(self.path, offset, ids, offsets)
        return ids, offsets

    def __iter__(self) -> Iterator[Cut]:
        """All cuts in their order, read in one go.

        Raises:
          EgretError: the manifest has changed since the index was read.
        """
        with open(self.path, "rb") as lines:
            for place in range(len(self)):
                yield self._cut(place, lines.readline())

    @staticmethod
    def _parse(line: bytes, where: str) -> Cut:
        try:
            cut = json.loads(line)
            cut["id"]
        except (ValueError, KeyError, TypeError):
            raise EgretError(f"{where}: not a cut; make the manifest again") from None
        return cut

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, place: int) -> Cut:
        """The cut on line `place`, from 0.

        Raises:
          EgretError: the manifest has changed since the index was read.
        """
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
        start = self.offsets[place]
        end = self.offsets[place + 1] if place + 1 < len(self.offsets) else self.size
        # pread has no file position that threads and forked workers would move under each other.
        return self._cut(place, os.pread(self._file, end - start, start))

    def _cut(self, place: int, line: bytes) -> Cut:
        cut = self._parse(line, f"{self.path}:{place + 1}")
        if cut["id"] != self.ids[place]:
            raise EgretError(f"{self.path}: changed while it was in use; run the step again")
        return cut

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

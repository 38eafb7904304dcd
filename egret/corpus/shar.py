"""Lhotse's Shar format: cuts and their data in shards, tar files that are made to be read from end to end.

Here any cut is read by itself, as from a manifest: one is made of the shards, once, that says in which of them the data
of a cut lies, at which byte, and how many bytes there are. Lhotse takes every file in a folder of shards for one, so
the manifest lies beside the folder.
"""

import errno
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from egret.base.errors import EgretError
from egret.base.files import read_json, write_json, write_jsonl
from egret.base.log import log
from egret.corpus.cuts import Cut, CutIndex, read_cuts

FEATURES = {"llc": "tar_lilcom", "npy": "tar_numpy"}  # by the ending of a member
RECORDINGS = ("wav", "flac", "mp3", "opus", "ogg")
CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
Shard = dict[str, Path]


class Member(NamedTuple):
    """The data of a cut in a shard: where it is (first byte and number of bytes), and Lhotse's description of it."""

    name: str
    ending: str
    key: str
    about: dict[str, Any]


def manifest_of(folder: Path, elsewhere: Path) -> Path:
    """The manifest of a folder of shards, made where there is none of the same shards: `<folder>.shar.jsonl`, or
    `elsewhere` where that cannot be written.

    Raises:
      EgretError: no shards, or damaged ones, or cuts of another kind than MonoCut.
    """
    folder = Path(folder)
    shards = _shards(folder)
    states = {path.name: path.stat() for shard in shards for path in shard.values()}
    made_from = {"folder": str(folder), "shards": {name: [at.st_size, at.st_mtime_ns] for name, at in states.items()}}
    beside = folder.with_name(f"{folder.name}.shar.jsonl")
    for path in (beside, elsewhere):
        about = path.with_suffix(".json")
        if path.exists() and about.exists() and read_json(about) == made_from:
            return path
    try:
        return _write(beside, shards, made_from)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        return _write(elsewhere, shards, made_from)


def _write(path: Path, shards: list[Shard], made_from: dict[str, Any]) -> Path:
    path.with_suffix(".json").unlink(missing_ok=True)
    count = write_jsonl(path, (cut for shard in shards for cut in _cuts(shard)))
    CutIndex(path)  # refuses two cuts with one id
    write_json(path.with_suffix(".json"), made_from)
    log.info("%s: %d cuts of %d shards", path, count, len(shards))
    return path


def _shards(folder: Path) -> list[Shard]:
    """The files of each shard by what they hold: `cuts`, `features`, `recording`.

    Raises:
      EgretError: a folder without shards, or one of another number of files of a kind.
    """
    found: dict[str, list[Path]] = {"cuts": sorted([*folder.glob("cuts.*jsonl.gz"), *folder.glob("cuts.*jsonl")])}
    for field in ("features", "recording"):
        if paths := sorted(folder.glob(f"{field}.*tar")):
            found[field] = paths
    if not found["cuts"] or len(found) == 1:
        raise EgretError(f"{folder}: no Shar of Lhotse's (cuts.*.jsonl.gz with features.*.tar or recording.*.tar); "
                         f"give a manifest of cuts, or write one with CutSet.to_shar")  # fmt: skip
    if len({len(paths) for paths in found.values()}) > 1:
        numbers = ", ".join(f"{len(paths)} of {field}" for field, paths in found.items())
        raise EgretError(f"{folder}: its shards are not whole ({numbers}); copy or write them again")
    return [dict(zip(found, paths, strict=True)) for paths in zip(*found.values(), strict=True)]


def _cuts(shard: Shard) -> Iterator[Cut]:
    """The cuts of a shard with the places of their data."""
    members = {field: _members(path) for field, path in shard.items() if field != "cuts"}
    for cut in read_cuts(shard["cuts"]):
        if cut.get("type", "MonoCut") != "MonoCut":
            raise EgretError(f"{shard['cuts']}: {cut['id']} is a {cut['type']}; write the Shar of MonoCuts")
        for field in ("features", "recording"):
            cut.pop(field, None)
        for field, found in members.items():
            member = next(found, None)
            if member is None or member.name != cut["id"]:
                there = f"the data of {member.name}" if member else "no more data"
                raise EgretError(f"{shard[field]}: {there} where that of {cut['id']} is due; write the Shar again")
            if member.about:
                cut[field] = _placed(field, member, shard[field])
        if "recording" in cut:  # of which Lhotse has stored no other channels
            cut["channel"] = cut["recording"]["channel_ids"].index(cut["channel"])
        yield cut


def _placed(field: str, member: Member, path: Path) -> dict[str, Any]:
    """The features or the recording of a cut, which say where in a shard they lie."""
    if field == "features" and member.ending in FEATURES:
        place = {"storage_type": FEATURES[member.ending], "storage_path": str(path), "storage_key": member.key}
        return {**member.about, **place}
    if field == "recording" and member.ending in RECORDINGS:
        source = {"type": "tar", "channels": member.about["channel_ids"], "source": str(path), "key": member.key}
        return {**member.about, "sources": [source]}
    raise EgretError(f"{path}: {member.name}.{member.ending} cannot be read; write the Shar with features as lilcom or "
                     f"numpy, and recordings as wav or flac")  # fmt: skip


def _members(path: Path) -> Iterator[Member]:
    """The data in a shard, each with its description, which follows it."""
    try:
        with tarfile.open(path, "r:") as tar:
            while (data := tar.next()) is not None:
                name, _, ending = data.name.rpartition(".")
                described = tar.next()
                file = tar.extractfile(described) if described is not None else None
                if file is None:
                    raise tarfile.ReadError(f"no description follows {data.name}")
                about = json.loads(file.read()) if ending != "nodata" else {}
                yield Member(name, ending, f"{data.offset_data},{data.size}", about)
                tar.members.clear()  # type: ignore[attr-defined]  # which would grow with the shard
    except (tarfile.TarError, ValueError) as error:
        raise EgretError(f"{path}: not a whole shard ({error}); copy or write it again") from None


def read_member(path: Path | str, key: str) -> bytes:
    """The bytes of a cut's data.

    Raises:
      FileNotFoundError: the shard is gone.
      EOFError: it is shorter than it was.
    """
    start, size = map(int, key.split(","))
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), size, start)
    if len(data) != size:
        raise EOFError("the shard ends before they do")
    return data

"""What a step was made from: a record beside its output, so that a file's mere presence never counts as done.

`<out>/.stamp.<step>.json` holds the options that change the output, a fingerprint of every input, the step's
version, the outputs with their content's hash, counts and seconds. A step whose stamp matches is up to date.
"""

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import digest, read_json, sha256, write_json

# Beyond this size an output is known by its size and by what it was made from: hashing archives of features
# at every start would cost more than it protects from.
HASHED_UP_TO = 256 << 20


@dataclass(frozen=True)
class Request:
    """What a step is asked to make: compare it with a stamp to know whether it is made already."""

    step: str
    version: int
    options: dict[str, Any]
    inputs: dict[str, str]

    def differences(self, stamp: dict[str, Any]) -> list[str]:
        """What is different from a stamp, one phrase each: `optim.lr 0.01 -> 0.02`, `input cuts changed`."""
        found = []
        if stamp["version"] != self.version:
            found.append(f"the step's version {stamp['version']} -> {self.version}")
        old, new = stamp["options"], self.options
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                found.append(f"{name} {old.get(name)} -> {new.get(name)}")
        old, new = stamp["inputs"], self.inputs
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                verb = "new" if name not in old else "gone" if name not in new else "changed"
                found.append(f"input {name} {verb}")
        return found


def stamp_path(folder: Path, step: str) -> Path:
    return folder / f".stamp.{step}.json"


def read_stamp(folder: Path, step: str) -> dict[str, Any] | None:
    """The stamp, or None where there is none or it is damaged (then the step runs again)."""
    return _read(stamp_path(folder, step))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stamp = read_json(path)
    except (FileNotFoundError, NotADirectoryError, EgretError):
        return None
    keys = {"version", "options", "inputs", "outputs", "seconds", "finished"}
    return stamp if isinstance(stamp, dict) and stamp.keys() >= keys else None


def write_stamp(folder: Path, request: Request, outputs: list[Path], counts: dict[str, Any], seconds: float) -> None:
    """Record a finished step; `outputs` are the files that other steps read."""
    known = {}
    made_from = digest([request.version, request.options, request.inputs])
    hashes = {  # by the jobs which the outputs are from: archives of features take seconds to read again
        (parent / name, about["bytes"], about["mtime_ns"]): about["sha256"]
        for parent in {path.parent for path in outputs} - {folder}
        for stamp in _stamps_in(parent)
        for name, about in stamp["outputs"].items()
    }
    for path in outputs:
        state = path.stat()
        said = hashes.get((path, state.st_size, state.st_mtime_ns), "")
        known[os.path.relpath(path, folder)] = {  # an output may lie outside the folder
            "bytes": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "sha256": made_from if state.st_size > HASHED_UP_TO else said or sha256(path),
        }
    write_json(
        stamp_path(folder, request.step),
        {
            "step": request.step,
            "version": request.version,
            "options": request.options,
            "inputs": request.inputs,
            "outputs": known,
            "counts": counts,
            "seconds": round(seconds, 2),
            "host": socket.gethostname(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S"),
        },
    )
    failure_path(folder, request.step).unlink(missing_ok=True)


def why_not_current(folder: Path, request: Request) -> list[str]:
    """Empty when the output in `folder` is what `request` asks for and is still whole; else the reasons."""
    stamp = read_stamp(folder, request.step)
    if stamp is None:
        return ["not run"]
    reasons = request.differences(stamp)
    for name, known in stamp["outputs"].items():
        if _content(folder / name, known) != known["sha256"]:
            reasons.append(f"output {name} {'changed' if (folder / name).exists() else 'is gone'}")
    return reasons


def changed_outputs(folder: Path, step: str) -> list[str] | None:
    """The files of a step's output that are gone or are not those that it left, as where a later run was killed;
    None: it has never finished there."""
    stamp = read_stamp(folder, step)
    if stamp is None:
        return None
    return [name for name, known in stamp["outputs"].items() if _content(folder / name, known) != known["sha256"]]


def _content(path: Path, known: dict[str, Any]) -> str:
    """The content's hash of an output: the recorded one while size and time are those recorded."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return "gone"
    large = state.st_size > HASHED_UP_TO
    if state.st_size == known["bytes"] and (large or state.st_mtime_ns == known["mtime_ns"]):
        return known["sha256"]
    return _size_and_time(state) if large else sha256(path)


def _size_and_time(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns}"


def fingerprint(path: Path) -> str:
    """A fingerprint of an input: its content, through the producer's stamp where there is one.

    A folder counts by the outputs of the steps that stamped it, or else by all its files.

    Raises:
      FileNotFoundError: there is no such file or folder.
    """
    if path.is_dir():
        stamps = _stamps_in(path)
        if stamps:
            outputs = {
                name: _content(path / name, known) for stamp in stamps for name, known in stamp["outputs"].items()
            }
            return digest(outputs)
        return digest({str(p.relative_to(path)): _of_file(p) for p in _files_in(path)})
    path.stat()  # raises where there is none
    for folder in list(path.parents)[:3]:
        for stamp in _stamps_in(folder):
            known = stamp["outputs"].get(str(path.relative_to(folder)))
            if known:
                return _content(path, known)
    return _of_file(path)


def _of_file(path: Path) -> str:
    """The content's hash; of a large file, and of the shards of Lhotse's Shar, which are many, size and time."""
    state = path.stat()
    return _size_and_time(state) if state.st_size > HASHED_UP_TO or path.suffix == ".tar" else sha256(path)


def _stamps_in(folder: Path) -> list[dict[str, Any]]:
    """The stamps in a folder. A damaged one says nothing: then the files' own content counts."""
    stamps = [_read(path) for path in sorted(folder.glob(".stamp.*.json")) if not path.name.endswith(".failed.json")]
    return [stamp for stamp in stamps if stamp is not None]


def _files_in(folder: Path) -> list[Path]:
    """All files below a folder, without the word that a failed step left there."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".stamp.")]


def failure_path(folder: Path, step: str) -> Path:
    return folder / f".stamp.{step}.failed.json"


def write_failure(folder: Path, step: str, message: str) -> None:
    """Leave word of a failure for `--status`; a folder that cannot be written keeps none."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    with contextlib.suppress(OSError):
        write_json(failure_path(folder, step), {"message": message, "time": now})

"""Files that are whole whenever they exist: everything is written under a temporary name and renamed."""

import glob
import gzip
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from egret.base.errors import EgretError


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask


UMASK = _umask()


def temporary(path: Path) -> Path:
    """A hidden name beside `path` that no other process on any host of a shared disk uses."""
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes of this host that were killed have left of `path` under temporary names."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.{os.uname().nodename}.*.tmp"):
        pid = part.name.split(".")[-2]
        own = pid == str(os.getpid())  # of a killed process that had the same number, as in a container
        if pid.isdigit() and (own or not Path("/proc", pid).exists()):
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path for a file or folder; on success it takes the place of `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    part = temporary(path)
    try:
        yield part
        if part.is_file():  # safetensors writes files that only their owner may read
            part.chmod(0o666 & ~UMASK)
            with open(part, "rb") as written:
                os.fsync(written.fileno())
        if part.is_dir() and path.is_dir():  # rename() refuses to replace a folder that is not empty
            old = path.with_name(f".{path.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            os.replace(part, path)
    except OSError as error:
        if error.filename is None:  # as when a disk fills up
            error.filename = str(path)
        elif str(error.filename).startswith(str(part)):  # in a folder that is being made
            error.filename = str(path) + str(error.filename)[len(str(part)) :]
        raise
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file to write that appears only when it is complete and on the disk; `.gz` compresses."""
    path = Path(path)
    with atomic_path(path) as part, open(part, "wb") as raw:
        # Without name and time in its header a gzip file is the same bytes every time.
        data = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(data, encoding="utf-8", newline="\n") as out:
            yield out


def open_text(path: Path) -> IO[str]:
    """UTF-8 text to read, gzipped or not by its name."""
    return gzip.open(path, "rt", encoding="utf-8") if Path(path).suffix == ".gz" else open(path, encoding="utf-8")


def text_lines(path: Path, option: str) -> Iterator[str]:
    """The lines of a user's UTF-8 text, gzipped or not by its name, with or without a byte-order mark.

    Args:
      option: by which the user gave the path, for errors.

    Raises:
      EgretError: there is no such file, it cannot be read, or it is not UTF-8.
    """
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines):
                yield line if number else line.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise EgretError(f"{option} {path}: not UTF-8 text ({error.reason}); convert it with iconv") from None
    except (EOFError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise EgretError(f"{option} {path}: cannot be read ({why}); check the file") from None


def write_text(path: Path, text: str) -> None:
    with atomic_open(path) as out:
        out.write(text)


def write_tensors(path: Path, tensors: dict[str, Any], about: dict[str, str] | None = None) -> None:
    """NumPy arrays by name as a safetensors file, with `about` in its header.

    Raises:
      OSError: the disk is full, or something else is wrong with it.
      EgretError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with atomic_path(path) as part:
        try:
            save_file(tensors, part, metadata=about)
        except SafetensorError as error:
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise EgretError(f"{path}: cannot be written ({error})") from None


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict]) -> int:
    """Write one JSON object a line; returns how many."""
    count = 0
    with atomic_open(path) as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EgretError(f"{path}: not valid JSON ({error}); remove it and run the step that makes it") from error


def count_lines(path: Path) -> int:
    """Lines of a file, `.gz` accepted, the last of them whether or not it is ended."""
    count, last = 0, b"\n"
    with gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb") as data:
        while block := data.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def read_jsonl(path: Path, first: int = 0, last: int | None = None) -> Iterator[dict]:
    """The objects of a JSON-lines file, `.gz` accepted; those on lines `first` to before `last`, counted from 0.

    Raises:
      EgretError: a line is not JSON; names the file and the line.
    """
    with open_text(path) as lines:
        for number, line in enumerate(islice(lines, first, last), first + 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise EgretError(f"{path}:{number}: not valid JSON ({error}); make the file again") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of any JSON-like value, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

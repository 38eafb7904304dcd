"""Fetching corpora: downloads that go on where they were cut off, archives that unpack whole or not at all."""

import fcntl
import hashlib
import json
import os
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from egret.base.errors import EgretError
from egret.base.files import atomic_path, read_json, write_json
from egret.base.log import log, progress

MIB = 1 << 20
BLOCK = 1 << 16  # what is lost of a connection that breaks is less than this
CONNECT_SECONDS, READ_SECONDS = 20, 60


class _TryAgain(Exception):
    """A failure that may pass: a broken connection, an overloaded server."""


def fetch(
    url: str,
    to: Path,
    sha256: str | None = None,
    md5: str | None = None,
    attempts: int = 5,
    pause: float = 2.0,
) -> Path:
    """Download `url` into the file `to`, which exists only when it is whole; returns `to`.

    What came before a connection broke is kept in `<to>.part` and gone on from, in this call (`attempts` times
    without a byte gained, after `pause`, 2 x `pause`, ... seconds) or the next. A file that is there is not
    fetched again, unless it has another digest.

    Raises:
      EgretError: the server has no such file or cannot be reached, or the content has another digest.
    """
    to = Path(to)
    expected = {"sha256": sha256, "md5": md5}
    if to.is_file() and not _wrong_digest(to, expected):
        return to
    part = to.with_name(to.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(part):
        failures = 0
        while True:
            before = _size(part)
            try:
                _receive(url, part)
                break
            except _TryAgain as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= attempts:
                    raise EgretError(
                        f"{url}: the download failed ({error}), {attempts} times in a row; what came is kept in "
                        f"{part}; run it again to go on"
                    ) from None
                log.info("%s: %s; going on at %d bytes", url, error, _size(part))
                time.sleep(pause * failures)
        if wrong := _wrong_digest(part, expected):
            part.unlink()
            _about(part).unlink(missing_ok=True)
            raise EgretError(f"{url}: the content is not what it should be ({wrong}); it has been removed")
        os.replace(part, to)
        _about(part).unlink(missing_ok=True)
    return to


@contextmanager
def _only_one(part: Path) -> Iterator[None]:
    """Two processes that fetch the same file would mix their bytes."""
    lock = part.with_name(f".{part.name}.lock")
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EgretError(f"{part}: another process is downloading it; wait for it to finish") from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _receive(url: str, part: Path) -> None:
    """Append to `part` until it is complete.

    Raises:
      _TryAgain: the connection broke, the server is busy.
      EgretError: the server refuses, or the address is none.
    """
    import requests

    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := _validator(part):
            headers["If-Range"] = validator  # a file that has changed since comes whole, from its beginning
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as reply:
            total = _total(reply, have)
            if reply.status_code == 416 and total == have:
                return
            if reply.status_code == 416 or (reply.status_code == 206 and _start(reply) != have):
                part.unlink(missing_ok=True)
                raise _TryAgain("the server's file is another one now")
            if reply.status_code in (408, 425, 429) or reply.status_code >= 500:
                raise _TryAgain(f"the server answers {reply.status_code} {reply.reason}")
            if reply.status_code not in (200, 206):
                raise EgretError(f"{url}: the server answers {reply.status_code} {reply.reason}; check the address")
            write_json(_about(part), {"url": url, "validator": _named_version(reply)})
            mode, start = ("ab", have) if reply.status_code == 206 else ("wb", 0)
            with open(part, mode) as out:
                count = ((total or start) - start) // MIB
                for _ in progress(_save(reply, out), count, f"{part.stem}, MiB"):
                    pass
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema) as error:  # fmt: skip
        raise EgretError(f"{url}: not an address that can be downloaded from ({error})") from None
    except (requests.exceptions.RequestException, TimeoutError, ConnectionError) as error:
        raise _TryAgain(_short(error)) from None
    if total is not None and _size(part) < total:
        raise _TryAgain(f"the connection ended after {_size(part)} of {total} bytes")


def _save(reply: Any, out: IO[bytes]) -> Iterator[None]:
    """Write what comes, and say so at every whole MiB."""
    written = 0
    for block in reply.iter_content(BLOCK):
        out.write(block)
        written += len(block)
        if written % MIB < len(block):
            yield


def _about(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _validator(part: Path) -> str | None:
    with suppress(OSError, EgretError, AttributeError):
        return read_json(_about(part)).get("validator")
    return None


def _named_version(reply: Any) -> str | None:
    """The server's name for this version of the file; a weak one is no good for going on."""
    tag = reply.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else reply.headers.get("Last-Modified")


def _total(reply: Any, have: int) -> int | None:
    """The size of the whole file, None where the server does not say."""
    whole = reply.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdigit():
        return int(whole)
    length = reply.headers.get("Content-Length", "")
    return (int(length) + (have if reply.status_code == 206 else 0)) if length.isdigit() else None


def _start(reply: Any) -> int:
    first = reply.headers.get("Content-Range", "").removeprefix("bytes").strip().partition("-")[0]
    return int(first) if first.isdigit() else -1


def _short(error: Exception) -> str:
    """The cause at the bottom of a chain of wrapped network errors."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return str(cause) or type(cause).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wrong_digest(path: Path, expected: dict[str, str | None]) -> str:
    """`sha256 12ab..., expected 34cd...`, or nothing."""
    for kind, value in expected.items():
        if value:
            found = hashlib.new(kind)
            with open(path, "rb") as data:
                while block := data.read(MIB):
                    found.update(block)
            if found.hexdigest() != value.lower():
                return f"{kind} {found.hexdigest()}, expected {value}"
    return ""


def unpack(archive: Path, to: Path) -> Path:
    """Unpack a tar (gz, bz2, xz) or zip archive into the folder `to`, which holds nothing else; returns `to`.

    The folder appears when everything is in it. Where it is there and was made from this archive, nothing is
    done.

    Raises:
      EgretError: no archive, a damaged one, or a member that would be written outside of the folder.
    """
    archive, to = Path(archive), Path(to)
    marker = ".unpacked.json"
    try:
        made_from = {"archive": archive.name, "bytes": archive.stat().st_size}
    except FileNotFoundError:
        raise EgretError(f"{archive}: no such archive") from None
    with suppress(OSError, EgretError):
        if read_json(to / marker) == made_from:
            return to
    log.info("unpacking %s into %s", archive, to)
    with atomic_path(to) as part:
        part.mkdir()
        try:
            if zipfile.is_zipfile(archive):
                _unzip(archive, part)
            else:
                _untar(archive, part)
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise EgretError(f"{archive}: damaged, or no tar or zip archive ({error}); download it again") from error
        (part / marker).write_text(json.dumps(made_from))
    return to


def _untar(archive: Path, folder: Path) -> None:
    links: set[PurePosixPath] = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            name = _inside(member.name, archive)
            if links.intersection([name, *name.parents]):
                raise EgretError(f"{archive}: {member.name} would be written through a link; it is not unpacked")
            if member.issym() or member.islnk():
                start = name.parent if member.issym() else PurePosixPath()
                _inside(os.path.normpath(start / member.linkname), archive)
                links.add(name)
            elif not (member.isfile() or member.isdir()):
                raise EgretError(f"{archive}: {member.name} is neither file, folder nor link; it is not unpacked")
            # What an archive says of owners and modes is not for this machine.
            member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
            member.uid = member.gid = -1
            member.uname = member.gname = ""
            tar.extract(member, folder, set_attrs=True, numeric_owner=False)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as box:
        for member in box.infolist():
            _inside(member.filename, archive)
            box.extract(member, folder)


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The path of a member within the archive.

    Raises:
      EgretError: it leads out of the folder.
    """
    path = PurePosixPath(os.path.normpath(name))
    if path.is_absolute() or ".." in PurePosixPath(name).parts or ".." in path.parts:
        raise EgretError(f"{archive}: the member {name!r} leads out of the folder; it is not unpacked")
    return path

"""A download goes on where it was cut off, and a file or folder that exists is whole."""

import hashlib
import io
import os
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.corpus.download import BLOCK, fetch, unpack

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under every path; `breaks` holds after how many bytes each coming connection is cut."""

    daemon_threads = True
    content = CONTENT
    tag = '"v1"'
    ranges = True
    status = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/corpus.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers["Range"]
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if self.headers["If-Range"] not in (None, server.tag):
            start = 0
        size = len(server.content)
        if asked and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        stop = start + server.breaks.pop(0) if server.breaks else size
        self.wfile.write(server.content[start:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "corpus.tar.gz"


def test_a_file_comes_whole_and_nothing_else_is_left(server: Server, to: Path):
    assert fetch(server.url, to, sha256=SHA256) == to
    assert to.read_bytes() == CONTENT
    assert [path.name for path in to.parent.iterdir()] == [to.name]


def test_a_broken_connection_is_gone_on_from_where_it_broke(server: Server, to: Path):
    server.breaks = [20 * BLOCK, 10 * BLOCK + 5]
    fetch(server.url, to, sha256=SHA256, pause=0)
    assert to.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={20 * BLOCK}-", f"bytes={30 * BLOCK}-"]


def test_a_later_call_goes_on_from_what_an_earlier_one_left(server: Server, to: Path):
    server.breaks = [30 * BLOCK]
    with pytest.raises(EgretError, match=r"the download failed .* what came is kept in .*corpus.tar.gz.part"):
        fetch(server.url, to, attempts=1)
    assert not to.exists()
    fetch(server.url, to, sha256=SHA256)
    assert server.asked == [None, f"bytes={30 * BLOCK}-"]
    assert to.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_fetched_from_its_beginning(server: Server, to: Path):
    server.breaks = [2_000_000]
    with pytest.raises(EgretError):
        fetch(server.url, to, attempts=1)
    server.content, server.tag = CONTENT[::-1], '"v2"'
    fetch(server.url, to)
    assert to.read_bytes() == CONTENT[::-1]


def test_a_server_that_cannot_go_on_sends_everything_again(server: Server, to: Path):
    server.ranges = False
    server.breaks = [2_000_000]
    fetch(server.url, to, sha256=SHA256, pause=0)
    assert to.read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(server: Server, to: Path):
    to.parent.mkdir()
    to.with_name(to.name + ".part").write_bytes(CONTENT)
    fetch(server.url, to, sha256=SHA256)
    assert to.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, to: Path):
    to.parent.mkdir()
    to.with_name(to.name + ".part").write_bytes(CONTENT + b"more")
    fetch(server.url, to, sha256=SHA256, pause=0)
    assert to.read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again(server: Server, to: Path):
    fetch(server.url, to, sha256=SHA256)
    fetch(server.url, to, sha256=SHA256)
    assert len(server.asked) == 1


def test_a_file_that_is_there_with_another_digest_is_fetched_again(server: Server, to: Path):
    to.parent.mkdir()
    to.write_bytes(b"old")
    fetch(server.url, to, md5=hashlib.md5(CONTENT).hexdigest())
    assert to.read_bytes() == CONTENT


def test_another_digest_is_an_error_and_the_content_does_not_stay(server: Server, to: Path):
    with pytest.raises(EgretError, match=f"not what it should be .sha256 {SHA256}, expected 00"):
        fetch(server.url, to, sha256="00" * 32)
    assert list(to.parent.iterdir()) == []


def test_an_address_that_is_not_there_fails_at_once(server: Server, to: Path):
    server.status = 404
    with pytest.raises(EgretError, match="answers 404 Not Found; check the address"):
        fetch(server.url, to)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Server, to: Path):
    server.status = 503
    with pytest.raises(EgretError, match=r"answers 503 .*, 3 times in a row"):
        fetch(server.url, to, attempts=3, pause=0)
    assert len(server.asked) == 3


def test_a_server_that_is_not_there_is_an_error_of_one_line(to: Path):
    with Server() as closed:
        url = closed.url
    with pytest.raises(EgretError, match="Connection refused") as error:
        fetch(url, to, attempts=2, pause=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x", "http://"])
def test_what_is_no_web_address_is_an_error(url: str, to: Path):
    with pytest.raises(EgretError, match="not an address that can be downloaded from"):
        fetch(url, to)


def test_two_processes_do_not_mix_their_bytes(server: Server, to: Path):
    import fcntl

    to.parent.mkdir()
    with open(to.parent / f".{to.name}.part.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EgretError, match="another process is downloading it"):
            fetch(server.url, to)


def tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def device(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name[0] != ".")


def test_a_tar_archive_is_unpacked(tmp_path: Path):
    archive = tar(tmp_path / "a.tar.gz", {"waves/1.wav": b"one", "waves/2.wav": b"two"})
    assert unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert names(tmp_path / "out") == ["waves", "waves/1.wav", "waves/2.wav"]


def test_a_zip_archive_is_unpacked(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as box:
        box.writestr("waves/1.wav", b"one")
    assert names(unpack(tmp_path / "a.zip", tmp_path / "out")) == ["waves", "waves/1.wav"]


def test_what_was_unpacked_is_not_unpacked_again(tmp_path: Path):
    archive = tar(tmp_path / "a.tar.gz", {"1.wav": b"one"})
    unpack(archive, tmp_path / "out")
    (tmp_path / "out/1.wav").write_bytes(b"mine")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/1.wav").read_bytes() == b"mine"


def test_links_inside_of_the_folder_are_kept(tmp_path: Path):
    archive = tar(tmp_path / "a.tar.gz", {"d/1.wav": b"one", "d/l": link("d/l", "1.wav")})
    assert (unpack(archive, tmp_path / "out") / "d/l").read_bytes() == b"one"


@pytest.mark.parametrize(
    "members",
    [
        {"../evil": b"x"},
        {"a/../../evil": b"x"},
        {"/evil": b"x"},
        {"l": link("l", "/etc")},
        {"l": link("l", "../..")},
        {"h": link("h", "../../evil", tarfile.LNKTYPE)},
        {"d": link("d", "."), "d/l": link("d/l", "..")},
        {"l": link("l", "elsewhere"), "l/x": b"x"},
        {"dev": device("dev")},
    ],
)
def test_nothing_is_written_outside_of_the_folder(members: dict, tmp_path: Path):
    archive = tar(tmp_path / "a.tar.gz", {"good": b"x", **members})
    with pytest.raises(EgretError, match="is not unpacked"):
        unpack(archive, tmp_path / "in" / "out")
    assert list((tmp_path / "in").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_zip_archive_cannot_write_outside_either(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as box:
        box.writestr("../evil", b"x")
    with pytest.raises(EgretError, match="leads out of the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.95])
def test_a_damaged_archive_is_an_error_and_leaves_no_folder(keep: float, tmp_path: Path):
    archive = tar(tmp_path / "a.tar.gz", {f"{number}": os.urandom(5000) for number in range(20)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * keep)])
    with pytest.raises(EgretError, match="download it again"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_archive_is_an_error(tmp_path: Path):
    with pytest.raises(EgretError, match="no such archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")

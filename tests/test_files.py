"""Files that are whole whenever they exist."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from egret.base import files
from egret.base.errors import EgretError, first_few, nearest
from egret.base.files import (
    atomic_open,
    atomic_path,
    digest,
    open_text,
    read_json,
    read_jsonl,
    temporary,
    write_json,
    write_jsonl,
    write_tensors,
    write_text,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestAtomicFiles:
    def test_nothing_is_to_be_seen_until_all_is_written(self, tmp_path):
        with atomic_open(tmp_path / "a.txt") as out:
            out.write("one\n")
            out.flush()
            assert not (tmp_path / "a.txt").exists()
        assert (tmp_path / "a.txt").read_text() == "one\n"
        assert names(tmp_path) == ["a.txt"]

    @pytest.mark.parametrize("name", ["a.txt", "a.gz"])
    def test_a_failure_leaves_the_file_that_was_there(self, tmp_path, name):
        write_text(tmp_path / name, "old\n")
        with pytest.raises(RuntimeError), atomic_open(tmp_path / name) as out:
            out.write("new\n")
            raise RuntimeError
        assert open_text(tmp_path / name).read() == "old\n"
        assert names(tmp_path) == [name]

    def test_the_folder_is_made(self, tmp_path):
        write_text(tmp_path / "a" / "b" / "c.txt", "x")
        assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"

    def test_gzip_is_the_same_bytes_every_time_and_under_every_name(self, tmp_path):
        write_text(tmp_path / "a.gz", "text\n" * 100)
        time.sleep(1.1)  # gzip's time is in seconds
        write_text(tmp_path / "b.gz", "text\n" * 100)
        assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
        assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"text\n" * 100

    def test_the_mode_is_what_the_umask_says(self, tmp_path):
        write_text(tmp_path / "a.txt", "x")
        write_tensors(tmp_path / "a.safetensors", {"x": np.zeros(2)})
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o777 == 0o666 & ~files.UMASK

    def test_a_killed_process_leaves_no_file_and_its_leftovers_are_removed(self, tmp_path):
        script = (
            "import sys, time; from pathlib import Path; from egret.base.files import atomic_open\n"
            "with atomic_open(Path(sys.argv[1])) as out:\n"
            "    out.write('half'); out.flush(); print('now', flush=True); time.sleep(60)\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "a.txt")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "a.txt").exists() and len(names(tmp_path)) == 1
        write_text(tmp_path / "a.txt", "whole")
        assert names(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "whole"

    def test_a_leftover_of_a_killed_process_with_our_own_number_does_not_get_into_a_folder(self, tmp_path):
        leftover = temporary(tmp_path / "folder")
        leftover.mkdir()
        (leftover / "old").touch()
        with atomic_path(tmp_path / "folder") as part:
            part.mkdir()
            (part / "new").touch()
        assert names(tmp_path / "folder") == ["new"]

    def test_what_another_living_process_writes_is_left_alone(self, tmp_path):
        other = tmp_path / f".a.txt.{os.uname().nodename}.1.tmp"
        other.touch()
        write_text(tmp_path / "a.txt", "x")
        assert other.exists()


class TestAtomicFolders:
    def fill(self, folder, *, fail=False):
        with atomic_path(folder) as part:
            part.mkdir()
            (part / "new").write_text("x")
            if fail:
                raise RuntimeError

    def test_a_folder_appears_whole(self, tmp_path):
        self.fill(tmp_path / "a")
        assert names(tmp_path / "a") == ["new"]

    def test_a_folder_replaces_another_one(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "old").touch()
        self.fill(tmp_path / "a")
        assert names(tmp_path / "a") == ["new"] and names(tmp_path) == ["a"]

    def test_a_failure_leaves_the_old_folder(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "old").touch()
        with pytest.raises(RuntimeError):
            self.fill(tmp_path / "a", fail=True)
        assert names(tmp_path / "a") == ["old"] and names(tmp_path) == ["a"]


class TestAFullDisk:
    def test_text(self, small_disk):
        write_text(small_disk / "a.txt", "old")
        with pytest.raises(OSError) as caught:
            write_text(small_disk / "a.txt", "x" * 100_000)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(small_disk / "a.txt"))
        assert (small_disk / "a.txt").read_text() == "old" and names(small_disk) == ["a.txt"]

    def test_tensors(self, small_disk):
        with pytest.raises(OSError) as caught:
            write_tensors(small_disk / "a.safetensors", {"x": np.ones(100_000)})
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(small_disk / "a.safetensors"))
        assert names(small_disk) == []

    def test_a_file_in_a_folder_is_named_as_it_would_have_been(self, small_disk):
        with pytest.raises(OSError) as caught, atomic_path(small_disk / "folder") as part:
            part.mkdir()
            write_text(part / "a.txt", "x" * 100_000)
        assert caught.value.filename == str(small_disk / "folder/a.txt") and names(small_disk) == []


class TestJson:
    def test_round_trip(self, tmp_path):
        value = {"name": "한국어", "list": [1, None, 0.5]}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value
        assert "한국어" in (tmp_path / "a.json").read_text(encoding="utf-8")

    @pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
    def test_lines(self, tmp_path, name):
        rows = [{"id": f"é{number}"} for number in range(3)]
        assert write_jsonl(tmp_path / name, iter(rows)) == 3
        assert list(read_jsonl(tmp_path / name)) == rows

    def test_a_damaged_file_is_named(self, tmp_path):
        (tmp_path / "a.json").write_text('{"a": ')
        with pytest.raises(EgretError, match=r"a\.json: not valid JSON"):
            read_json(tmp_path / "a.json")

    def test_a_damaged_line_is_named(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a"\n')
        with pytest.raises(EgretError, match=r"a\.jsonl:2: not valid JSON"):
            list(read_jsonl(tmp_path / "a.jsonl"))

    def test_equal_values_have_equal_digests(self):
        assert digest({"a": 1, "b": [Path("x")]}) == digest(json.loads('{"b": ["x"], "a": 1}'))
        assert digest({"a": 1}) != digest({"a": 2})


def test_only_a_close_name_is_suggested():
    assert nearest("epoch", ["epochs", "lr"]) == "; did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "lr"]) == ""


def test_a_long_list_is_cut_short():
    assert first_few("abc", 3) == "a, b, c"
    assert first_few("abcd", 3) == "a, b, c and 1 more"

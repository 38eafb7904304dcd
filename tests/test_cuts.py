"""Any cut of a manifest is found by its place, at the cost of one line."""

import gzip
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.corpus.cuts import CutIndex, index_path, read_cuts, references, share_of, text_of, write_cuts


def cut(name: str, text: str = "", **more: object) -> dict:
    return {"id": name, "supervisions": [{"id": name, "start": 0.0, "text": text}], **more}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    cuts = [cut(f"u{number}", "今天 " * (number % 7)) for number in range(500)]
    write_cuts(tmp_path / "train.jsonl", cuts)
    return tmp_path / "train.jsonl"


def test_cuts_come_back_in_order(manifest: Path):
    assert [each["id"] for each in read_cuts(manifest)] == [f"u{number}" for number in range(500)]


def test_every_cut_is_found_by_its_place(manifest: Path):
    index = CutIndex(manifest)
    assert [index.at(place) for place in range(len(index))] == list(read_cuts(manifest))


def test_all_cuts_are_read_in_their_order(manifest: Path):
    assert list(CutIndex(manifest)) == list(read_cuts(manifest))


def test_reading_a_cut_touches_its_own_line_only(manifest: Path):
    index = CutIndex(manifest)
    lines = manifest.read_bytes().split(b"\n")
    lines[10] = b"x" * len(lines[10])  # the neighbours are no longer JSON
    lines[12] = b"x" * len(lines[12])
    manifest.write_bytes(b"\n".join(lines))
    assert index.at(11)["id"] == "u11"


def test_the_index_is_written_with_the_manifest_and_not_made_again(manifest: Path):
    before = index_path(manifest).stat().st_mtime_ns
    assert len(CutIndex(manifest)) == 500
    assert index_path(manifest).stat().st_mtime_ns == before


def test_a_missing_index_is_made_and_equals_the_written_one(manifest: Path):
    written = index_path(manifest).read_text()
    index_path(manifest).unlink()
    CutIndex(manifest)
    assert index_path(manifest).read_text() == written


@pytest.mark.parametrize("damage", ["", "# 1 bytes, 1 cuts\n0\tu0\n", "garbage\nmore\n"])
def test_a_damaged_index_is_made_again(manifest: Path, damage: str):
    index_path(manifest).write_text(damage)
    assert CutIndex(manifest).at(499)["id"] == "u499"


def test_an_index_older_than_its_manifest_is_made_again(manifest: Path):
    longer_first = [json.dumps(cut("v" * 20)), json.dumps(cut("w"))]
    write_cuts(manifest, [cut("v"), cut("w" * 20)])
    manifest.write_text("\n".join(longer_first) + "\n")  # as many bytes and cuts as before
    later = index_path(manifest).stat().st_mtime_ns + 10**9
    os.utime(manifest, ns=(later, later))
    assert CutIndex(manifest).ids == ["v" * 20, "w"]


def test_a_manifest_in_a_folder_that_cannot_be_written_is_indexed_in_memory(manifest: Path, monkeypatch):
    index_path(manifest).unlink()
    monkeypatch.setattr("egret.corpus.cuts.atomic_open", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert CutIndex(manifest).at(250)["id"] == "u250"
    assert not index_path(manifest).exists()


def test_a_manifest_without_a_last_line_end_is_read_to_its_end(manifest: Path):
    manifest.write_bytes(manifest.read_bytes().rstrip(b"\n"))
    assert CutIndex(manifest).at(499)["id"] == "u499"


def test_threads_forked_processes_and_pickles_share_an_index(manifest: Path):
    index = CutIndex(manifest)
    index.at(0)
    child = os.fork()
    if child == 0:
        wrong = any(index.at(number)["id"] != f"u{number}" for number in range(500))
        os._exit(wrong)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: index.at(number)["id"], range(500)))
    assert os.waitpid(child, 0)[1] == 0
    assert found == index.ids
    assert pickle.loads(pickle.dumps(index)).at(7) == index.at(7)


def test_a_manifest_that_changes_in_use_is_noticed(manifest: Path):
    index = CutIndex(manifest)
    manifest.write_bytes(manifest.read_bytes().replace(b'"u111"', b'"u999"'))
    with pytest.raises(EgretError, match="changed while it was in use"):
        index.at(111)


def test_two_cuts_with_one_id_are_refused(tmp_path: Path):
    write_cuts(tmp_path / "a.jsonl", [cut("u1"), cut("u2"), cut("u1")])
    index_path(tmp_path / "a.jsonl").unlink()
    with pytest.raises(EgretError, match="two cuts have the id 'u1'"):
        CutIndex(tmp_path / "a.jsonl")
    with pytest.raises(EgretError, match="two cuts have the id 'u1'"):
        references(tmp_path / "a.jsonl")


def test_a_compressed_manifest_is_read_whole_but_has_no_index(tmp_path: Path):
    path = tmp_path / "a.jsonl.gz"
    write_cuts(path, [cut("u1", "one")])
    assert json.loads(gzip.decompress(path.read_bytes()))["id"] == "u1"
    assert references(path) == {"u1": "one"}
    with pytest.raises(EgretError, match="gunzip it first"):
        CutIndex(path)


def test_references_join_supervisions_in_time_order(tmp_path: Path):
    two = {"id": "u", "supervisions": [{"start": 2.0, "text": "world"}, {"start": 0.5, "text": "hello"}]}
    write_cuts(tmp_path / "a.jsonl", [two, {"id": "silent", "supervisions": []}])
    assert references(tmp_path / "a.jsonl") == {"u": "hello world", "silent": ""}


@pytest.mark.parametrize("line", ['{"no": "id"}', "not json", "[1]", "1"])
def test_a_line_that_is_no_cut_is_an_error_with_its_number(tmp_path: Path, line: str):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": "u1"}}\n{line}\n')
    for read in (lambda: list(read_cuts(path)), lambda: CutIndex(path)):
        with pytest.raises(EgretError, match=r"a.jsonl:2"):
            read()


def test_a_missing_manifest_is_an_error_that_says_what_makes_it(tmp_path: Path):
    for read in (lambda: references(tmp_path / "x.jsonl"), lambda: CutIndex(tmp_path / "x.jsonl")):
        with pytest.raises(EgretError, match="no such manifest; stage 0 makes the cuts"):
            read()


def test_a_failed_write_leaves_the_manifest_as_it_was(manifest: Path):
    before = manifest.read_bytes()
    with pytest.raises(RuntimeError):
        write_cuts(manifest, _broken())
    assert manifest.read_bytes() == before


def _broken():
    yield cut("a")
    raise RuntimeError


def test_reading_ids_and_texts_imports_neither_torch_nor_lhotse_nor_numpy(manifest: Path):
    code = (
        "import sys; from egret.corpus.cuts import CutIndex, references\n"
        f"references({str(manifest)!r}); CutIndex({str(manifest)!r}).at(3)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'lhotse', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestShares:
    @pytest.fixture
    def manifest(self, tmp_path):
        write_cuts(tmp_path / "a.jsonl", ({"id": f"u{number}"} for number in range(11)))
        return tmp_path / "a.jsonl"

    @pytest.mark.parametrize("jobs", [1, 2, 3, 11, 50])
    def test_together_they_are_the_manifest_in_its_order(self, manifest, jobs):
        shares = [share_of(manifest, job, jobs) for job in range(1, jobs + 1)]
        assert [cut["id"] for share in shares for cut in share] == [f"u{number}" for number in range(11)]

    @pytest.mark.parametrize("jobs", [2, 3, 50])
    def test_they_differ_by_at_most_one_cut(self, manifest, jobs):
        sizes = [len(share_of(manifest, job, jobs)) for job in range(1, jobs + 1)]
        assert max(sizes) - min(sizes) <= 1

    def test_a_compressed_manifest_has_the_same(self, manifest, tmp_path):
        write_jsonl(tmp_path / "b.jsonl.gz", read_cuts(manifest))
        assert [share_of(tmp_path / "b.jsonl.gz", job, 3) for job in (1, 2, 3)] == [
            share_of(manifest, job, 3) for job in (1, 2, 3)
        ]

    def test_a_last_line_without_its_end_counts(self, manifest):
        manifest.write_text(manifest.read_text().rstrip("\n"))
        assert share_of(manifest, 11, 11) == [{"id": "u10"}]

    def test_the_lines_of_others_are_not_parsed(self, manifest):
        lines = manifest.read_text().splitlines()
        manifest.write_text("\n".join(["not JSON", *lines[1:]]) + "\n")
        assert [cut["id"] for cut in share_of(manifest, 2, 2)] == [f"u{number}" for number in range(5, 11)]

    def test_a_bad_line_is_named_by_its_number_in_the_manifest(self, manifest):
        lines = manifest.read_text().splitlines()
        manifest.write_text("\n".join([*lines[:7], "not JSON", *lines[8:]]) + "\n")
        with pytest.raises(EgretError, match=r"a\.jsonl:8: not valid JSON"):
            share_of(manifest, 2, 2)

    def test_no_manifest(self, tmp_path):
        with pytest.raises(EgretError, match="no such manifest"):
            share_of(tmp_path / "none.jsonl", 1, 2)

    def test_a_damaged_compressed_manifest(self, tmp_path):
        (tmp_path / "a.jsonl.gz").write_bytes(b"not gzip")
        with pytest.raises(EgretError, match="cannot be read"):
            share_of(tmp_path / "a.jsonl.gz", 1, 2)


def test_a_transcript_that_is_no_text_is_named():
    cut = {"id": "u", "supervisions": [{"start": 0, "text": "ONE"}, {"start": 1, "text": 5}]}
    with pytest.raises(EgretError, match="u: the text of its supervision is no text but 5; write it in quotes"):
        text_of(cut)

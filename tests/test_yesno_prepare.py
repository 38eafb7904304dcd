"""The recipe yesno lists its corpus as Lhotse's recipe does, and says what is wrong where it cannot."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import wave
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from egret.corpus.cuts import references

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "egs/yesno/local/prepare.py"
NAMES = sorted("_".join(f"{4 * number:08b}") for number in range(60))


def prepare(folder: Path, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), "--out", "cuts", *map(str, options)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def corpus(folder: Path, names: list[str] = NAMES) -> Path:
    waves = folder / "corpus" / "waves_yesno"
    waves.mkdir(parents=True)
    for name in names:
        with wave.open(str(waves / f"{name}.wav"), "wb") as out:
            out.setparams((1, 2, 8000, 0, "NONE", ""))
            out.writeframes(b"\x01\x02\x03\x04" * 4000)
    return folder / "corpus"


def test_even_places_train_and_odd_places_test(tmp_path: Path):
    done = prepare(tmp_path, "--corpus", corpus(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(references(tmp_path / "cuts/train.jsonl")) == NAMES[0::2]
    assert list(references(tmp_path / "cuts/test.jsonl")) == NAMES[1::2]


def test_the_name_is_the_transcript(tmp_path: Path):
    prepare(tmp_path, "--corpus", corpus(tmp_path))
    assert references(tmp_path / "cuts/test.jsonl")["0_0_0_0_0_1_0_0"] == "NO NO NO NO NO YES NO NO"


def test_the_folder_with_the_recordings_itself_may_be_given(tmp_path: Path):
    assert prepare(tmp_path, "--corpus", corpus(tmp_path) / "waves_yesno").returncode == 0


def test_running_it_again_is_up_to_date_and_a_new_recording_is_noticed(tmp_path: Path):
    place = corpus(tmp_path)
    prepare(tmp_path, "--corpus", place)
    assert "prepare_yesno: up to date (cuts)" in prepare(tmp_path, "--corpus", place).stdout
    shutil.copy(place / "waves_yesno" / f"{NAMES[0]}.wav", place / "waves_yesno" / "1_1_1_1_1_1_1_1.wav")
    again = prepare(tmp_path, "--corpus", place)
    assert "again, because: input part train changed" in again.stdout
    assert "61 recordings where the corpus has 60" in again.stdout


def test_a_name_that_is_no_transcript_is_rejected_and_shifts_nothing(tmp_path: Path):
    place = corpus(tmp_path)
    shutil.copy(place / "waves_yesno" / f"{NAMES[0]}.wav", place / "waves_yesno" / "0_0_x.wav")
    done = prepare(tmp_path, "--corpus", place)
    assert done.returncode == 0, done.stderr
    assert list(references(tmp_path / "cuts/train.jsonl")) == NAMES[0::2]
    (row,) = [json.loads(line) for line in (tmp_path / "cuts/rejected.jsonl").read_text().splitlines()]
    assert (row["id"], row["reason"]) == ("0_0_x", "listing")
    assert "0_0_x.wav is not a transcript of 0 (no) and 1 (yes)" in row["detail"]


@pytest.mark.parametrize(("make", "what"), [(True, "no recordings such as"), (False, "no such folder")])
def test_a_folder_without_the_corpus_is_an_error(make: bool, what: str, tmp_path: Path):
    if make:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "speech.wav").touch()
    done = prepare(tmp_path, "--corpus", "other")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"other: {what}" in done.stderr and "give --corpus DIR" in done.stderr


def test_without_a_corpus_it_is_downloaded_once(tmp_path: Path):
    place = corpus(tmp_path / "server")
    with tarfile.open(tmp_path / "server" / "waves.tar.gz", "w:gz") as out:
        out.add(place / "waves_yesno", "waves_yesno")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "server")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/waves.tar.gz"
        first = prepare(tmp_path, "--corpus", "", "--url", url)
        server.shutdown()
    assert first.returncode == 0, first.stderr
    assert "kept 60" in first.stdout
    assert "up to date" in prepare(tmp_path, "--corpus", "", "--url", url).stdout


def test_a_failed_download_says_both_ways_on(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/not-there.tar.gz"
        done = prepare(tmp_path, "--url", url)
        server.shutdown()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "give --corpus DIR" in done.stderr
    assert f"download {url} by hand to download/waves_yesno.tar.gz" in done.stderr


def test_the_status_never_downloads(tmp_path: Path):
    place = corpus(tmp_path)
    prepare(tmp_path, "--corpus", place)
    Path(place).rename(tmp_path / "elsewhere")
    done = prepare(tmp_path, "--url", "http://127.0.0.1:9/x", EGRET_STATUS=str(tmp_path / "status"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "status").read_text())["state"] == "stale"


def test_the_corpus_need_not_be_named_again(tmp_path: Path):
    place = corpus(tmp_path)
    prepare(tmp_path, "--corpus", place)
    done = prepare(tmp_path, "--url", "http://127.0.0.1:9/x")
    assert done.returncode == 0 and "up to date" in done.stdout


@pytest.mark.corpus
def test_the_real_corpus_is_split_as_lhotse_splits_it(real_corpus, tmp_path: Path):
    pytest.importorskip("lhotse")
    from lhotse.recipes.yesno import prepare_yesno

    done = prepare(tmp_path, "--corpus", real_corpus("yesno"))
    assert done.returncode == 0, done.stderr
    theirs = prepare_yesno(real_corpus("yesno") / "waves_yesno")
    for part in ("train", "test"):
        expected = {each.recording_id: each.text for each in theirs[part]["supervisions"]}
        assert references(tmp_path / f"cuts/{part}.jsonl") == expected

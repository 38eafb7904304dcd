"""The recipe librispeech reads any of its parts, divides by chapters what is dev and test, and loses nothing."""

import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from egret.base.errors import EgretError
from egret.corpus.cuts import read_cuts, references
from program import program

ROOT = Path(__file__).resolve().parents[1]
PREPARE = "egs/librispeech/local/prepare.py"
# Utterances in each chapter of each speaker.
PARTS = {
    "train-clean-100": {"19": {"198": 4, "227": 2}, "26": {"495": 3}},
    "dev-clean": {"84": {"121123": 3, "121550": 5}, "174": {"50561": 1, "84280": 2, "168635": 3}},
    "test-clean": {"61": {"70968": 3}},
}
USUAL = ("--train-parts", "train-clean-100", "--dev-parts", "dev-clean", "--test-parts", "test-clean")
ONE_FOR_BOTH = (*USUAL[:-1], "dev-clean")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of noise in the published layout."""
    folder = tmp_path / "LibriSpeech"
    seed = 0
    for part, speakers in PARTS.items():
        for speaker, chapters in speakers.items():
            for chapter, count in chapters.items():
                place = folder / part / speaker / chapter
                place.mkdir(parents=True)
                names = [f"{speaker}-{chapter}-{number:04d}" for number in range(count)]
                for name in names:
                    seed += 1
                    sound = np.random.RandomState(seed).randn(6000) * 0.1
                    soundfile.write(place / f"{name}.flac", sound, 16000, subtype="PCM_16")
                lines = "".join(f"{name} 'TIS {name.rpartition('-')[2]} O'CLOCK\n" for name in names)
                (place / f"{speaker}-{chapter}.trans.txt").write_text(lines)
    (folder / "SPEAKERS.TXT").write_text(";ID|SEX| SUBSET |MINUTES| NAME\n")
    return folder


def prepare(corpus: Path, *options: object, code: int = 0) -> str:
    """What stage 0 says; the cuts are in `cuts` beside the corpus."""
    ended, said = program(PREPARE, "--corpus", corpus, "--out", corpus.parent / "cuts", *(options or USUAL))
    assert ended == code, said
    return said


def texts(corpus: Path, part: str) -> dict[str, str]:
    return references(corpus.parent / "cuts" / f"{part}.jsonl")


def chapters(corpus: Path, part: str) -> set[str]:
    return {name.rpartition("-")[0] for name in texts(corpus, part)}


def rejected(corpus: Path) -> list[tuple[str, str]]:
    rows = map(json.loads, (corpus.parent / "cuts/rejected.jsonl").read_text().splitlines())
    return [(row["id"], row["reason"]) for row in rows]


def transcripts(corpus: Path, part: str, speaker: str, chapter: str) -> Path:
    return corpus / part / speaker / chapter / f"{speaker}-{chapter}.trans.txt"


# What is read


def test_words_speaker_and_recording_come_from_the_chapter(corpus: Path):
    prepare(corpus)
    cut = next(read_cuts(corpus.parent / "cuts/test-clean.jsonl"))
    supervision = cut["supervisions"][0]
    found = (cut["id"], supervision["text"], supervision["speaker"], cut["recording"]["sources"][0]["source"])
    path = corpus / "test-clean/61/70968/61-70968-0000.flac"
    assert found == ("61-70968-0000", "'TIS 0000 O'CLOCK", "61", str(path))


def test_speakers_and_chapters_come_in_the_order_of_their_numbers(corpus: Path):
    prepare(corpus)
    order = list(dict.fromkeys(name.rpartition("-")[0] for name in texts(corpus, "dev-clean")))
    assert order == ["84-121123", "84-121550", "174-50561", "174-84280", "174-168635"]


def test_training_parts_become_one(corpus: Path):
    prepare(corpus, "--train-parts", "train-clean-100", "test-clean", *ONE_FOR_BOTH[2:])
    assert len(texts(corpus, "train")) == 9 + 3


def test_the_folder_that_holds_the_corpus_may_be_given(corpus: Path):
    assert "kept 26" in prepare(corpus, *USUAL, "--corpus", corpus.parent)


def test_a_part_that_is_not_asked_for_need_not_be_there(corpus: Path):
    shutil.rmtree(corpus / "test-clean")
    assert "kept 23" in prepare(corpus, *ONE_FOR_BOTH)


def test_hidden_files_and_folders_are_passed_over(corpus: Path):
    (corpus / "dev-clean/.DS_Store").write_text("")
    (corpus / "dev-clean/84/.cache").mkdir()
    assert "rejected 0" in prepare(corpus)


# Dev and test from one part


def test_dev_and_test_of_one_part_share_no_chapter_and_lose_none(corpus: Path):
    prepare(corpus, *ONE_FOR_BOTH)
    dev, test = chapters(corpus, "dev"), chapters(corpus, "test")
    assert not dev & test and len(dev | test) == 5


def test_chapters_are_balanced_within_each_speaker(corpus: Path):
    prepare(corpus, *ONE_FOR_BOTH)
    halves = chapters(corpus, "dev"), chapters(corpus, "test")
    of_speakers = [
        sorted(sum(name.startswith(f"{speaker}-") for name in half) for half in halves) for speaker in (84, 174)
    ]
    assert of_speakers == [[1, 1], [1, 2]]


def test_the_halves_have_about_the_same_number_of_utterances(corpus: Path):
    prepare(corpus, *ONE_FOR_BOTH)
    assert abs(len(texts(corpus, "dev")) - len(texts(corpus, "test"))) <= 2


def test_the_division_is_said(corpus: Path):
    said = prepare(corpus, *ONE_FOR_BOTH)
    assert "dev-clean: is dev and test; about half of each speaker's chapters become dev" in said


def test_other_dev_parts_keep_their_names_beside_a_divided_one(corpus: Path):
    prepare(corpus, *USUAL[:2], "--dev-parts", "dev-clean", "test-clean", "--test-parts", "dev-clean")
    assert {path.stem for path in (corpus.parent / "cuts").glob("*.jsonl")} == {
        "train", "dev", "test", "test-clean", "rejected"
    }  # fmt: skip


def test_one_chapter_cannot_be_divided(corpus: Path):
    said = prepare(corpus, *USUAL[:2], "--dev-parts", "test-clean", "--test-parts", "test-clean", code=1)
    assert "a part of a single chapter cannot be divided into dev and test; name two parts" in said


# What does not fit together


def test_a_transcript_without_its_recording_is_rejected(corpus: Path):
    (corpus / "train-clean-100/19/198/19-198-0001.flac").unlink()
    prepare(corpus)
    assert rejected(corpus) == [("19-198-0001", "missing")]


def test_a_recording_without_a_transcript_is_rejected(corpus: Path):
    path = transcripts(corpus, "train-clean-100", "19", "198")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    prepare(corpus)
    assert rejected(corpus) == [("19-198-0000", "no transcript")]


def test_a_chapter_without_transcripts_is_named(corpus: Path):
    transcripts(corpus, "train-clean-100", "19", "198").unlink()
    said = prepare(corpus, code=1)
    assert "4 of 26 utterances rejected" in said and "19-198.trans.txt: no such file" in said


def test_a_truncated_recording_is_rejected(corpus: Path):
    path = corpus / "train-clean-100/19/198/19-198-0001.flac"
    path.write_bytes(path.read_bytes()[:4000])
    prepare(corpus)
    assert [name for name, reason in rejected(corpus) if reason in ("truncated", "unreadable")] == ["19-198-0001"]


def test_a_line_of_another_chapter_is_rejected(corpus: Path):
    with open(transcripts(corpus, "train-clean-100", "19", "198"), "a") as out:
        out.write("19-227-0000 HELLO\n")
    prepare(corpus)
    assert rejected(corpus) == [("19-227-0000", "listing")]


def test_an_utterance_with_two_lines_is_rejected(corpus: Path):
    with open(transcripts(corpus, "train-clean-100", "19", "198"), "a") as out:
        out.write("19-198-0000 SOMETHING ELSE\n")
    prepare(corpus, *USUAL, "--max-reject-percent", 10)
    assert rejected(corpus) == 2 * [("19-198-0000", "listed twice")]


def test_a_transcript_without_words_is_rejected(corpus: Path):
    path = transcripts(corpus, "train-clean-100", "19", "198")
    path.write_text(path.read_text().replace("19-198-0000 'TIS 0000 O'CLOCK", "19-198-0000"))
    prepare(corpus)
    assert rejected(corpus) == [("19-198-0000", "empty text")]


# Wrong usage


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train-parts", "train-clean100"), "LibriSpeech has no such part; did you mean 'train-clean-100'?"),
        (("--test-parts",), "--test-parts: expected at least one value"),
        (("--dev-parts", "dev-clean", "dev-clean"), "--dev-parts: names a part twice"),
        (("--train-parts", "dev-clean"), "dev-clean: is trained on and cannot be dev or test as well"),
    ],
)
def test_wrong_parts_are_wrong_usage(options: tuple[str, ...], message: str, corpus: Path):
    place = USUAL.index(options[0])
    others = [*USUAL[:place], *USUAL[place + 2 :]]
    assert message in prepare(corpus, *others, *options, code=2)


def test_a_missing_part_is_named_with_those_that_are_there(corpus: Path):
    said = prepare(corpus, *USUAL[:-1], "test-other", code=1)
    assert "lacks test-other (it holds dev-clean, test-clean, train-clean-100); give --corpus DIR" in said


@pytest.mark.parametrize(
    ("place", "what"), [("nowhere", "no such folder"), ("empty", "(empty)"), ("an4", "(it holds etc)")]
)
def test_a_folder_of_something_else_is_refused(place: str, what: str, corpus: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "an4/etc").mkdir(parents=True)
    assert what in prepare(corpus, *USUAL, "--corpus", tmp_path / place, code=1)


# The download


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("prepare_librispeech", ROOT / PREPARE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(corpus: Path, recipe: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """A server of an archive for each part, whose MD5 is taken for the published one; its address."""
    (corpus.parent / "web").mkdir()
    for part in PARTS:
        archive = corpus.parent / "web" / f"{part}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(corpus / part, f"LibriSpeech/{part}")
            tar.add(corpus / "SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT")
        monkeypatch.setitem(recipe.MD5, part, hashlib.md5(archive.read_bytes()).hexdigest())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(corpus.parent / "web")))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()


def options_of(recipe: ModuleType, folder: Path, url: str):
    return recipe.Options(
        train_parts=["train-clean-100"], dev_parts=["dev-clean"], test_parts=["test-clean"],
        download=folder / "download", url=url, out=folder / "cuts",
    )  # fmt: skip


def test_all_parts_are_downloaded_and_found(recipe: ModuleType, server: str, tmp_path: Path):
    options = options_of(recipe, tmp_path, server)
    recipe.obtain(options)
    assert {part: len(listed) for part, listed in recipe.list_parts(options).items()} == {
        "train": 9, "dev-clean": 14, "test-clean": 3
    }  # fmt: skip


def test_what_is_there_is_not_downloaded_again(recipe: ModuleType, server: str, tmp_path: Path):
    recipe.obtain(options_of(recipe, tmp_path, server))
    for archive in (tmp_path / "download").glob("*.tar.gz"):
        archive.unlink()
    recipe.obtain(options_of(recipe, tmp_path, "http://127.0.0.1:9"))


def test_a_download_with_another_md5_is_refused(recipe: ModuleType, server: str, tmp_path: Path):
    recipe.MD5["dev-clean"] = 32 * "0"
    with pytest.raises(EgretError, match="dev-clean.tar.gz: the content is not what it should be .md5 "):
        recipe.obtain(options_of(recipe, tmp_path, server))
    assert not (tmp_path / "download/dev-clean.tar.gz").exists()


def test_a_download_that_broke_off_goes_on(recipe: ModuleType, server: str, tmp_path: Path):
    whole = (tmp_path / "web/dev-clean.tar.gz").read_bytes()
    (tmp_path / "download").mkdir()
    (tmp_path / "download/dev-clean.tar.gz.part").write_bytes(whole[:5000])
    recipe.obtain(options_of(recipe, tmp_path, server))
    assert (tmp_path / "download/dev-clean.tar.gz").read_bytes() == whole


def test_no_network_says_how_to_go_on(recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe, "fetch", partial(recipe.fetch, attempts=1, pause=0))
    with pytest.raises(EgretError, match="or give --corpus DIR, a folder that holds LibriSpeech/"):
        recipe.obtain(options_of(recipe, tmp_path, "http://127.0.0.1:9"))


# The miniature


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch):
    """The miniature as it is planned, with texts by utterance for each part."""
    monkeypatch.syspath_prepend(str(ROOT / "local"))
    from mini.corpus import Shape
    from mini.librispeech import plan

    corpus = plan(Shape(speakers=3, test_speakers=2, utterances=5))
    parts: dict[str, dict[str, str]] = {}
    for name, content in corpus.texts.items():
        if name.endswith(".trans.txt"):
            rows = dict(line.split(" ", 1) for line in content.splitlines())
            parts.setdefault(name.split("/")[1], {}).update(rows)
    return corpus, parts


def test_every_recording_of_the_miniature_has_a_transcript_in_its_folder(miniature):
    corpus, parts = miniature
    named = {
        f"LibriSpeech/{part}/{name.split('-')[0]}/{name.split('-')[1]}/{name}.flac"
        for part in parts
        for name in parts[part]
    }
    assert {clip.path for group in corpus.speakers for clip in group} == named


def test_parts_of_the_miniature_share_neither_speaker_nor_sentence(miniature):
    _, parts = miniature
    for what in (lambda row: row[0].split("-")[0], lambda row: row[1]):
        train, dev, test = ({what(row) for row in parts[part].items()} for part in PARTS)
        assert not (train & dev or train & test or dev & test)


def test_texts_of_the_miniature_are_as_the_real_ones(miniature):
    _, parts = miniature
    text = " ".join(text for part in parts.values() for text in part.values())
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def test_flac_keeps_every_sample(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "local"))
    from mini.sound import flac_bytes

    samples = np.random.RandomState(1).randint(-32768, 32768, 3000).astype(np.int16)
    read, rate = soundfile.read(io.BytesIO(flac_bytes(samples, 16000)), dtype="int16")
    assert rate == 16000 and (read == samples).all()


def test_a_miniature_passes_stage_0(tmp_path: Path):
    pytest.importorskip("espeakng_loader")
    command = [
        sys.executable,
        str(ROOT / "local/mini_corpus.py"),
        "--layout",
        "librispeech",
        "--out",
        str(tmp_path / "mini"),
    ]
    size = ["--speakers", "1", "--test-speakers", "1", "--utterances", "2"]
    subprocess.run([*command, *size], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    code, said = program(PREPARE, "--corpus", tmp_path / "mini", "--out", tmp_path / "cuts", *USUAL)
    assert code == 0 and "utterances 6, kept 6, rejected 0" in said


# The real one


@pytest.mark.corpus
def test_the_excerpt_runs_as_it_is(real_corpus, tmp_path: Path):
    code, said = program(PREPARE, "--corpus", real_corpus("LibriSpeech"), "--out", tmp_path / "cuts", *ONE_FOR_BOTH)
    assert code == 0 and "utterances 636, kept 636, rejected 0, hours 1.7092" in said

"""The recipe an4 joins lists, transcripts and recordings, divides off a dev part, and loses nothing silently."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from egret.corpus.cuts import read_cuts, references
from program import program
from small_an4 import DICTIONARY, make_corpus, recording, replace_text

ROOT = Path(__file__).resolve().parents[1]
PREPARE = "egs/an4/local/prepare.py"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "an4")


def prepare(corpus: Path, *options: object, code: int = 0) -> str:
    """What stage 0 says; the cuts are in `cuts` beside the corpus."""
    ended, said = program(PREPARE, "--corpus", corpus, "--out", corpus.parent / "cuts", *options)
    assert ended == code, said
    return said


def texts(corpus: Path, part: str) -> dict[str, str]:
    return references(corpus.parent / "cuts" / f"{part}.jsonl")


def speakers(corpus: Path, part: str) -> set[str]:
    return {cut["supervisions"][0]["speaker"] for cut in read_cuts(corpus.parent / "cuts" / f"{part}.jsonl")}


def rejected(corpus: Path) -> list[dict]:
    return [json.loads(line) for line in (corpus.parent / "cuts/rejected.jsonl").read_text().splitlines()]


def etc(corpus: Path, name: str) -> Path:
    return corpus / "etc" / name


# What is read


def test_words_stand_with_or_without_marks_of_silence(corpus: Path):
    prepare(corpus)
    assert "<s>" in etc(corpus, "an4_train.transcription").read_text()
    assert "<s>" not in etc(corpus, "an4_test.transcription").read_text()
    assert {**texts(corpus, "train"), **texts(corpus, "dev")}["an3-mghi-b"] == "ENTER YES"
    assert texts(corpus, "test")["an3-fxyz-b"] == "ENTER YES"


def test_cuts_come_in_the_order_of_the_list_whatever_that_of_the_transcripts(corpus: Path):
    path = etc(corpus, "an4_test.transcription")
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    prepare(corpus)
    listed = etc(corpus, "an4_test.fileids").read_text().split()
    assert list(texts(corpus, "test")) == [name.rpartition("/")[2] for name in listed]
    assert texts(corpus, "test")["an1-mxyz-b"] == "NO"


def test_the_folder_is_the_speaker(corpus: Path):
    prepare(corpus)
    assert speakers(corpus, "test") == {"fxyz", "mxyz"}


def test_a_wav_file_does_where_there_is_no_sphere_file(corpus: Path):
    path = recording(corpus, "an0-fxyz-b")
    path.rename(path.with_suffix(".wav"))  # libsndfile goes by the content
    prepare(corpus)
    assert "an0-fxyz-b" in texts(corpus, "test")


def test_the_folder_that_holds_the_corpus_may_be_given(corpus: Path):
    assert "kept 48" in prepare(corpus, "--corpus", corpus.parent)


def test_the_corpus_need_not_be_named_again(corpus: Path):
    prepare(corpus)
    assert "up to date" in prepare(corpus, "--corpus", "", "--url", "http://127.0.0.1:9/x")


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_other_line_ends_and_a_byte_order_mark_change_nothing(ending: str, corpus: Path):
    prepare(corpus)
    expected = [texts(corpus, part) for part in ("train", "dev", "test")]
    for path in (corpus / "etc").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", ending.encode()) + b" \t" + ending.encode())
    prepare(corpus)
    assert [texts(corpus, part) for part in ("train", "dev", "test")] == expected
    assert rejected(corpus) == []


def test_latin_1_is_read_and_said_once(corpus: Path):
    for name in ("an4.dic", "an4_train.transcription", "an4_test.transcription"):
        replace_text(etc(corpus, name), "GO ", "GÔ ")
        etc(corpus, name).write_bytes(etc(corpus, name).read_text().encode("latin-1"))
    said = prepare(corpus)
    assert said.count("an4.dic:3: not UTF-8; the file is read as Latin-1") == 1
    assert texts(corpus, "test")["an2-fxyz-b"] == "GÔ NO"
    assert "GÔ" in (corpus.parent / "cuts/an4.dic").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ['an 0\'s "loud"-fxyz-b', "an0-fxyz-é语", "an0 (2)", "an0-fxyz-b.old"])
def test_names_of_files_may_have_anything_in_them(name: str, corpus: Path):
    path = recording(corpus, "an0-fxyz-b")
    path.rename(path.with_name(f"{name}.sph"))
    for kind in ("fileids", "transcription"):
        replace_text(etc(corpus, f"an4_test.{kind}"), "an0-fxyz-b", name)
    prepare(corpus)
    assert texts(corpus, "test")[name.replace(" ", "_")] == "YES"


def test_the_dictionary_is_left_for_stage_2_and_a_change_of_it_is_noticed(corpus: Path):
    prepare(corpus)
    assert (corpus.parent / "cuts/an4.dic").read_text() == DICTIONARY
    with open(etc(corpus, "an4.dic"), "a") as out:
        out.write("JUNE  JH UW N\n")
    assert "again, because: input file an4.dic changed" in prepare(corpus)
    assert "JUNE" in (corpus.parent / "cuts/an4.dic").read_text()


# What does not fit together


def test_a_recording_without_a_transcript_is_rejected(corpus: Path):
    replace_text(etc(corpus, "an4_test.transcription"), "YES (an0-fxyz-b)\n", "")
    assert "kept 47" in prepare(corpus)
    (row,) = rejected(corpus)
    assert (row["id"], row["part"], row["reason"]) == ("an0-fxyz-b", "test", "no transcript")
    assert row["detail"].endswith("an4_test.transcription is about it")


def test_a_transcript_without_a_recording_is_counted(corpus: Path):
    replace_text(etc(corpus, "an4_test.fileids"), "an4test_clstk/fxyz/an0-fxyz-b\n", "")
    assert "utterances 48, kept 47, rejected 1" in prepare(corpus)
    (row,) = rejected(corpus)
    assert (row["id"], row["part"], row["reason"]) == ("an0-fxyz-b", "test", "no recording")
    assert "transcription:1: is of 'an0-fxyz-b', which an4_test.fileids does not name" in row["detail"]


def test_a_transcript_that_names_no_recording_is_counted(corpus: Path):
    replace_text(etc(corpus, "an4_test.transcription"), "YES (an0-fxyz-b)", "YES an0-fxyz-b")
    prepare(corpus)
    assert [row["id"] for row in rejected(corpus)] == ["an0-fxyz-b", "an4_test.transcription:1"]
    assert "does not end with (utterance)" in rejected(corpus)[1]["detail"]


def test_a_recording_that_is_listed_twice_is_kept_once(corpus: Path):
    with open(etc(corpus, "an4_test.fileids"), "a") as out:
        out.write("an4test_clstk/fxyz/an0-fxyz-b\n")
    prepare(corpus)
    assert texts(corpus, "test")["an0-fxyz-b"] == "YES"
    (row,) = rejected(corpus)
    assert (row["id"], row["reason"]) == ("an0-fxyz-b", "listed twice")
    assert "an4_test.fileids:17: an4test_clstk/fxyz/an0-fxyz-b is on line 1 already" in row["detail"]


def test_of_two_recordings_with_one_name_the_first_is_kept(corpus: Path):
    source = recording(corpus, "an0-fxyz-b")
    shutil.copy(recording(corpus, "an1-mxyz-b"), source.parents[1] / "mxyz" / source.name)
    with open(etc(corpus, "an4_test.fileids"), "a") as out:
        out.write("an4test_clstk/mxyz/an0-fxyz-b\n")
    with open(etc(corpus, "an4_test.transcription"), "a") as out:
        out.write("NO (an0-fxyz-b)\n")
    prepare(corpus)
    assert texts(corpus, "test")["an0-fxyz-b"] == "YES"
    (row,) = rejected(corpus)
    assert (row["reason"], Path(row["audio"]).parent.name) == ("duplicate id", "mxyz")


def test_a_recording_with_two_transcripts_that_differ_is_rejected(corpus: Path):
    with open(etc(corpus, "an4_test.transcription"), "a") as out:
        out.write("NO (an0-fxyz-b)\nNO (an1-fxyz-b)\n")
    prepare(corpus)
    (row,) = rejected(corpus)
    assert row["id"] == "an0-fxyz-b" and "lines 1, 17 of" in row["detail"]
    assert texts(corpus, "test")["an1-fxyz-b"] == "NO"


def test_a_word_that_the_dictionary_lacks_is_named(corpus: Path):
    replace_text(etc(corpus, "an4_train.transcription"), "YES </s> (an0-mghi-b)", "YES JUNE MAY </s> (an0-mghi-b)")
    assert "rejected: unknown word 1" in prepare(corpus)
    (row,) = rejected(corpus)
    assert row["detail"] == "the dictionary an4.dic lacks JUNE, MAY"


def test_a_test_utterance_with_such_a_word_stays_for_it_counts_as_an_error(corpus: Path):
    replace_text(etc(corpus, "an4_test.transcription"), "YES (an0-fxyz-b)", "YES JUNE MAY (an0-fxyz-b)")
    prepare(corpus)
    assert not rejected(corpus)
    assert texts(corpus, "test")["an0-fxyz-b"] == "YES JUNE MAY"


def test_more_than_five_percent_stop_it_with_the_reasons_counted(corpus: Path):
    replace_text(etc(corpus, "an4.dic"), "GO  G OW\n", "")
    recording(corpus, "an0-fxyz-b").unlink()
    said = prepare(corpus, code=1)
    assert "9 of 48 utterances rejected, 18.8 % where 5 % are allowed (unknown word 8, missing 1;" in said


# What is no corpus


@pytest.mark.parametrize("files", [[], ["waves_yesno/1_0.wav"], ["dev-clean/84/x.flac", "BOOKS.TXT"]])
def test_a_corpus_of_another_kind_is_named_with_what_it_holds(files: list[str], tmp_path: Path):
    (tmp_path / "other").mkdir()
    for name in files:
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / name).touch()
    said = prepare(tmp_path / "other", code=1).splitlines()[-1]
    holds = {0: "empty", 1: "it holds waves_yesno", 2: "it holds BOOKS.TXT, dev-clean"}[len(files)]
    assert f"other: no etc/an4_train.fileids in it or in an4/ ({holds}); give --corpus DIR" in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    assert "nowhere: no such folder; give --corpus DIR" in prepare(tmp_path / "nowhere", code=1)


def test_files_that_are_missing_are_named(corpus: Path):
    etc(corpus, "an4.dic").unlink()
    shutil.rmtree(corpus / "wav")
    assert "an4: lacks etc/an4.dic, wav/; unpack the whole" in prepare(corpus, code=1)


def test_an_empty_list_is_named(corpus: Path):
    etc(corpus, "an4_test.fileids").write_text("\n")
    assert "an4_test.fileids: names no recordings" in prepare(corpus, code=1)


# The dev part


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("an4_prepare", ROOT / PREPARE)
    assert spec is not None and spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WOMEN = {f"f{number:03}" for number in range(20)}
MEN = {f"m{number:03}" for number in range(50)}


def test_dev_is_as_many_women_as_men(recipe: ModuleType):
    chosen = recipe.dev_speakers(WOMEN | MEN, 840, 100, seed=1)
    assert Counter(name[0] for name in chosen) == {"f": 4, "m": 4}


def test_the_dev_part_of_few_utterances_is_at_most_a_sixth(recipe: ModuleType):
    assert len(recipe.dev_speakers(WOMEN | MEN, 140, 100, seed=1)) == round(70 / 6)


def test_another_seed_chooses_other_dev_speakers(recipe: ModuleType):
    assert recipe.dev_speakers(WOMEN | MEN, 840, 100, 1) != recipe.dev_speakers(WOMEN | MEN, 840, 100, 2)


def test_dev_speakers_are_the_same_on_every_machine(recipe: ModuleType):
    assert recipe.dev_speakers({"fa", "fb", "fc", "ma", "mb", "mc"}, 60, 20, seed=1) == {"fc"}


def test_other_women_do_not_change_the_men_chosen(recipe: ModuleType):
    others = {f"f{number:03}" for number in range(100, 120)}
    first, second = (recipe.dev_speakers(women | MEN, 840, 100, seed=1) for women in (WOMEN, others))
    assert first & MEN == second & MEN


def test_the_only_woman_stays_in_the_training_part(recipe: ModuleType):
    assert recipe.dev_speakers({"fa", "ma", "mb", "mc", "md", "me"}, 60, 10, seed=1) < {"ma", "mb", "mc", "md", "me"}


def test_no_speaker_is_in_two_parts(corpus: Path):
    prepare(corpus)
    parts = [speakers(corpus, part) for part in ("train", "dev", "test")]
    assert all(parts) and sum(map(len, parts)) == len(set.union(*parts)) == 6


def test_a_bad_utterance_changes_no_dev_speaker(corpus: Path):
    prepare(corpus)
    before = speakers(corpus, "dev")
    replace_text(etc(corpus, "an4_train.transcription"), "(an0-fabc-b)", "(an9-fabc-b)")
    prepare(corpus)
    assert speakers(corpus, "dev") == before and len(rejected(corpus)) == 2


def test_first100_is_the_beginning_of_the_list(tmp_path: Path):
    corpus = make_corpus(tmp_path / "an4", utterances=30)
    prepare(corpus, "--dev", "first100")
    listed = [line.rpartition("/")[2] for line in etc(corpus, "an4_train.fileids").read_text().split()]
    assert list(texts(corpus, "dev")) == listed[:100]
    assert list(texts(corpus, "train")) == listed[100:]


def test_the_recipe_takes_every_choice_that_its_help_names():
    for words in (["--dev", "first100"], ["--dev", "seeded", "--unit", "char", "--model", "tdnn"]):
        command = [ROOT / "egs/an4/run.sh", *words, "--help"]
        assert subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("option", ["--dev-utterances", "--dev-seed"])
def test_first100_takes_no_options_of_the_seeded_part(corpus: Path, option: str):
    assert "go with --dev seeded" in prepare(corpus, "--dev", "first100", option, "7", code=2)


def test_first100_of_fewer_is_refused(corpus: Path):
    assert "the training list has only 32 utterances; use --dev seeded" in prepare(corpus, "--dev", "first100", code=1)


def test_one_speaker_cannot_be_divided(recipe: ModuleType):
    with pytest.raises(recipe.EgretError, match="1 training speaker cannot be divided; use --dev first100"):
        recipe.dev_speakers({"fa"}, 60, 10, seed=1)


# The download


@pytest.fixture
def server(tmp_path: Path):
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz"
        server.shutdown()


def download(folder: Path, url: str) -> tuple[int, str]:
    return program(PREPARE, "--download", folder / "download", "--url", url, "--out", folder / "cuts")


def test_without_a_corpus_it_is_downloaded_once(server: str, tmp_path: Path):
    with tarfile.open(tmp_path / "server/archive.tar.gz", "w:gz") as out:
        out.add(make_corpus(tmp_path / "an4"), "an4")
    code, said = download(tmp_path, server)
    assert code == 0 and "kept 48" in said
    (tmp_path / "server/archive.tar.gz").unlink()
    assert "up to date" in download(tmp_path, server)[1]


def test_a_failed_download_says_both_ways_on(server: str, tmp_path: Path):
    code, said = download(tmp_path, server)
    assert code == 1 and "give --corpus DIR" in said
    assert f"download {server} by hand to {tmp_path}/download/an4_sphere.tar.gz" in said


def test_an_archive_of_something_else_is_named(server: str, tmp_path: Path):
    (tmp_path / "readme").touch()
    with tarfile.open(tmp_path / "server/archive.tar.gz", "w:gz") as out:
        out.add(tmp_path / "readme", "readme")
    code, said = download(tmp_path, server)
    assert code == 1 and "an4_sphere.tar.gz: not the AN4 corpus, there is no etc/an4_train.fileids in it" in said


def test_a_page_in_place_of_the_archive_is_named(server: str, tmp_path: Path):
    (tmp_path / "server/archive.tar.gz").write_text("<html>please log in</html>")
    code, said = download(tmp_path, server)
    assert code == 1 and f"remove {tmp_path}/download/an4_sphere.tar.gz first" in said


# The real corpus


@pytest.mark.corpus
def test_the_real_corpus_has_a_dev_part_of_four_women_and_four_men(real_corpus, tmp_path: Path):
    said = program(PREPARE, "--corpus", real_corpus("an4"), "--out", tmp_path / "cuts")[1]
    assert "utterances 948, kept 948, rejected 0" in said
    counts = [len(references(tmp_path / "cuts" / f"{part}.jsonl")) for part in ("train", "dev", "test")]
    assert counts == [727, 104, 117]
    assert Counter(name[0] for name in speakers(tmp_path / "an4", "dev")) == {"f": 4, "m": 4}


@pytest.mark.corpus
def test_the_first_100_of_the_real_corpus_are_women(real_corpus, tmp_path: Path):
    program(PREPARE, "--corpus", real_corpus("an4"), "--dev", "first100", "--out", tmp_path / "cuts")
    names = speakers(tmp_path / "an4", "dev")
    assert len(names) == 8 and {name[0] for name in names} == {"f"}

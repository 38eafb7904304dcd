"""The recipe aishell unpacks archives, joins recordings and transcript, says what is spoken, and loses nothing."""

import importlib
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from egret.corpus.cuts import read_cuts, references, spoken_of
from program import program

PREPARE = "egs/aishell/local/prepare.py"
DICTIONARY = "egs/aishell/local/dictionary.py"
UNSEEN = "egs/aishell/local/unseen.py"
SPEAKERS = {"train": ("S0002", "S0003"), "dev": ("S0724",), "test": ("S0764",)}
TEXTS = ("银行 的 行长", "今天 很 快乐", "听 音乐", "去 银行 KTV")
LEXICON = """\
SIL sil
<SPOKEN_NOISE> sil
KTV k ei1 t i1 uu ui1
今天 j in1 t ian1
听 t ing1
去 q v4
快乐 k uai4 l e4
很 h en3
的 d e5
行长 h ang2 zh ang3
银行 ii in2 h ang2
音乐 ii in1 vv ve4
"""


def transcript(corpus: Path) -> Path:
    return corpus / "data_aishell/transcript/aishell_transcript_v0.8.txt"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Every speaker says TEXTS; recordings lie in folders, with no lexicon."""
    folder = tmp_path / "aishell"
    lines = []
    for part, speakers in SPEAKERS.items():
        for speaker in speakers:
            place = folder / "data_aishell/wav" / part / speaker
            place.mkdir(parents=True)
            for number, text in enumerate(TEXTS):
                name = f"BAC009{speaker}W{121 + number:04}"
                noise = np.random.RandomState(len(lines)).randn(4000) * 2000
                soundfile.write(place / f"{name}.wav", noise.astype(np.int16), 16000)
                lines.append(f"{name} {text}\n")
    transcript(folder).parent.mkdir()
    transcript(folder).write_text("".join(lines))
    return folder


def pack(corpus: Path) -> Path:
    """The same as it is published: an archive for each speaker in place of the folders; returns their folder."""
    wav = corpus / "data_aishell/wav"
    for part, speakers in SPEAKERS.items():
        for speaker in speakers:
            with tarfile.open(wav / f"{speaker}.tar.gz", "w:gz") as out:
                out.add(wav / part / speaker, f"{part}/{speaker}")
        shutil.rmtree(wav / part)
    return wav


def add_lexicon(corpus: Path) -> None:
    (corpus / "resource_aishell").mkdir()
    (corpus / "resource_aishell/lexicon.txt").write_text(LEXICON)


def prepare(corpus: Path, *options: object, code: int = 0) -> str:
    """What stage 0 says; cuts and what is unpacked are beside the corpus."""
    top = corpus.parent
    asked = ("--corpus", corpus, "--out", top / "cuts", "--unpacked", top / "wav", "--workers", 2, *options)
    ended, said = program(PREPARE, *asked)
    assert ended == code, said
    return said


def texts(corpus: Path, part: str) -> dict[str, str]:
    return references(corpus.parent / "cuts" / f"{part}.jsonl")


def spoken(corpus: Path, name: str, part: str = "train") -> dict[str, str]:
    return {cut["id"]: spoken_of(cut, name) for cut in read_cuts(corpus.parent / "cuts" / f"{part}.jsonl")}


def rejected(corpus: Path) -> list[dict]:
    return [json.loads(line) for line in (corpus.parent / "cuts/rejected.jsonl").read_text().splitlines()]


def recording(corpus: Path, name: str) -> Path:
    return next((corpus / "data_aishell/wav").rglob(f"{name}.wav"))


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# What is read


def test_parts_are_the_folders_and_every_character_is_a_word(corpus: Path):
    assert "kept 16" in prepare(corpus)
    assert [len(texts(corpus, part)) for part in SPEAKERS] == [8, 4, 4]
    assert texts(corpus, "test")["BAC009S0764W0124"] == "去 银 行 KTV"


def test_the_folder_is_the_speaker(corpus: Path):
    prepare(corpus)
    cuts = read_cuts(corpus.parent / "cuts/train.jsonl")
    assert {cut["supervisions"][0]["speaker"] for cut in cuts} == {"S0002", "S0003"}


@pytest.mark.parametrize("place", ["", "data_aishell", "data_aishell/.."])
def test_the_corpus_or_what_holds_it_may_be_given(corpus: Path, place: str):
    assert "kept 16" in prepare(corpus, "--corpus", corpus / place)


def test_syllables_are_those_of_the_phrase(corpus: Path):
    prepare(corpus)
    syllables = spoken(corpus, "syllables")
    assert syllables["BAC009S0002W0121"] == "yin2 hang2 de5 hang2 zhang3"
    assert syllables["BAC009S0002W0122"].endswith("kuai4 le4") and syllables["BAC009S0002W0123"].endswith("yue4")


def test_a_latin_word_is_a_unit_among_syllables(corpus: Path):
    prepare(corpus)
    assert spoken(corpus, "syllables")["BAC009S0002W0124"] == "qu4 yin2 hang2 <KTV>"


def test_phones_are_those_of_the_corpus_lexicon(corpus: Path):
    add_lexicon(corpus)
    prepare(corpus)
    assert spoken(corpus, "phones")["BAC009S0002W0124"] == "q v4 ii in2 h ang2 k ei1 t i1 uu ui1"


def test_without_a_lexicon_phones_are_initials_and_finals(corpus: Path):
    prepare(corpus)
    assert spoken(corpus, "phones")["BAC009S0002W0124"] == "q v4 ii in2 h ang2 <KTV>"


def test_a_word_that_the_lexicon_lacks_has_the_phones_of_its_longest_parts(corpus: Path):
    add_lexicon(corpus)
    replace_text(transcript(corpus), "听 音乐", "今天听 音乐")
    prepare(corpus)
    assert spoken(corpus, "phones")["BAC009S0002W0123"] == "j in1 t ian1 t ing1 ii in1 vv ve4"


def test_where_the_lexicon_lacks_a_character_there_are_no_phones(corpus: Path):
    add_lexicon(corpus)
    replace_text(transcript(corpus), "听 音乐", "听 雨")
    prepare(corpus)
    assert spoken(corpus, "phones")["BAC009S0002W0123"] == ""
    assert spoken(corpus, "syllables")["BAC009S0002W0123"] == "ting1 yu3"


def test_numbers_and_punctuation_of_a_text_are_read(corpus: Path):
    replace_text(transcript(corpus), "听 音乐", "今天 8.5 折，快乐！")
    prepare(corpus)
    assert texts(corpus, "train")["BAC009S0002W0123"] == "今 天 八 点 五 折 快 乐"
    assert spoken(corpus, "syllables")["BAC009S0002W0123"] == "jin1 tian1 ba1 dian3 wu3 zhe2 kuai4 le4"


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(corpus: Path, change):
    transcript(corpus).write_bytes(change(transcript(corpus).read_text()).encode())
    prepare(corpus)
    assert rejected(corpus) == []


def test_the_lexicon_is_left_for_stage_2_and_a_change_of_it_is_noticed(corpus: Path):
    add_lexicon(corpus)
    prepare(corpus)
    replace_text(corpus / "resource_aishell/lexicon.txt", "q v4", "q v5")
    assert "lexicon.txt changed" in prepare(corpus)
    assert "去 q v5" in (corpus.parent / "cuts/lexicon.txt").read_text()


def test_a_second_run_has_nothing_to_do(corpus: Path):
    pack(corpus)
    prepare(corpus)
    assert "up to date" in prepare(corpus)


# Archives


def test_archives_are_unpacked_beside_and_the_corpus_stays_as_it_is(corpus: Path):
    wav = pack(corpus)
    before = sorted(corpus.rglob("*"))
    assert "kept 16" in prepare(corpus)
    assert sorted(corpus.rglob("*")) == before and sorted(path.name for path in wav.iterdir())[0] == "S0002.tar.gz"
    assert (corpus.parent / "wav/S0002/train/S0002/BAC009S0002W0121.wav").is_file()


def test_archives_that_begin_with_another_folder_do_too(corpus: Path):
    wav = corpus / "data_aishell/wav"
    with tarfile.open(wav / "S0764.tar.gz", "w:gz") as out:
        out.add(wav / "test/S0764", "wav/test/S0764")
    shutil.rmtree(wav / "test")
    prepare(corpus)
    assert len(texts(corpus, "test")) == 4


def test_what_was_unpacked_is_not_unpacked_again(corpus: Path):
    pack(corpus)
    prepare(corpus)
    kept = corpus.parent / "wav/S0002/train/S0002/BAC009S0002W0121.wav"
    os.utime(kept, ns=(1, 1))
    shutil.rmtree(corpus.parent / "wav/S0003")
    said = prepare(corpus)
    assert "unpacking" in said and "S0003.tar.gz into" in said and "S0002.tar.gz into" not in said
    assert kept.stat().st_mtime_ns == 1


def test_an_archive_whose_folder_is_whole_stays_packed(corpus: Path):
    wav = corpus / "data_aishell/wav"
    shutil.copytree(wav, corpus.parent / "whole")
    pack(corpus)
    shutil.copytree(corpus.parent / "whole", wav, dirs_exist_ok=True)
    assert "kept 16" in prepare(corpus)
    assert not (corpus.parent / "wav").exists()


def test_a_folder_that_was_unpacked_in_part_is_taken_from_its_archive(corpus: Path):
    wav = corpus / "data_aishell/wav"
    shutil.copytree(wav / "train/S0002", corpus.parent / "part")
    pack(corpus)
    shutil.copytree(corpus.parent / "part", wav / "train/S0002")
    recording(corpus, "BAC009S0002W0124").unlink()
    assert "kept 16" in prepare(corpus)
    assert rejected(corpus) == []


def test_a_damaged_archive_is_named(corpus: Path):
    wav = pack(corpus)
    content = (wav / "S0003.tar.gz").read_bytes()
    (wav / "S0003.tar.gz").write_bytes(content[: len(content) // 2])
    assert "S0003.tar.gz: damaged" in prepare(corpus, code=1)


# What does not fit together


def test_a_recording_without_a_transcript_is_rejected(corpus: Path):
    replace_text(transcript(corpus), "BAC009S0002W0122 今天 很 快乐\n", "")
    assert "rejected: no transcript 1" in prepare(corpus, "--max-reject-percent", 10)
    (row,) = rejected(corpus)
    assert (row["id"], row["part"], row["reason"]) == ("BAC009S0002W0122", "train", "no transcript")


def test_a_text_without_a_recording_is_counted(corpus: Path):
    recording(corpus, "BAC009S0764W0121").unlink()
    assert "utterances 16, kept 15" in prepare(corpus, "--max-reject-percent", 10)
    (row,) = rejected(corpus)
    assert row["reason"] == "no recording" and "there is no recording BAC009S0764W0121.wav" in row["detail"]


def test_a_recording_in_no_part_is_counted(corpus: Path):
    path = recording(corpus, "BAC009S0764W0121")
    path.rename(path.parents[2] / path.name)
    prepare(corpus, "--max-reject-percent", 10)
    assert [row["reason"] for row in rejected(corpus)] == ["no part"]


def test_a_truncated_recording_is_rejected(corpus: Path):
    path = recording(corpus, "BAC009S0764W0121")
    path.write_bytes(path.read_bytes()[:4000])
    prepare(corpus, "--max-reject-percent", 10)
    assert [row["reason"] for row in rejected(corpus)] == ["truncated"]


def test_two_texts_of_one_utterance_that_differ_are_named(corpus: Path):
    with open(transcript(corpus), "a") as out:
        out.write("BAC009S0002W0122 听 音乐\n")
    assert "txt:17: BAC009S0002W0122 has another text" in prepare(corpus, code=1)


def test_a_transcript_in_another_encoding_is_named(corpus: Path):
    transcript(corpus).write_bytes(transcript(corpus).read_text().encode("gb18030"))
    assert "aishell_transcript_v0.8.txt: not UTF-8" in prepare(corpus, code=1)


# What is no corpus


def test_a_folder_of_something_else_is_named_with_what_it_holds(tmp_path: Path):
    (tmp_path / "other/waves_yesno").mkdir(parents=True)
    said = prepare(tmp_path / "other", code=1).splitlines()[-1]
    assert "other: no data_aishell/transcript/aishell_transcript_v0.8.txt in it (it holds waves_yesno)" in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    assert "nowhere: no such folder; give --corpus DIR" in prepare(tmp_path / "nowhere", code=1)


def test_a_corpus_in_folders_of_the_same_name_is_told_apart(tmp_path: Path):
    (tmp_path / "an4/wav").mkdir(parents=True)
    assert "(it holds wav); give --corpus DIR" in prepare(tmp_path / "an4", code=1)


def test_a_missing_transcript_is_named(corpus: Path):
    transcript(corpus).unlink()
    assert "lacks transcript/aishell_transcript_v0.8.txt; unpack the whole" in prepare(corpus, code=1)


@pytest.mark.corpus
def test_the_real_excerpt_is_read_without_loss(real_corpus, tmp_path: Path):
    ended, said = program(PREPARE, "--corpus", real_corpus("aishell"), "--out", tmp_path / "cuts")
    assert ended == 0 and "utterances 300, kept 300, rejected 0" in said


# The download


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def download(folder: Path, url: str) -> tuple[int, str]:
    own = ("--download", folder / "download", "--unpacked", folder / "wav", "--out", folder / "cuts")
    return program(PREPARE, *own, "--url", url)


def test_without_a_corpus_it_is_downloaded_once(server: str, corpus: Path, tmp_path: Path):
    pack(corpus)
    add_lexicon(corpus)
    for name in ("data_aishell", "resource_aishell"):
        with tarfile.open(tmp_path / "server" / f"{name}.tgz", "w:gz") as out:
            out.add(corpus / name, name)
    code, said = download(tmp_path, server)
    assert code == 0 and "kept 16" in said
    assert (tmp_path / "cuts/lexicon.txt").read_text() == LEXICON
    shutil.rmtree(tmp_path / "server")
    assert "up to date" in download(tmp_path, server)[1]


def test_a_failed_download_says_both_ways_on(server: str, tmp_path: Path):
    code, said = download(tmp_path, server)
    assert code == 1 and "give --corpus DIR" in said
    assert f"download {server}/data_aishell.tgz by hand to {tmp_path}/download/data_aishell.tgz" in said


# Stage 2: words and their pronunciations


def entries(corpus: Path, *options: object) -> list[str]:
    """The lines of the lexicon that stage 2 makes of the prepared corpus."""
    top = corpus.parent
    cuts, out = top / "cuts/train.jsonl", top / "dictionary"
    ended, said = program(DICTIONARY, "--cuts", cuts, "--out", out, *options)
    assert ended == 0, said
    return (out / "lexicon.txt").read_text().splitlines()


def test_words_are_the_characters_and_latin_words_of_training(corpus: Path):
    prepare(corpus)
    assert sorted(map(str.strip, entries(corpus))) == sorted({"KTV", *"".join(TEXTS[:3]).replace(" ", ""), "去"})


def test_a_character_has_all_its_common_readings(corpus: Path):
    prepare(corpus)
    lines = entries(corpus, "--unit", "syllable")
    assert {"行 hang2", "行 xing2", "KTV <KTV>"} <= set(lines)


def test_a_character_has_the_phones_that_it_has_in_words_of_the_lexicon(corpus: Path):
    add_lexicon(corpus)
    prepare(corpus)
    lines = entries(corpus, "--unit", "phone", "--lexicon", corpus.parent / "cuts/lexicon.txt")
    assert [line for line in lines if line.startswith("乐 ")] == ["乐 l e4", "乐 vv ve4"]


@pytest.mark.parametrize("unit", ["char", "syllable", "phone"])
def test_words_of_several_characters_need_no_other_units(corpus: Path, unit: str):
    add_lexicon(corpus)
    prepare(corpus)
    given = ("--unit", unit, "--lexicon", corpus.parent / "cuts/lexicon.txt")
    characters, words = entries(corpus, *given), entries(corpus, *given, "--words", "word")
    assert set(words) > set(characters) and any(line.startswith("银行 ") for line in words)
    units = [{unit for line in lines for unit in line.split()[1:]} for lines in (characters, words)]
    assert units[0] == units[1]


def test_jieba_finds_words_where_there_is_no_lexicon(corpus: Path):
    prepare(corpus)
    assert "银行" in map(str.strip, entries(corpus, "--words", "word", "--segment", "jieba"))


def test_words_of_a_lexicon_that_is_not_there_are_refused(corpus: Path):
    prepare(corpus)
    out = ("--cuts", corpus.parent / "cuts/train.jsonl", "--out", corpus.parent / "dictionary")
    code, said = program(DICTIONARY, *out, "--words", "word")
    assert code == 2 and "use --segment jieba" in said


def test_what_training_has_never_seen_is_counted(corpus: Path):
    replace_text(transcript(corpus), "BAC009S0764W0123 听 音乐", "BAC009S0764W0123 停 雨")
    prepare(corpus)
    cuts = corpus.parent / "cuts"
    program(UNSEEN, "--train-cuts", cuts / "train.jsonl", "--cuts", cuts / "test.jsonl", "--out", corpus.parent / "un")
    report = json.loads((corpus.parent / "un/report.json").read_text())["test"]
    assert report["characters"]["most_frequent"] == {"停": 1, "雨": 1}
    assert report["syllables"]["unseen"] == 2 and report["syllables"]["all"] == 16


# The miniature


@pytest.fixture
def mini(monkeypatch):
    """Modules of local/mini/."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "local"))
    return importlib.import_module("mini.corpus"), importlib.import_module("mini.aishell")


def test_the_miniature_has_other_speakers_and_sentences_in_each_part(mini):
    planned = mini[1].plan(mini[0].Shape(speakers=4, test_speakers=2, utterances=10))
    said: dict[str, set[str]] = {part: set() for part in SPEAKERS}
    part_of = {Path(clip.path).stem: Path(clip.path).parts[2] for clips in planned.speakers for clip in clips}
    for line in planned.texts["data_aishell/transcript/aishell_transcript_v0.8.txt"].splitlines():
        name, _, text = line.partition(" ")
        said[part_of[name]].add(text)
    assert not said["train"] & said["dev"] and not (said["train"] | said["dev"]) & said["test"]
    assert [len(clips) for clips in planned.speakers] == [10] * 8 and len(planned.archives) == 8


def test_the_miniature_has_recordings_without_transcript_as_the_corpus_has(mini):
    planned = mini[1].plan(mini[0].Shape(speakers=2, test_speakers=1, utterances=10))
    lines = planned.texts["data_aishell/transcript/aishell_transcript_v0.8.txt"].splitlines()
    assert len(lines) == 40 - mini[1].UNTRANSCRIBED


def test_the_lexicon_of_the_miniature_has_every_word(mini):
    planned = mini[1].plan(mini[0].Shape(speakers=10, test_speakers=2, utterances=20))
    known = {line.split()[0] for line in planned.texts["resource_aishell/lexicon.txt"].splitlines()}
    lines = planned.texts["data_aishell/transcript/aishell_transcript_v0.8.txt"].splitlines()
    assert {word for line in lines for word in line.split()[1:]} <= known


def test_a_packed_folder_has_the_same_bytes_every_time(mini, tmp_path: Path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name / "train/S1").mkdir(parents=True)
        for number in (2, 1):
            (tmp_path / name / f"train/S1/{number}.wav").write_bytes(b"sound")
        mini[0]._pack(tmp_path / name / "S1.tar.gz", tmp_path / name / "train/S1")
        made.append((tmp_path / name / "S1.tar.gz").read_bytes())
    assert made[0] == made[1] and not (tmp_path / "a/train").exists()
    with tarfile.open(tmp_path / "a/S1.tar.gz") as archive:
        assert archive.getnames() == ["train/S1/1.wav", "train/S1/2.wav"]

"""Everything that goes wrong with data, on a corpus of noise in AN4's layout: what is said and what is kept."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from program import program
from small_an4 import RATE, make_corpus, noise, recording, replace_text, sphere

VICTIM = "an2-fdef-b"  # of the training list; it says GO NO
LIST, TEXT, WORDS = "etc/an4_train.fileids", "etc/an4_train.transcription", "etc/an4.dic"
PARTS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("clean") / "corpus")


@pytest.fixture
def corpus(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of 48 recordings to be damaged; the folder it lies in is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(clean, tmp_path / "corpus")
    return Path("corpus")


def prepare(*options: object, code: int = 0) -> str:
    """Run stage 0, check its exit code, and return what it said without the time of day."""
    ended, said = program("egs/an4/local/prepare.py", "--corpus", "corpus", "--out", "cuts", *options)
    assert ended == code, said
    return said


def error_of(said: str) -> str:
    """The message of a failed step, which is its last line."""
    last = said.rstrip("\n").split("\n")[-1]
    assert last.startswith("prepare_an4: error: "), said
    return last


def cuts() -> dict[str, dict]:
    """The cuts of all parts by id."""
    rows = [json.loads(line) for part in PARTS for line in Path(f"cuts/{part}.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def rejected() -> list[dict]:
    return [json.loads(line) for line in Path("cuts/rejected.jsonl").read_text().splitlines()]


def listed(corpus: Path) -> set[str]:
    """The ids of the corpus as it was made."""
    lines = [line for part in ("train", "test") for line in (corpus / f"etc/an4_{part}.fileids").read_text().split()]
    return {line.rsplit("/", 1)[1] for line in lines}


def text_of(cut: dict) -> str:
    return cut["supervisions"][0]["text"]


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def with_nan(path: Path) -> None:
    """Only floating point can say it: as WAV, which AN4 was published in too."""
    path.unlink()
    samples = noise() / np.float32(32768)
    samples[4000] = np.nan
    soundfile.write(path.with_suffix(".wav"), samples, RATE, subtype="FLOAT")


def swapped(samples: np.ndarray) -> bytes:
    """Bytes in the wrong order: as long as it should be, and noise to hear."""
    right = sphere(samples, more=f"sample_checksum -i {int(samples.sum(dtype=np.int64)) % 65536}\n")
    return right[:1024] + samples.byteswap().tobytes()


RECORDINGS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: path.unlink(), "missing", "no such file"),
    "empty": (lambda path: write(path, b""), "empty", "a file of 0 bytes"),
    "no samples": (lambda path: write(path, sphere(noise(0))), "empty", "no samples"),
    "truncated": (lambda path: write(path, sphere(noise())[:-999]), "truncated", "has 24601 of 25600 bytes of samples"),
    "truncated header": (lambda path: write(path, sphere(noise())[:120]), "damaged", "header lacks a number; it needs"),
    "more than announced": (
        lambda path: write(path, sphere(noise(), announced=100)), "damaged", "25600 bytes of samples where its header"),
    "bytes swapped": (lambda path: write(path, swapped(noise())), "damaged", "where its header says"),
    "wrong rate": (
        lambda path: write(path, sphere(noise(), rate=8000)), "sampling rate", "8000 Hz where 16000 Hz is expected"),
    "stereo": (lambda path: write(path, sphere(noise(channels=2))), "channels", "2 channels and the listing does not"),
    "all zeros": (lambda path: write(path, sphere(noise() * 0)), "all zeros", "a damaged or empty recording"),
    "constant": (lambda path: write(path, sphere(noise() * 0 + 7)), "constant", "a damaged or empty recording"),
    "NaN": (with_nan, "NaN or Inf", "a damaged or empty recording"),
    "not audio": (lambda path: write(path, b"<html>404</html>" * 99), "unreadable", "Format not recognised"),
    "too short": (lambda path: write(path, sphere(noise(0.05))), "too short", "0.050 s, less than --min-duration 0.1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECORDINGS)
def test_a_bad_recording_is_left_out_and_told_of_until_it_is_mended(kind: str, corpus: Path) -> None:
    damage, reason, detail = RECORDINGS[kind]
    path = recording(corpus, VICTIM)
    good = path.read_bytes()
    damage(path)
    said = prepare()
    [row] = rejected()
    assert (row["id"], row["reason"], Path(row["audio"]).stem) == (VICTIM, reason, VICTIM) and detail in row["detail"]
    assert cuts().keys() == listed(corpus) - {VICTIM}
    assert f"rejected: {reason} 1; see cuts/rejected.jsonl" in said

    path.write_bytes(good)
    path.with_suffix(".wav").unlink(missing_ok=True)
    assert "again, because: " in prepare()
    assert cuts().keys() == listed(corpus) and rejected() == []


def twice_in_the_list(corpus: Path) -> None:
    replace_text(corpus / LIST, f"{VICTIM}\n", f"{VICTIM}\nan4_clstk/fdef/{VICTIM}\n")


def other_recording_of_that_name(corpus: Path) -> None:
    (corpus / "wav/an4_clstk/mghi" / f"{VICTIM}.sph").write_bytes(sphere(noise(seed=99)))
    with open(corpus / LIST, "a") as out:
        out.write(f"an4_clstk/mghi/{VICTIM}\n")


def extra_transcript(corpus: Path) -> None:
    with open(corpus / TEXT, "a") as out:
        out.write("<s> YES </s> (nobody)\n")


# What is done to the lists, the reason, what the detail says, and whether the victim is kept nevertheless.
LISTS: dict[str, tuple[Callable[[Path], object], str, str, bool]] = {
    "unknown word": (lambda corpus: replace_text(corpus / TEXT, f"GO NO </s> ({VICTIM})", f"GO HOME </s> ({VICTIM})"),
                     "unknown word", "the dictionary an4.dic lacks HOME", False),
    "one id twice": (other_recording_of_that_name, "duplicate id", f"mghi/{VICTIM}.sph have the same id", True),
    "one file twice": (twice_in_the_list, "listed twice", f"{VICTIM} is on line 11 already", True),
    "no transcript": (lambda corpus: replace_text(corpus / TEXT, f"<s> GO NO </s> ({VICTIM})\n", ""),
                      "no transcript", "is about it", False),
    "no words": (lambda corpus: replace_text(corpus / TEXT, f"GO NO </s> ({VICTIM})", f"</s> ({VICTIM})"),
                 "empty text", "no words", False),
    "a transcript too many": (extra_transcript, "no recording", "is of 'nobody', which an4_train.fileids", True),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
def test_a_bad_line_of_a_list_is_left_out_and_told_of_until_it_is_mended(kind: str, corpus: Path) -> None:
    damage, reason, detail, kept = LISTS[kind]
    good = {name: (corpus / name).read_bytes() for name in (LIST, TEXT)}
    everybody = listed(corpus)
    damage(corpus)
    said = prepare()
    [row] = rejected()
    assert row["reason"] == reason and detail in row["detail"]
    assert cuts().keys() == (everybody if kept else everybody - {VICTIM})
    assert f"rejected: {reason} 1; see cuts/rejected.jsonl" in said

    for name, content in good.items():
        (corpus / name).write_bytes(content)
    prepare()
    assert cuts().keys() == everybody and rejected() == []


def test_of_two_recordings_with_one_id_the_first_is_kept(corpus: Path) -> None:
    other_recording_of_that_name(corpus)
    prepare()
    assert "/fdef/" in cuts()[VICTIM]["recording"]["sources"][0]["source"] and text_of(cuts()[VICTIM]) == "GO NO"


def test_more_than_five_percent_rejected_stops_with_the_reasons_counted(corpus: Path) -> None:
    recording(corpus, VICTIM).unlink()
    recording(corpus, "an3-fdef-b").unlink()
    prepare()  # 2 of 48: 4.2 %
    assert len(rejected()) == 2
    write(recording(corpus, "an1-fdef-b"), b"")
    message = error_of(prepare(code=1))
    assert "cuts/rejected.jsonl: 3 of 48 utterances rejected, 6.2 % where 5 % are allowed" in message
    assert "(missing 2, empty 1; " in message
    assert "first: corpus/wav/an4_clstk/fdef/an1-fdef-b.sph: empty, a file of 0 bytes" in message
    assert "mend the corpus or raise --max-reject-percent" in message
    assert [row["reason"] for row in rejected()] == ["empty", "missing", "missing"]
    prepare("--max-reject-percent", 10)
    assert len(cuts()) == 45


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "corpus: no such folder; give --corpus DIR"),
        (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "(empty); give --corpus DIR, the folder an4/"),
        (lambda folder: shutil.rmtree(folder / "etc"), "no etc/an4_train.fileids in it"),
        (lambda folder: shutil.rmtree(folder / "wav"), "corpus: lacks wav/; unpack the whole of"),
        (lambda folder: (folder / TEXT).unlink(), f"corpus: lacks {TEXT}; unpack"),
        (lambda folder: (folder / LIST).write_text("\n"), f"{LIST}: names no recordings; unpack the corpus again"),
    ],
    ids=["no folder", "empty folder", "another corpus", "no recordings", "no transcripts", "empty list"],
)
def test_a_corpus_that_is_not_one_is_refused_and_the_cuts_of_before_are_kept(
    make: Callable[[Path], object], message: str, corpus: Path
) -> None:
    prepare()
    before = Path("cuts/train.jsonl").read_bytes()
    make(corpus)
    assert message in error_of(prepare(code=1))
    assert Path("cuts/train.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "it's", 'say "yes"', "ça-한국", "(yes)", "a;b&c$(d)", "100%"])
def test_names_with_spaces_quotes_and_other_letters_reach_the_features(name: str, corpus: Path) -> None:
    path = recording(corpus, VICTIM)
    path.rename(path.with_name(f"{name}.sph"))
    replace_text(corpus / LIST, VICTIM, name)
    replace_text(corpus / TEXT, f"({VICTIM})", f"({name})")
    path.parent.rename(path.parent.with_name("f é'x"))
    replace_text(corpus / LIST, "/fdef/", "/f é'x/")
    prepare()
    cut = cuts()["_".join(name.split())]
    assert rejected() == [] and text_of(cut) == "GO NO" and cut["supervisions"][0]["speaker"] == "f é'x"
    code, said = program("steps/extract_features.py", "--features.extractor", "lhotse", "--out", "fbank",
                         "--cuts", *(f"cuts/{part}.jsonl" for part in PARTS))  # fmt: skip
    assert code == 0, said
    assert "utterances 48" in said


def test_a_file_name_that_is_not_utf8_is_left_out_and_told_of(corpus: Path) -> None:
    path = recording(corpus, VICTIM)
    path.rename(os.fsdecode(os.fsencode(path).replace(b"an2", b"an\xe9")))
    replace_text(corpus / LIST, VICTIM, VICTIM.replace("an2", "ané"))
    replace_text(corpus / TEXT, VICTIM, VICTIM.replace("an2", "ané"))
    prepare()
    assert [row["reason"] for row in rejected()] == ["missing"] and len(cuts()) == 47


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n",
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("\n", " \t\n").encode(),
    ],
    ids=["CRLF", "byte-order mark", "both", "no last line end", "spaces at line ends"],
)
def test_line_ends_and_marks_of_other_systems_change_nothing(encode: Callable[[str], bytes], corpus: Path) -> None:
    prepare()
    before = {path.name: path.read_bytes() for path in Path("cuts").glob("*.jsonl")}
    for path in (corpus / "etc").iterdir():
        path.write_bytes(encode(path.read_text()))
    prepare("--force", "true")
    assert {path.name: path.read_bytes() for path in Path("cuts").glob("*.jsonl")} == before
    code, said = program("steps/prepare_lang.py", "--lexicon", "cuts/an4.dic", "--cuts", "cuts/train.jsonl",
                         "--out", "lang")  # fmt: skip
    assert code == 0 and "words 4, pronunciations 5" in said


def test_latin1_bytes_are_read_as_latin1_with_a_warning(corpus: Path) -> None:
    replace_text(corpus / TEXT, f"GO NO </s> ({VICTIM})", f"CAFÉ </s> ({VICTIM})")
    replace_text(corpus / WORDS, "ENTER  ", "CAFÉ  K AE F EY\nENTER  ")
    for name in (TEXT, WORDS):
        (corpus / name).write_bytes((corpus / name).read_text().encode("latin-1"))
    said = prepare()
    assert f"corpus/{TEXT}:11: not UTF-8; the file is read as Latin-1" in said
    assert text_of(cuts()[VICTIM]) == "CAFÉ" and rejected() == []
    assert "CAFÉ  K AE F EY\n" in Path("cuts/an4.dic").read_text()


@pytest.mark.parametrize(("words", "fits"), [(14, True), (15, False)])
def test_an_utterance_shorter_than_its_tokens_and_their_repeats_is_left_out_of_training(
    words: int, fits: bool, corpus: Path
) -> None:
    # 0.8 s are 80 frames, 27 after subsampling by 3; each OH is one phone, and two in a row need a blank between.
    short = "an2-mjkl-b"  # the dev part of so few is one woman
    replace_text(corpus / TEXT, f"GO NO </s> ({short})", f"{'OH ' * words}</s> ({short})")
    replace_text(corpus / WORDS, "YES  ", "OH  OW\nYES  ")
    prepare()
    for step, *rest in (
        ["extract_features", "--features.extractor", "lhotse", "--cuts", "cuts/train.jsonl", "--out", "fbank"],
        ["prepare_lang", "--lexicon", "cuts/an4.dic", "--cuts", "cuts/train.jsonl", "--out", "lang"],
        ["train", "--cuts", "fbank/train.jsonl", "--stats", "fbank/train.stats.safetensors", "--lang", "lang",
         "--model.tdnn.dim", "8", "--model.tdnn.kernels=[3]", "--model.tdnn.dilations=[1]",
         "--model.tdnn.strides=[3]", "--epochs", "1", "--threads", "1", "--out", "exp"],
    ):  # fmt: skip
        code, said = program(f"steps/{step}.py", *rest)
        assert code == 0, said
    rows = [json.loads(line) for line in Path("exp/rejected_train.jsonl").read_text().splitlines()]
    detail = f"27 frames for {2 * words - 1} tokens and repeats"
    assert rows == ([] if fits else [{"id": short, "reason": "too short for CTC", "detail": detail}])
    assert f"24 utterances in, {24 - len(rows)} used" in said

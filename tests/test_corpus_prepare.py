"""Stage 0 keeps what can be used, names what cannot, and writes cuts as Lhotse does."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from egret.base.errors import EgretError, UsageError
from egret.base.stamps import why_not_current
from egret.corpus.audio import load
from egret.corpus.cuts import read_cuts
from egret.corpus.prepare import PrepareOptions, Utterance, fingerprint, prepare, prepare_step

RATE = 8000


def noise(seconds: float = 1.0, channels: int = 1, seed: int = 1) -> np.ndarray:
    rng = np.random.RandomState(seed)
    return (rng.randn(round(seconds * RATE), channels) * 2000).astype(np.int16)


def record(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **format: str) -> Path:
    soundfile.write(path, noise() if samples is None else samples, rate, **format)
    return path


def said(audio: Path, name: str = "", text: str = "a b", **more: object) -> Utterance:
    return Utterance(name or audio.stem, audio, text, "speaker", **more)  # type: ignore[arg-type]


@pytest.fixture
def good(tmp_path: Path) -> list[Utterance]:
    (tmp_path / "wav").mkdir()
    return [said(record(tmp_path / "wav" / f"good{number}.wav", noise(seed=number))) for number in range(3)]


def run(folder: Path, utterances: list[Utterance], **settings: object) -> tuple[list[str], list[dict]]:
    """Ids that are kept and what is in rejected.jsonl, with everything allowed to be rejected."""
    options = PrepareOptions(out=folder / "cuts", **{"max_reject_percent": 100.0, "workers": 2, **settings})  # type: ignore[arg-type]
    prepare({"train": utterances}, options)
    rejected = [json.loads(line) for line in (folder / "cuts/rejected.jsonl").read_text().splitlines()]
    return [cut["id"] for cut in read_cuts(folder / "cuts/train.jsonl")], rejected


def cut_off(path: Path, keep: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def sphere(path: Path, coding: str = "pcm", announced: int = RATE) -> Path:
    head = (
        f"NIST_1A\n   1024\nsample_count -i {announced}\nsample_rate -i {RATE}\nsample_n_bytes -i 2\n"
        f"sample_byte_format -s2 01\nchannel_count -i 1\nsample_coding -s{len(coding)} {coding}\nend_head\n"
    )
    path.write_bytes(head.encode().ljust(1024) + noise().tobytes())
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def scribble(path: Path) -> Path:
    path.write_text("this is not audio\n" * 1000)
    return path


def damaged_flac(path: Path) -> Path:
    record(path, noise(5))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    path.write_bytes(data)
    return path


def damaged_ogg(path: Path, **format: str) -> Path:
    data = bytearray(record(path, noise(9), **format).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def drop_page(path: Path, number: int) -> Path:
    pages = record(path, noise(9)).read_bytes().split(b"OggS")
    del pages[number]
    path.write_bytes(b"OggS".join(pages))
    return path


def never_finished(path: Path) -> Path:
    """The header of a recorder that crashed: as it wrote it when it began."""
    data = record(path).read_bytes()
    path.write_bytes(data[:40] + bytes(4) + data[44:])
    return path


def with_nan(path: Path) -> Path:
    samples = noise().astype(np.float32) / 32768
    samples[4000] = np.nan
    return record(path, samples, subtype="FLOAT")


def too_loud(path: Path) -> Path:
    return record(path, noise().astype(np.float32) * 1e5, subtype="FLOAT")


BAD = {
    "missing": (lambda folder: folder / "x.wav", "missing", "no such file"),
    "folder": (lambda folder: folder, "unreadable", "Is a directory"),
    "empty file": (lambda folder: empty(folder / "x.wav"), "empty", "a file of 0 bytes"),
    "no samples": (lambda folder: record(folder / "x.wav", noise(0)), "empty", "no samples"),
    "not audio": (lambda folder: scribble(folder / "x.wav"), "unreadable", "Format not recognised"),
    "cut-off wav": (lambda folder: cut_off(record(folder / "x.wav")), "truncated", "has 7978 of 16000 bytes"),
    "cut-off wav header": (lambda folder: cut_off(record(folder / "x.wav"), 0.002), "truncated", "before its samples"),
    "cut-off aiff": (lambda folder: cut_off(record(folder / "x.aiff")), "truncated", "bytes of samples"),
    "cut-off flac": (lambda folder: cut_off(record(folder / "x.flac", noise(5))), "unreadable", "flac decoder"),
    "damaged flac": (lambda folder: damaged_flac(folder / "x.flac"), "unreadable", "flac decoder"),
    "cut-off mp3": (lambda folder: cut_off(record(folder / "x.mp3", noise(9))), "truncated", "samples"),
    "cut-off sphere": (lambda folder: sphere(folder / "x.sph", announced=9000), "truncated", "16000 of 18000 bytes"),
    "cut-off au": (lambda folder: cut_off(record(folder / "x.au")), "truncated", "Data Size : 16000 (should be 79"),
    "cut-off w64": (lambda folder: cut_off(record(folder / "x.w64")), "truncated", "(should be 80"),
    "cut-off ogg": (lambda folder: cut_off(record(folder / "x.ogg", noise(9))), "truncated", "is not whole"),
    "ogg without its end": (lambda folder: drop_page(folder / "x.ogg", -1), "truncated", "not marked as the last"),
    "ogg without a page": (lambda folder: drop_page(folder / "x.ogg", -2), "damaged", "Ogg pages are missing before"),
    "damaged ogg": (lambda folder: damaged_ogg(folder / "x.ogg"), "damaged", "has another checksum than it says"),
    "damaged opus": (
        lambda folder: damaged_ogg(folder / "x.ogg", subtype="OPUS"),
        "damaged",
        "has another checksum than it says",
    ),
    "unfinished wav": (lambda folder: never_finished(folder / "x.wav"), "damaged", "where its header says 0"),
    "constant": (lambda folder: record(folder / "x.wav", noise() * 0 + 7), "constant", "damaged or empty"),
    "raw": (lambda folder: scribble(folder / "x.raw"), "unreadable", "Format not recognised"),
    "shorten": (
        lambda folder: sphere(folder / "x.sph", "pcm,embedded-shorten-v2.00"),
        "unreadable",
        "pcm,embedded-shorten-v2.00: libsndfile cannot decode it; convert it with sph2pipe",
    ),
    "sampling rate": (
        lambda folder: record(folder / "x.wav", rate=16000),
        "sampling rate",
        "16000 Hz where 8000 Hz is expected",
    ),
    "two channels": (lambda folder: record(folder / "x.wav", noise(1, 2)), "channels", "2 channels and the listing"),
    "zeros": (lambda folder: record(folder / "x.wav", noise() * 0), "all zeros", "damaged or empty"),
    "NaN": (lambda folder: with_nan(folder / "x.wav"), "NaN or Inf", "damaged or empty"),
    "out of range": (lambda folder: too_loud(folder / "x.wav"), "out of range", "damaged or empty"),
    "too short": (lambda folder: record(folder / "x.wav", noise(0.05)), "too short", "0.050 s, less than"),
    "too long": (lambda folder: record(folder / "x.wav", noise(61)), "too long", "61.000 s, more than"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recording_is_rejected_with_its_reason_and_the_others_are_kept(kind: str, good, tmp_path: Path):
    make, reason, detail = BAD[kind]
    audio = make(tmp_path)
    kept, rejected = run(tmp_path, [good[0], said(audio, "bad"), *good[1:]])
    assert kept == ["good0", "good1", "good2"]
    assert [(row["id"], row["part"], row["audio"], row["reason"]) for row in rejected] == [
        ("bad", "train", str(audio), reason)
    ]
    assert detail in rejected[0]["detail"]


def test_a_name_that_is_not_utf8_is_rejected_and_written_so_that_it_can_be_read(good, tmp_path: Path):
    strange = said(record(tmp_path / "x.wav").rename(tmp_path / "x\udce9.wav"), "x")
    kept, rejected = run(tmp_path, [*good, strange])
    assert kept == ["good0", "good1", "good2"]
    assert rejected[0]["reason"] == "not UTF-8" and rejected[0]["audio"].endswith("x\\udce9.wav")


def test_an_ogg_file_that_is_whole_is_kept(good, tmp_path: Path):
    assert run(tmp_path, [said(record(tmp_path / "x.ogg", noise(9)))])[0] == ["x"]


def test_nan_beyond_the_first_block_of_a_long_recording_is_found(good, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("egret.corpus.audio.BLOCK", 1000)
    _, rejected = run(tmp_path, [*good, said(with_nan(tmp_path / "x.wav"))])
    assert [row["reason"] for row in rejected] == ["NaN or Inf"]


def test_the_first_of_two_utterances_with_one_id_is_kept_and_both_files_are_named(good, tmp_path: Path):
    kept, rejected = run(tmp_path, [*good, replace(good[1], id="good0")])
    assert kept == ["good0", "good1", "good2"]
    assert rejected[0]["reason"] == "duplicate id"
    assert str(good[0].audio) in rejected[0]["detail"] and str(good[1].audio) in rejected[0]["detail"]


def test_an_id_may_not_return_in_another_part(good, tmp_path: Path):
    options = PrepareOptions(out=tmp_path / "cuts", max_reject_percent=100)
    prepare({"train": good[:2], "test": good[1:]}, options)
    assert [cut["id"] for cut in read_cuts(tmp_path / "cuts/test.jsonl")] == ["good2"]


def test_one_file_listed_twice_whole_is_kept_once(good, tmp_path: Path):
    kept, rejected = run(tmp_path, [*good, replace(good[0], id="again")])
    assert kept == ["good0", "good1", "good2"]
    assert (rejected[0]["reason"], "good0" in rejected[0]["detail"]) == ("duplicate audio", True)


@pytest.mark.parametrize("text", ["", "  ", "\ufeff\u200b"])
def test_an_utterance_without_words_is_rejected(text: str, good, tmp_path: Path):
    _, rejected = run(tmp_path, [good[0], replace(good[1], text=text)])
    assert [row["reason"] for row in rejected] == ["empty text"]


@pytest.mark.parametrize("name", ["", "a b", "a\tb"])
def test_an_id_that_would_break_text_files_is_rejected(name: str, good, tmp_path: Path):
    _, rejected = run(tmp_path, [good[0], replace(good[1], id=name)])
    assert [row["reason"] for row in rejected] == ["bad id"]


def test_an_objection_of_the_listing_is_counted(good, tmp_path: Path):
    _, rejected = run(tmp_path, [*good[:2], replace(good[2], problem="the name means nothing")])
    assert [(row["reason"], row["detail"]) for row in rejected] == [("listing", "the name means nothing")]


def test_a_channel_of_a_stereo_recording_can_be_chosen(good, tmp_path: Path):
    both = noise(1, 2)
    both[:, 0] = 0
    audio = record(tmp_path / "x.wav", both)
    names = [said(audio, f"x{channel}", channel=channel) for channel in (0, 1, 2)]
    kept, rejected = run(tmp_path, [*good, *names])
    assert kept == ["good0", "good1", "good2", "x1"]
    assert [(row["id"], row["reason"]) for row in rejected] == [("x0", "all zeros"), ("x2", "channels")]
    samples, _ = load(list(read_cuts(tmp_path / "cuts/train.jsonl"))[-1])
    assert np.array_equal(samples, both[:, 1] / np.float32(32768))


def test_segments_of_one_recording_are_judged_one_by_one(tmp_path: Path):
    samples = noise(10)
    samples[2 * RATE : 4 * RATE] = 0
    audio = record(tmp_path / "talk.wav", samples)
    times = {"a": (0, 2), "zeros": (2, 4), "c": (4, 10.04), "beyond": (9, 12), "backwards": (5, 4), "tail": (9.5, None)}
    kept, rejected = run(tmp_path, [said(audio, name, start=start, end=end) for name, (start, end) in times.items()])
    assert kept == ["a", "c", "tail"]
    assert {row["id"]: row["reason"] for row in rejected} == {
        "zeros": "all zeros",
        "beyond": "outside the recording",
        "backwards": "outside the recording",
    }
    cuts = {cut["id"]: cut for cut in read_cuts(tmp_path / "cuts/train.jsonl")}
    assert (cuts["c"]["duration"], cuts["tail"]["duration"]) == (6.0, 0.5)
    assert np.array_equal(load(cuts["tail"])[0], samples[76000:, 0] / np.float32(32768))


def test_the_sampling_rate_asked_for_wins_over_the_commonest(good, tmp_path: Path):
    other = said(record(tmp_path / "x.wav", rate=16000))
    kept, rejected = run(tmp_path, [*good, other], sampling_rate=16000)
    assert (kept, len(rejected)) == (["x"], 3)


def test_too_many_rejected_stop_the_step_with_counts_and_the_list_is_written(good, tmp_path: Path):
    with pytest.raises(EgretError, match=r"2 of 5 utterances rejected, 40.0 % where 5 % .*\(missing 2; first: .*gone0"):
        run(tmp_path, [*good, *(said(tmp_path / f"gone{n}.wav") for n in range(2))], max_reject_percent=5.0)
    assert len((tmp_path / "cuts/rejected.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "cuts/train.jsonl").exists()


def test_a_part_of_which_nothing_is_left_stops_the_step(good, tmp_path: Path):
    options = PrepareOptions(out=tmp_path / "cuts", max_reject_percent=100)
    with pytest.raises(EgretError, match="nothing is left of the part 'test'"):
        prepare({"train": good, "test": [said(tmp_path / "gone.wav")]}, options)


def test_cuts_are_what_lhotse_writes(good, tmp_path: Path):
    lhotse = pytest.importorskip("lhotse")
    stereo = said(record(tmp_path / "s.wav", noise(3, 2)), "s", channel=1, start=0.5, end=2.25, language="English")
    spoken = said(record(tmp_path / "t.wav", noise(2)), custom={"syllables": "zhe4 shi4"})
    run(tmp_path, [*good, stereo, spoken])
    rows = list(read_cuts(tmp_path / "cuts/train.jsonl"))
    cuts = list(lhotse.CutSet.from_jsonl(tmp_path / "cuts/train.jsonl"))
    assert [cut.to_dict() for cut in cuts] == rows
    for cut, row in zip(cuts, rows, strict=True):
        path = row["recording"]["sources"][0]["source"]
        assert lhotse.Recording.from_file(path, recording_id=row["recording"]["id"]).to_dict() == row["recording"]
        lhotse.validate(cut)
        assert np.array_equal(cut.load_audio()[0], load(row)[0])


@pytest.mark.corpus
def test_real_sphere_recordings_are_read_as_lhotse_reads_them_through_libsndfile(real_corpus, tmp_path: Path):
    lhotse = pytest.importorskip("lhotse")
    files = sorted(real_corpus("an4").glob("wav/*/*/*.sph"))[:20]
    kept, _ = run(tmp_path, [said(path) for path in files])
    assert len(kept) == 20
    row = next(read_cuts(tmp_path / "cuts/train.jsonl"))
    cut = next(iter(lhotse.CutSet.from_jsonl(tmp_path / "cuts/train.jsonl")))
    # Left to itself Lhotse wants the program sph2pipe for this format.
    with lhotse.audio.audio_backend("LibsndfileBackend"):
        assert np.array_equal(cut.load_audio()[0], load(row)[0])


def test_the_same_corpus_gives_the_same_bytes_with_any_number_of_workers(good, tmp_path: Path):
    bad = [said(tmp_path / f"gone{number}.wav") for number in range(5)]
    mixed = [*bad[:2], *good, *bad[2:]]
    run(tmp_path / "one", mixed, workers=1)
    run(tmp_path / "many", mixed, workers=7)
    for name in ("train.jsonl", "train.index.tsv", "rejected.jsonl", "report.json"):
        assert (tmp_path / "one/cuts" / name).read_bytes() == (tmp_path / "many/cuts" / name).read_bytes()


def test_the_report_counts_what_is_there(good, tmp_path: Path):
    texts = ["one two", "two  two", "\ufeffthree"]
    utterances = [replace(each, text=text) for each, text in zip(good, texts, strict=True)]
    run(tmp_path, [*utterances, said(tmp_path / "gone.wav")])
    report = json.loads((tmp_path / "cuts/report.json").read_text())
    part = report["parts"]["train"]
    assert report["normaliser"] == {"name": "plain", "version": 1}
    assert (part["utterances"], part["kept"], part["rejected"]) == (4, 3, {"missing": 1})
    assert (part["words"], part["distinct_words"], part["characters"], part["distinct_characters"]) == (5, 3, 17, 7)
    assert (part["speakers"], part["sampling_rates"], part["hours"]) == (1, [RATE], round(3 / 3600, 4))
    assert part["duration_percentiles"]["50"] == 1.0


def test_texts_pass_through_the_normaliser(good, tmp_path: Path):
    run(tmp_path, [replace(good[0], text=" e\u0301tude\u200b ")], normaliser="upper")
    assert next(read_cuts(tmp_path / "cuts/train.jsonl"))["supervisions"][0]["text"] == "ÉTUDE"


def test_what_else_is_said_of_an_utterance_stands_with_its_text(good, tmp_path: Path):
    run(tmp_path, [replace(good[0], custom={"syllables": "zhe4 shi4"}), good[1]])
    first, second = (cut["supervisions"][0] for cut in read_cuts(tmp_path / "cuts/train.jsonl"))
    assert first["custom"] == {"syllables": "zhe4 shi4"} and "custom" not in second


def test_what_else_is_said_must_be_text_that_can_be_written(good, tmp_path: Path):
    kept, rejected = run(tmp_path, [replace(good[0], custom={"syllables": "a\udce9"}), *good[1:]])
    assert len(kept) == 2 and [row["reason"] for row in rejected] == ["not UTF-8"]


def make_step(utterances: list[Utterance], **more):
    return prepare_step("prepare_it", 1, PrepareOptions, lambda _: {"train": utterances}, "It.", "it", **more)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, text="other"),
        lambda one: replace(one, speaker="other"),
        lambda one: replace(one, id="other"),
        lambda one: replace(one, end=0.5),
        lambda one: replace(one, custom={"syllables": "a1"}),
        lambda one: (os.utime(one.audio, (1, 1)), one)[1],
        lambda one: (one.audio.unlink(), one)[1],
    ],
)
def test_whatever_the_listing_or_an_audio_file_changes_makes_the_step_stale(change, good, tmp_path: Path):
    before = fingerprint(good)
    assert fingerprint(list(good)) == before
    assert fingerprint([change(good[0]), *good[1:]]) != before


def test_a_finished_step_is_up_to_date_until_its_corpus_changes(good, tmp_path: Path):
    from egret.base.stamps import write_stamp

    step = make_step(good)
    options = PrepareOptions(out=tmp_path / "cuts")
    request = step.request(options)
    done = step.run(options)
    write_stamp(options.out, request, done.outputs, done.counts, 0.0)
    assert why_not_current(options.out, step.request(replace(options, workers=9))) == []
    record(good[1].audio, noise(2))
    assert why_not_current(options.out, step.request(options)) == ["input part train changed"]


def test_other_samples_of_the_same_length_make_another_manifest(good, tmp_path: Path):
    run(tmp_path, good)
    before = (tmp_path / "cuts/train.jsonl").read_bytes()
    record(good[0].audio, noise(seed=99))
    run(tmp_path, good)
    assert (tmp_path / "cuts/train.jsonl").read_bytes() != before


def test_an_empty_listing_is_an_error():
    with pytest.raises(EgretError, match="prepare_it: the corpus has no utterances"):
        make_step([]).request(PrepareOptions(out=Path("nowhere")))


def test_an_unknown_normaliser_is_wrong_usage(good, tmp_path: Path):
    with pytest.raises(UsageError, match="did you mean 'upper'"):
        make_step(good).request(PrepareOptions(out=tmp_path, normaliser="uper"))


def test_asking_for_the_status_obtains_nothing(good, tmp_path: Path, monkeypatch):
    calls: list[object] = []
    step = make_step(good, obtain=calls.append)
    monkeypatch.setenv("EGRET_STATUS", str(tmp_path / "status"))
    step.request(PrepareOptions(out=tmp_path))
    assert calls == []
    monkeypatch.delenv("EGRET_STATUS")
    step.request(PrepareOptions(out=tmp_path))
    assert len(calls) == 1


def test_a_hundred_thousand_utterances_are_fingerprinted_without_reading_audio(tmp_path: Path):
    many = [said(tmp_path / "none" / f"{number}.wav", text="some words " * 8) for number in range(100_000)]
    started = time.monotonic()
    fingerprint(many)
    assert time.monotonic() - started < 30  # about two seconds; the bound is for a busy machine


def test_the_module_imports_neither_torch_nor_lhotse_nor_numpy():
    code = (
        "import sys, egret.corpus.prepare\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'lhotse', 'numpy', 'soundfile')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

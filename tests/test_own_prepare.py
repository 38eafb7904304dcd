"""A corpus of one's own: the recipe reads tables, Kaldi directories and ASRT's lists, of any rate, and loses nothing
silently."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from folders import ROOT
from small_own import cuts, part, prepare, record, recordings, rejected, simple_table, texts, write_table

HEADER = "path,text,speaker\n"


def rows_of(folder: Path, count: int = 10) -> str:
    return "".join(f"{path},text {number},s{number}\n" for number, path in enumerate(recordings(folder, count)))


# What is given


def test_a_table_becomes_cuts_in_three_parts(tmp_path: Path):
    prepare(tmp_path, "--table", simple_table(tmp_path, 20))
    assert texts(tmp_path) == {f"a{number}": f"text {number}" for number in range(20)}
    assert [len(part(tmp_path, name)) for name in ("train", "dev", "test")] == [16, 2, 2]


def test_nothing_given_is_wrong_usage(tmp_path: Path):
    assert "Give --table FILE, --kaldi-dir DIR or --asrt DIR" in prepare(tmp_path, code=2)


def test_two_of_them_are_wrong_usage(tmp_path: Path):
    table = simple_table(tmp_path)
    assert "--table and --asrt: give one" in prepare(tmp_path, "--table", table, "--asrt", tmp_path, code=2)


def test_an_unknown_language_is_wrong_usage(tmp_path: Path):
    said = prepare(tmp_path, "--table", simple_table(tmp_path), "--lang", "klingon", code=2)
    assert "expected one of 'zh', 'en', 'other', got klingon" in said


def test_a_table_that_is_not_there_is_named(tmp_path: Path):
    assert f"--table {tmp_path}/no.csv: not there" in prepare(tmp_path, "--table", tmp_path / "no.csv", code=1)


def test_it_need_not_be_named_again(tmp_path: Path):
    prepare(tmp_path, "--table", simple_table(tmp_path))
    assert "up to date" in prepare(tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs egs/own/run.sh, with links to all that it needs in place of Egret."""
    for name in ("egret", "steps", "utils", "local", "path.sh", "cmd.sh", "conf", ".venv", "requirements"):
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    own = tmp_path / "egs/own"
    own.mkdir(parents=True)
    for name in ("run.sh", "local", "conf"):
        (own / name).symlink_to(ROOT / "egs/own" / name)

    def run(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run([own / "run.sh", *options], cwd=own, capture_output=True, text=True)

    return run


def test_the_recipe_need_not_be_told_the_language_again(recipe: Callable[..., Any], tmp_path: Path):
    recipe("--table", str(simple_table(tmp_path, 20)), "--lang", "en", "--stop-stage", "0")
    done = recipe("--stop-stage", "0")
    assert done.returncode == 0 and "up to date" in done.stdout, done.stderr


def test_without_a_language_there_is_no_list_of_stages(recipe: Callable[..., Any]):
    done = recipe("--status")
    assert (done.returncode, done.stdout, "could not look" in done.stderr) == (2, "", False)
    assert "--lang: say zh, en or other" in done.stderr


def test_what_cannot_be_used_is_listed_by_its_line(tmp_path: Path):
    missing = "clips/none.wav,hello,s9\nclips/a1.wav,late,s1\nclips/a2.wav\n"
    table = write_table(tmp_path, HEADER + rows_of(tmp_path) + missing)
    assert "23.1 % where 5 % are allowed" in prepare(tmp_path, "--table", table, code=1)
    found = rejected(tmp_path)
    assert found["none"] == "missing: no such file"
    assert "is the utterance a1" in found["a1"] or "same id" in found["a1"]
    assert found["a2"] == f"table: {table}:14: 1 fields where 3 are expected"


# Rates and channels


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A table of recordings with all sorts of rates and channels."""
    kinds = {"a.wav": (8000, 1), "b.flac": (44100, 2), "c.wav": (16000, 1), "d.wav": (16000, 2), "e.ogg": (48000, 1),
             "f.mp3": (22050, 1), "g.wav": (16000, 1), "h.wav": (16000, 1)}  # fmt: skip
    for name, (rate, channels) in kinds.items():
        record(tmp_path / name, rate, channels, seed=ord(name[0]))
    return write_table(tmp_path, "path\ttext\n" + "".join(f"{name}\tsay {name[0]}\n" for name in kinds))


def test_every_cut_is_mono_and_of_one_rate(mixed: Path):
    prepare(mixed.parent, "--table", mixed)
    found = cuts(mixed.parent).values()
    assert {(cut["recording"]["sampling_rate"], cut["recording"]["channel_ids"][-1]) for cut in found} == {(16000, 0)}
    assert len(found) == 8


def test_what_was_converted_is_said_with_counts(mixed: Path):
    said = prepare(mixed.parent, "--table", mixed)
    assert "1 of 44100 Hz with 2: the mean of all channels, resampled to 16000 Hz" in said
    assert "1 of 8000 Hz with 1: resampled to 16000 Hz" in said
    assert "3 recordings of 16000 Hz with 1 channel" in said


def test_a_recording_that_is_right_is_used_where_it_lies(mixed: Path):
    prepare(mixed.parent, "--table", mixed)
    assert cuts(mixed.parent)["c"]["recording"]["sources"][0]["source"] == str(mixed.parent / "c.wav")


def test_originals_stay_as_they_are(mixed: Path):
    before = (mixed.parent / "b.flac").read_bytes()
    prepare(mixed.parent, "--table", mixed)
    assert (mixed.parent / "b.flac").read_bytes() == before


def test_a_chosen_channel_needs_no_copy(mixed: Path):
    prepare(mixed.parent, "--table", mixed, "--channel", "1")
    cut = cuts(mixed.parent)["d"]
    assert (cut["channel"], cut["recording"]["sources"][0]["source"]) == (1, str(mixed.parent / "d.wav"))


def test_the_mean_of_channels_is_what_is_converted(mixed: Path):
    prepare(mixed.parent, "--table", mixed)
    made, _ = soundfile.read(cuts(mixed.parent)["d"]["recording"]["sources"][0]["source"], dtype="int16")
    source, _ = soundfile.read(mixed.parent / "d.wav")
    assert np.abs(made / 32768 - source.mean(axis=1)).max() <= 0.5 / 32768 + 1e-9


def test_a_channel_that_a_recording_lacks_is_rejected(mixed: Path):
    prepare(mixed.parent, "--table", mixed, "--channel", "2", "--max-reject-percent", 50)
    assert rejected(mixed.parent)["b"].endswith("b.flac: channel 2 of a recording with 2, counted from 0")


def test_a_channel_that_no_recording_has_is_warned_of(tmp_path: Path):
    said = prepare(tmp_path, "--table", simple_table(tmp_path), "--channel", "7")
    assert "--channel 7: no recording has it, they have at most 1, counted from 0" in said


def test_a_channel_that_some_recording_has_is_not_warned_of(mixed: Path):
    assert "no recording has it" not in prepare(mixed.parent, "--table", mixed, "--channel", "1")


def test_a_channel_is_mix_or_a_number(mixed: Path):
    assert "--channel left: expected mix" in prepare(mixed.parent, "--table", mixed, "--channel", "left", code=2)


def test_what_is_converted_is_kept_for_the_next_run(mixed: Path):
    prepare(mixed.parent, "--table", mixed)
    before = {path: path.stat().st_mtime_ns for path in (mixed.parent / "audio").iterdir()}
    prepare(mixed.parent, "--table", mixed, "--force")
    assert {path: path.stat().st_mtime_ns for path in (mixed.parent / "audio").iterdir()} == before


def test_a_converted_recording_that_is_lost_is_made_again(mixed: Path):
    prepare(mixed.parent, "--table", mixed)
    path = next((mixed.parent / "audio").iterdir())
    path.unlink()
    prepare(mixed.parent, "--table", mixed)
    assert path.is_file()


def test_a_truncated_recording_is_not_converted(tmp_path: Path):
    table = simple_table(tmp_path, 10)
    path = record(tmp_path / "clips/a3.wav", 8000)
    path.write_bytes(path.read_bytes()[:2000])
    prepare(tmp_path, "--table", table, "--max-reject-percent", 20)
    assert rejected(tmp_path)["a3"].startswith("truncated: has ")


def test_samples_that_are_no_numbers_are_rejected_by_their_reason(tmp_path: Path):
    table = simple_table(tmp_path, 10)
    soundfile.write(tmp_path / "clips/a3.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
    prepare(tmp_path, "--table", table, "--max-reject-percent", 20)
    assert rejected(tmp_path)["a3"].startswith("NaN or Inf")


def test_a_segment_of_a_converted_recording_is_where_it_was(tmp_path: Path):
    samples = np.zeros(88200, np.float32)
    samples[44100:66150] = np.sin(np.arange(22050) * 0.05) * 0.5
    soundfile.write(tmp_path / "long.wav", samples, 44100)
    more = "".join(f"{path},text,,\n" for path in recordings(tmp_path))
    table = write_table(tmp_path, f"path,text,start,end\nlong.wav,there,1.0,1.5\n{more}")
    prepare(tmp_path, "--table", table)
    cut = cuts(tmp_path)["long-00001000-00001500"]
    made, rate = soundfile.read(cut["recording"]["sources"][0]["source"])
    assert (cut["start"], cut["duration"]) == (1.0, 0.5)
    assert np.abs(made[: rate - 100]).max() < 1e-3 < np.abs(made[rate : rate + rate // 2]).max()


def test_mostly_lower_rates_are_warned_of(tmp_path: Path):
    for number in range(10):
        record(tmp_path / f"a{number}.wav", 8000, seed=number)
    table = write_table(tmp_path, "path,text\n" + "".join(f"a{number}.wav,hello\n" for number in range(10)))
    assert "--sampling-rate 8000 would save work" in prepare(tmp_path, "--table", table)


# Parts


def test_a_column_of_parts_is_kept_to(tmp_path: Path):
    names = ["train"] * 6 + ["validation", "Dev", "test", "test"]
    rows = "".join(f"{path},hello,{name}\n" for path, name in zip(recordings(tmp_path), names, strict=True))
    prepare(tmp_path, "--table", write_table(tmp_path, f"path,text,split\n{rows}"))
    assert (part(tmp_path, "dev"), part(tmp_path, "test")) == ({"a6", "a7"}, {"a8", "a9"})


def test_a_part_that_is_missing_is_taken_from_train(tmp_path: Path):
    rows = "".join(f"{path},hello,{'test' if 'a9' in path else 'train'}\n" for path in recordings(tmp_path))
    prepare(tmp_path, "--table", write_table(tmp_path, f"path,text,part\n{rows}"))
    assert (len(part(tmp_path, "dev")), part(tmp_path, "test")) == (1, {"a9"})


def test_an_unknown_part_is_rejected(tmp_path: Path):
    rows = "".join(f"{path},hello,{'later' if 'a9' in path else ''}\n" for path in recordings(tmp_path))
    prepare(tmp_path, "--table", write_table(tmp_path, f"path,text,part\n{rows}"), "--max-reject-percent", 10)
    assert "the part 'later' is none of train, dev, test" in rejected(tmp_path)["a9"]


def test_three_utterances_are_one_for_each_part(tmp_path: Path):
    prepare(tmp_path, "--table", simple_table(tmp_path, 3))
    assert [len(part(tmp_path, name)) for name in ("train", "dev", "test")] == [1, 1, 1]


def test_two_utterances_cannot_be_divided(tmp_path: Path):
    said = prepare(tmp_path, "--table", simple_table(tmp_path, 2), code=1)
    assert "2 utterances cannot be divided into train, dev and test" in said


def test_without_speakers_it_is_said_that_voices_are_known(tmp_path: Path):
    said = prepare(tmp_path, "--table", simple_table(tmp_path))
    assert "by utterances, for the corpus does not say who speaks" in said


def test_utterances_of_nobody_are_not_one_speaker(tmp_path: Path):
    assert "0 speakers" in prepare(tmp_path, "--table", simple_table(tmp_path))
    report = json.loads((tmp_path / "cuts/report.json").read_text())
    assert report["speakers_in_several_parts"] == 0


def test_the_same_sentence_in_two_parts_is_said(tmp_path: Path):
    rows = "".join(f"{path},hello\n" for path in recordings(tmp_path))
    said = prepare(tmp_path, "--table", write_table(tmp_path, "path,text\n" + rows))
    assert "test: 1 of 1 utterances are of sentences that train has too" in said


# Kaldi


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """data/ with wav.scp, text and utt2spk; paths begin two folders above, as Kaldi's do."""
    data = tmp_path / "data/all"
    data.mkdir(parents=True)
    names = recordings(tmp_path)
    (data / "wav.scp").write_text("".join(f"u{number} {path}\n" for number, path in enumerate(names)))
    (data / "text").write_text("".join(f"u{number} hello {number}\n" for number in range(10)))
    (data / "utt2spk").write_text("".join(f"u{number} s{number}\n" for number in range(10)))
    return data


def test_a_kaldi_directory_becomes_cuts(kaldi: Path):
    folder = kaldi.parents[1]
    prepare(folder, "--kaldi-dir", kaldi)
    assert texts(folder)["u3"] == "hello 3"
    assert cuts(folder)["u3"]["supervisions"][0]["speaker"] == "s3"


def test_segments_are_pieces_of_recordings(kaldi: Path):
    folder = kaldi.parents[1]
    lines = "".join(f"u{number}-1 u{number} 0.1 0.4\n" for number in range(9)) + "u9-1 u9 0.2 -1\n"
    (kaldi / "segments").write_text(lines)
    (kaldi / "text").write_text("".join(f"u{number}-1 hello\n" for number in range(10)))
    prepare(folder, "--kaldi-dir", kaldi)
    found = cuts(folder)
    assert [(found[name]["start"], found[name]["duration"]) for name in ("u1-1", "u9-1")] == [(0.1, 0.3), (0.2, 0.3)]


def test_train_dev_and_test_directories_are_the_parts(kaldi: Path):
    for name in ("train", "dev", "test"):
        (kaldi.parent / name).mkdir()
        for file in ("wav.scp", "text"):
            lines = (kaldi / file).read_text().splitlines(keepends=True)
            chosen = {"train": lines[:6], "dev": lines[6:8], "test": lines[8:]}[name]
            (kaldi.parent / name / file).write_text("".join(chosen))
    said = prepare(kaldi.parents[1], "--kaldi-dir", kaldi.parent)
    assert "passed over: all" in said
    assert part(kaldi.parents[1], "dev") == {"u6", "u7"}


def test_a_transcript_without_a_recording_is_rejected(kaldi: Path):
    with open(kaldi / "text", "a") as text:
        text.write("u99 nobody\n")
    prepare(kaldi.parents[1], "--kaldi-dir", kaldi, "--max-reject-percent", 10)
    assert rejected(kaldi.parents[1])["u99"].startswith("no recording: ")


def test_commands_are_not_run_unasked(kaldi: Path):
    scp = kaldi / "wav.scp"
    scp.write_text(scp.read_text() + f"u10 touch {kaldi}/harm |\n")
    said = prepare(kaldi.parents[1], "--kaldi-dir", kaldi, code=1)
    assert f"{scp}:11: 1 recording would come out of commands" in said
    assert not (kaldi / "harm").exists()


def test_commands_are_run_where_they_are_allowed(kaldi: Path):
    folder = kaldi.parents[1]
    scp = kaldi / "wav.scp"
    scp.write_text(scp.read_text().replace("u0 clips/a0.wav", f"u0 cat {folder}/clips/a0.wav | head -c 999999 |"))
    prepare(folder, "--kaldi-dir", kaldi, "--allow-pipes", "true")
    assert cuts(folder)["u0"]["recording"]["sources"][0]["source"].startswith(str(folder / "audio/u0-"))
    assert "up to date" in prepare(folder, "--kaldi-dir", kaldi, "--allow-pipes", "true")


def test_a_command_that_fails_says_why(kaldi: Path):
    (kaldi / "wav.scp").write_text("u0 sh -c 'echo no >&2; exit 3' |\n")
    said = prepare(kaldi.parents[1], "--kaldi-dir", kaldi, "--allow-pipes", "true", code=1)
    assert "of wav.scp failed (code 3): no" in said


def test_a_folder_of_something_else_is_no_kaldi_directory(tmp_path: Path):
    recordings(tmp_path)
    assert "no wav.scp in it" in prepare(tmp_path, "--kaldi-dir", tmp_path, code=1)


# ASRT


@pytest.fixture
def asrt(tmp_path: Path) -> Path:
    """datalist/mine/{train,cv,test}.wav.lst and .syllable.txt; paths begin above datalist."""
    lists = tmp_path / "datalist/mine"
    lists.mkdir(parents=True)
    names = recordings(tmp_path)
    for name, chosen in (("train", names[:6]), ("cv", names[6:8]), ("test", names[8:])):
        lines = [f"{Path(path).stem} {path}\n" for path in chosen]
        (lists / f"{name}.wav.lst").write_text("".join(lines))
        (lists / f"{name}.syllable.txt").write_text("".join(f"{line.split()[0]} lv4 shi4 Yang2\n" for line in lines))
    return lists


def test_asrts_lists_become_cuts_of_syllables(asrt: Path):
    folder = asrt.parents[1]
    prepare(folder, "--asrt", asrt.parent, "--lang", "zh", "--normaliser", "lower")
    assert texts(folder)["a3"] == "lv4 shi4 yang2"
    assert cuts(folder)["a3"]["supervisions"][0]["custom"] == {"syllables": "lv4 shi4 yang2"}
    assert part(folder, "dev") == {"a6", "a7"}


def test_asrts_configuration_says_where_paths_begin(asrt: Path):
    folder = asrt.parents[1]
    (folder / "speech").mkdir()
    (folder / "clips").rename(folder / "speech/clips")
    dataset = {
        name: [{"data_list": f"datalist/mine/{file}.wav.lst", "data_path": "speech",
                "label_list": f"datalist/mine/{file}.syllable.txt"}]
        for name, file in (("train", "train"), ("dev", "cv"), ("test", "test"))
    }  # fmt: skip
    (folder / "asrt_config.json").write_text(json.dumps({"dict_filename": "dict.txt", "dataset": dataset}))
    prepare(folder, "--asrt", folder / "asrt_config.json", "--lang", "zh", "--normaliser", "lower")
    assert len(texts(folder)) == 10


def test_a_list_without_its_syllables_is_an_error(asrt: Path):
    (asrt / "cv.syllable.txt").unlink()
    assert "cv.syllable.txt is not beside it" in prepare(asrt.parents[1], "--asrt", asrt, code=1)


def test_chinese_text_gets_its_syllables(tmp_path: Path):
    pytest.importorskip("pypinyin")
    rows = "".join(f"{path},银行很远\n" for path in recordings(tmp_path))
    table = write_table(tmp_path, ("path,text\n" + rows).encode("gbk"))
    said = prepare(tmp_path, "--table", table, "--lang", "zh", "--normaliser", "mandarin")
    assert "the file is read as GBK" in said
    assert cuts(tmp_path)["a1"]["supervisions"][0]["custom"]["syllables"] == "yin2 hang2 hen3 yuan3"


# The choice of a model


def test_the_model_follows_from_the_hours(tmp_path: Path):
    import importlib.util

    path = Path(__file__).resolve().parents[1] / "egs/own/local/model.py"
    spec = importlib.util.spec_from_file_location("own_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = [module.model_of(hours) for hours in (0.1, 0.6, 200)]
    assert (names, module.training_hours(tmp_path / "none")) == (["tdnn", "conformer", "conformer_large"], 0.0)

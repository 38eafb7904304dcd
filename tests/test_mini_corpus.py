"""Synthetic corpora have the published layout, the same bytes every time, and pass stage 0."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("espeakng_loader")


def mini(folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "local/mini_corpus.py"), *map(str, options)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


SMALL_AN4 = ("--layout", "an4", "--speakers", 3, "--test-speakers", 2, "--utterances", 13)


@pytest.fixture(scope="module")
def yesno(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("yesno")
    done = mini(folder, "--layout", "yesno", "--out", "corpus")
    assert done.returncode == 0, done.stderr
    return folder / "corpus"


@pytest.fixture(scope="module")
def an4(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("an4")
    done = mini(folder, *SMALL_AN4, "--out", "corpus", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return folder / "corpus"


def transcripts(folder: Path, part: str) -> dict[str, str]:
    """Text by the name in brackets, read as the real files are."""
    rows = {}
    for line in (folder / f"etc/an4_{part}.transcription").read_text().splitlines():
        match = re.fullmatch(r"<s> ([A-Z ]+) </s> \((an\d+|cen\d+)-([fm][a-z]{3})-b\)", line)
        assert match, line
        rows["-".join(match.groups()[1:])] = match[1]
    return rows


def test_yesno_has_sixty_recordings_named_by_what_is_said(yesno: Path):
    names = [path.name for path in (yesno / "waves_yesno").glob("*.wav")]
    assert len(names) == 60
    assert all(re.fullmatch(r"[01](_[01]){7}\.wav", name) for name in names)


def test_yesno_is_8_khz_16_bit_mono_with_a_second_of_silence_at_both_ends(yesno: Path):
    for path in (yesno / "waves_yesno").glob("*.wav"):
        samples, rate = soundfile.read(path, dtype="int16")
        loud = np.flatnonzero(np.abs(samples) > 1000)
        assert (rate, samples.ndim, soundfile.info(path).subtype) == (8000, 1, "PCM_16")
        assert 0.8 < loud[0] / rate < 1.3 and 0.8 < (len(samples) - loud[-1]) / rate < 1.3


def test_yesno_passes_stage_0_of_its_recipe(yesno: Path, tmp_path: Path):
    command = [sys.executable, str(ROOT / "egs/yesno/local/prepare.py"), "--corpus", str(yesno), "--out", "cuts"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert "utterances 60, kept 60, rejected 0" in done.stdout


def test_an4_lists_every_file_in_the_order_of_the_transcripts(an4: Path):
    for part, folder in (("train", "an4_clstk"), ("test", "an4test_clstk")):
        listed = (an4 / f"etc/an4_{part}.fileids").read_text().split()
        found = {str(path.relative_to(an4 / "wav").with_suffix("")) for path in (an4 / "wav" / folder).rglob("*.sph")}
        assert set(listed) == found and len(listed) == len(found)
        names = [Path(name).name.removesuffix("-b") for name in listed]
        assert names == list(transcripts(an4, part))
        assert all(name.split("/")[1] == name.split("-")[1] for name in listed)


def test_an4_has_the_files_of_the_published_corpus(an4: Path):
    names = {"an4.dic", "an4.filler", "an4.phone"}
    lists = {f"an4_{part}.{kind}" for part in ("train", "test") for kind in ("fileids", "transcription")}
    assert {path.name for path in (an4 / "etc").iterdir()} == names | lists


def test_an4_speakers_and_sentences_of_test_are_not_in_train(an4: Path):
    train, test = transcripts(an4, "train"), transcripts(an4, "test")
    assert not {name.split("-")[1] for name in train} & {name.split("-")[1] for name in test}
    assert not {text for text in test.values() if " " in text} & set(train.values())


def test_an4_dictionary_has_every_word_in_known_phones(an4: Path):
    from egret.lang.lexicon import read_lexicon

    lexicon = read_lexicon(an4 / "etc/an4.dic")
    said = {word for part in ("train", "test") for text in transcripts(an4, part).values() for word in text.split()}
    phones = set((an4 / "etc/an4.phone").read_text().split())
    assert said <= {word for word, _ in lexicon}
    assert {phone for _, entry in lexicon for phone in entry} == phones - {"SIL"}


@pytest.mark.corpus
def test_an4_words_and_phones_are_among_the_real_ones(real_corpus, an4: Path):
    from egret.lang.lexicon import read_lexicon

    real, ours = ({word for word, _ in read_lexicon(folder / "etc/an4.dic")} for folder in (real_corpus("an4"), an4))
    assert ours <= real
    real_phones = (real_corpus("an4") / "etc/an4.phone").read_text().split()
    assert set((an4 / "etc/an4.phone").read_text().split()) <= set(real_phones)


@pytest.mark.corpus
def test_an4_headers_have_the_fields_of_the_real_ones(real_corpus, an4: Path):
    def fields(folder: Path) -> list[bytes]:
        head = next(folder.glob("wav/*/*/*.sph")).read_bytes()[:1024]
        return [line.split()[0] for line in head[: head.index(b"end_head")].split(b"\n") if line]

    assert fields(an4) == fields(real_corpus("an4"))


def test_an4_recordings_are_16_khz_sphere_with_the_right_checksum(an4: Path):
    for path in an4.glob("wav/*/*/*.sph"):
        info = soundfile.info(path)
        samples, _ = soundfile.read(path, dtype="int16")
        said = dict(line.split(b" ", 1) for line in path.read_bytes()[:1024].split(b"\n")[2:-1] if b" -i " in line)
        assert (info.format, info.samplerate, info.channels) == ("NIST", 16000, 1)
        assert int(said[b"sample_count"].split()[1]) == len(samples)
        assert int(said[b"sample_checksum"].split()[1]) == samples.view(np.uint16).sum(dtype=np.uint64) % 65536


def test_longer_texts_take_longer_to_say(an4: Path):
    pairs = [
        (len(text), soundfile.info(next(an4.glob(f"wav/*/*/{name}-b.sph"))).duration)
        for name, text in transcripts(an4, "train").items()
    ]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.8


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(an4: Path, tmp_path: Path):
    mini(tmp_path, *SMALL_AN4, "--out", "again", "--workers", 3)
    assert digests(tmp_path / "again") == digests(an4)


def test_another_seed_gives_other_texts_and_replaces_all_files(tmp_path: Path):
    small = ("--layout", "an4", "--speakers", 1, "--test-speakers", 1, "--utterances", 3, "--out", "corpus")
    mini(tmp_path, *small)
    first = transcripts(tmp_path / "corpus", "train")
    mini(tmp_path, *small, "--seed", 2)
    listed = [line for part in ("train", "test") for line in (tmp_path / f"corpus/etc/an4_{part}.fileids").open()]
    assert transcripts(tmp_path / "corpus", "train") != first
    assert len(list(tmp_path.glob("corpus/wav/*/*/*.sph"))) == len(listed) == 6
    assert [path.name for path in (tmp_path / "corpus").glob(".making*")] == []


def test_a_finished_corpus_is_up_to_date(yesno: Path):
    assert "mini_corpus: up to date" in mini(yesno.parent, "--layout", "yesno", "--out", "corpus").stdout


@pytest.mark.parametrize(("voice", "text"), [("cmn", "今天天气很好"), ("ko", "안녕하세요"), ("en-us+f3", "good day")])
def test_any_voice_says_any_text(voice: str, text: str, tmp_path: Path):
    done = mini(tmp_path, "--say", text, "--voice", voice, "--out", "x.wav")
    assert done.returncode == 0, done.stderr
    samples, rate = soundfile.read(tmp_path / "x.wav", dtype="int16")
    assert rate == 16000 and 0.5 < len(samples) / rate < 5 and np.abs(samples).max() > 3000


@pytest.mark.parametrize(
    ("voice", "what"), [("nonesuch", "no such voice"), ("en-us+f33", "no such variant; did you mean 'f3'")]
)
def test_an_unknown_voice_is_an_error(voice: str, what: str, tmp_path: Path):
    done = mini(tmp_path, "--say", "hello", f"--voice={voice}", "--out", "x.wav")
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert what in done.stderr


def test_only_the_mini_corpus_programs_load_espeak():
    programs = [*ROOT.glob("egret/**/*.py"), *ROOT.glob("steps/*.py"), *ROOT.glob("utils/*.py")]
    assert [path for path in programs if "espeakng_loader" in path.read_text()] == []


@pytest.mark.parametrize(("frequency", "kept"), [(500, True), (3000, True), (5000, False), (9000, False)])
def test_resampling_keeps_what_fits_and_removes_what_would_fold_back(frequency: int, kept: bool, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "local"))
    from mini.sound import resample

    tone = np.sin(2 * np.pi * frequency * np.arange(22050) / 22050)
    made = resample((10000 * tone).astype(np.int16), 22050, 8000)
    wanted = 10000 * np.sin(2 * np.pi * frequency * np.arange(8000) / 8000) * kept
    assert len(made) == 8000
    assert np.abs(made - wanted)[200:-200].max() < 20

"""steps/mine_noise.py: the silent parts of recordings as a folder of noise."""

import numpy as np
import pytest
import soundfile

from egret.base.files import read_json
from egret.corpus.cuts import write_cuts
from egret.features.mining import Found, file_name, join, mine, silent_stretches
from egret.features.waveform import Augmenter, WaveformOptions

RATE = 8000
RNG = np.random.default_rng(1)
HISS = 0.001


def speech(*parts: tuple[float, float]) -> np.ndarray:
    """Noise of several loudnesses: (seconds, deviation) of each."""
    return np.concatenate([RNG.normal(0, deviation, round(seconds * RATE)) for seconds, deviation in parts])


@pytest.fixture
def corpus(tmp_path):
    """Writes recordings and their manifest: {name: samples}, each one cut or several of so many seconds."""

    def write(recordings: dict[str, np.ndarray], seconds: float = 1e9) -> None:
        cuts = []
        for name, samples in recordings.items():
            path = tmp_path / f"{name.replace('/', '-')}.wav"
            soundfile.write(path, samples, RATE)
            source = {"type": "file", "channels": [0], "source": str(path)}
            recording = {"id": name, "sources": [source], "sampling_rate": RATE, "num_samples": len(samples),
                         "duration": len(samples) / RATE, "channel_ids": [0]}  # fmt: skip
            for number, start in enumerate(np.arange(0, len(samples) / RATE, seconds)):
                duration = min(seconds, len(samples) / RATE - start)
                cuts.append({"id": f"{name}-{number}", "start": float(start), "duration": duration, "channel": 0,
                             "supervisions": [], "recording": recording, "type": "MonoCut"})  # fmt: skip
        write_cuts(tmp_path / "train.jsonl", cuts)

    return write


@pytest.fixture
def mined(tmp_path, run_step):
    def run(*words: str, code: int = 0) -> str:
        return run_step("mine_noise", tmp_path, "--cuts", "train.jsonl", "--out", "noise", *words, code=code)

    return run


class TestStretches:
    def test_between_words_a_frame_away_from_them(self):
        samples = speech((0.5, 0.1), (1.0, HISS), (0.5, 0.1))
        [(first, last)] = silent_stretches(samples, RATE, 30, 0.3)
        assert 0.525 <= first / RATE < 0.56 and 1.44 < last / RATE <= 1.475

    def test_to_the_very_ends_of_a_recording(self):
        samples = speech((0.5, HISS), (1.0, 0.1), (0.5, HISS))
        stretches = silent_stretches(samples, RATE, 30, 0.3)
        assert (stretches[0][0], stretches[-1][1]) == (0, len(samples))

    def test_short_ones_are_left_out(self):
        assert silent_stretches(speech((0.5, 0.1), (0.3, HISS), (0.5, 0.1)), RATE, 30, 0.3) == []

    def test_what_is_not_quiet_enough_is_left_out(self):
        assert silent_stretches(speech((0.5, 0.1), (1.0, 0.02), (0.5, 0.1)), RATE, 30, 0.3) == []


class TestJoin:
    def test_as_loud_where_it_is_joined(self):
        noise = join([RNG.normal(0, 1, 8000) for _ in range(200)], 800)
        ends = np.concatenate([noise[at : at + 800] for at in range(7200, len(noise) - 800, 7200)])
        assert ends.std() == pytest.approx(noise.std(), rel=0.02)

    def test_its_peak_is_half_of_full_scale(self):
        assert np.abs(join([RNG.normal(0, HISS, 8000)], 80)).max() == pytest.approx(0.5)


class TestFolder:
    @pytest.fixture(autouse=True)
    def two(self, corpus):
        corpus({"a": speech((0.5, 0.1), (1.0, HISS), (0.5, 0.1)), "b": speech((1.0, 0.1))})

    def test_a_file_of_16_bits_for_each_recording_that_has_silence(self, tmp_path, mined):
        mined()
        [path] = (tmp_path / "noise" / "wav").iterdir()
        about = soundfile.info(path)
        assert (path.name, about.subtype, about.samplerate, about.channels) == ("a-0.wav", "PCM_16", RATE, 1)

    def test_the_report(self, tmp_path, mined):
        assert "in 1 stretches, from 1 of 2 utterances" in mined()
        report = read_json(tmp_path / "noise" / "report.json")
        assert report["seconds"] == pytest.approx(0.9, abs=0.06) and report["recordings_without"] == ["b"]

    def test_it_can_be_mixed_into_speech(self, tmp_path, mined):
        mined()
        augmenter = Augmenter(WaveformOptions(noise=[tmp_path / "noise"], noise_probability=1.0))
        _, done = augmenter.augment(speech((1.0, 0.1)).astype(np.float32), RATE, np.random.default_rng(1))
        assert done["noise"] == "noise/wav/a-0.wav"

    def test_up_to_date(self, mined):
        mined()
        assert "up to date" in mined()

    def test_a_lost_file_is_a_reason(self, tmp_path, mined):
        mined()
        (tmp_path / "noise" / "wav" / "a-0.wav").unlink()
        assert "output wav/a-0.wav is gone" in mined()

    def test_nothing_of_an_earlier_run_is_left(self, tmp_path, mined, corpus):
        mined()
        corpus({"c": speech((0.5, 0.1), (1.0, HISS))})
        mined()
        assert [path.name for path in (tmp_path / "noise" / "wav").iterdir()] == ["c-0.wav"]


def test_cuts_of_one_recording_become_one_file(tmp_path, corpus, mined):
    corpus({"long": speech(*[(0.5, 0.1), (1.0, HISS), (0.5, 0.1)] * 3)}, seconds=2.0)
    mined()
    [path] = (tmp_path / "noise" / "wav").iterdir()
    assert soundfile.info(path).duration == pytest.approx(2.75, abs=0.15)


def test_silence_without_noise_is_left_out_and_said(corpus, mined):
    corpus({"a": speech((0.5, 0.1), (1.0, 0), (0.5, 0.1)), "b": speech((0.5, 0.1), (1.0, HISS))})
    assert "left out 0.9 s of silence without any noise" in mined()


def test_a_stretch_loses_the_part_of_it_without_noise(corpus, tmp_path):
    from egret.corpus.cuts import read_cuts

    corpus({"a": speech((0.5, 0.1), (1.0, HISS), (1.0, 0), (1.0, HISS))})
    [(_, noise, _)] = mine(read_cuts(tmp_path / "train.jsonl"), 30, 0.3, Found())
    assert len(noise) / RATE == pytest.approx(2.0, abs=0.1)


def test_nothing_found(tmp_path, corpus, mined):
    corpus({"a": speech((1.0, 0.1)), "b": speech((0.5, 0.1), (1.0, 0))})
    assert "no silence in 2 utterances, but for 1.0 s without any noise" in mined(code=1)
    assert not (tmp_path / "noise" / "wav").exists()


def test_a_recording_that_is_gone(tmp_path, corpus, mined):
    corpus({"a": speech((1.0, 0.1))})
    (tmp_path / "a.wav").unlink()
    assert "missing: no such file; run stage 0 again" in mined(code=1)


@pytest.mark.parametrize("name, file", [("a/b", "a%2Fb.wav"), ("a%2Fb", "a%252Fb.wav"), (".x", "%2Ex.wav")])
def test_ids_as_names_of_files(name, file):
    assert file_name(name) == file


def test_told_to_stop_it_says_so_and_leaves_nothing_half_done(corpus, mined, tmp_path, monkeypatch):
    import os
    import signal

    corpus({"a": speech((0.5, 0.1), (1.0, HISS), (0.5, 0.1))})
    monkeypatch.setattr(soundfile, "write", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert "told to stop (SIGTERM)" in mined(code=75)
    assert not [path for path in (tmp_path / "noise").iterdir() if "wav" in path.name]

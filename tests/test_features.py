"""Filter banks against kaldi-native-fbank and Lhotse, in batches, and their statistics."""

import importlib.util
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from egret.base.errors import EgretError, UsageError
from egret.features import extractor
from egret.features.extractor import make_extractor
from egret.features.fbank import check
from egret.features.options import FeatureOptions, num_frames, shortest
from egret.features.stats import Stats
from egret.features.store import batches, load_samples
from recordings import RNG, recording

needs_kaldifeat = pytest.mark.skipif(importlib.util.find_spec("kaldifeat") is None, reason="kaldifeat is not installed")
EXTRACTORS = [pytest.param("kaldifeat", marks=needs_kaldifeat), "lhotse"]


def signals(rate):
    """Two seconds each of what recordings are made of, in 16 bits: a purer tone would exceed float32's range."""
    time = np.arange(2 * rate) / rate
    made = {
        "noise": RNG.normal(0, 0.1, len(time)),
        "faint noise": RNG.normal(0, 1e-4, len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "chirp": 0.3 * np.sin(2 * np.pi * (100 + rate / 10 * time) * time),
        "clipped": np.sign(np.sin(300 * time)),
        "offset": 0.5 + RNG.normal(0, 0.01, len(time)),
        "silence": np.zeros(len(time)),
    }
    return {name: (np.round(wave * 32767) / 32768).astype(np.float32) for name, wave in made.items()}


def kaldi(wave, options):
    """The same features from an implementation that shares no code with kaldifeat or Lhotse."""
    knf = pytest.importorskip("kaldi_native_fbank")
    settings = knf.FbankOptions()
    settings.frame_opts.samp_freq = options.sampling_rate
    settings.frame_opts.frame_length_ms = options.frame_length * 1000
    settings.frame_opts.frame_shift_ms = options.frame_shift * 1000
    settings.frame_opts.dither = 0
    settings.frame_opts.snip_edges = False
    settings.mel_opts.num_bins = options.num_mel_bins
    settings.mel_opts.low_freq = options.low_freq
    settings.mel_opts.high_freq = options.high_freq
    fbank = knf.OnlineFbank(settings)
    fbank.accept_waveform(options.sampling_rate, wave)
    fbank.input_finished()
    return np.stack([fbank.get_frame(frame) for frame in range(fbank.num_frames_ready)])


def difference(features, others):
    assert features.shape == others.shape
    return float(np.abs(features - others).max())


class TestExactness:
    OPTIONS = (
        FeatureOptions(),
        FeatureOptions(sampling_rate=8000, num_mel_bins=40),
        FeatureOptions(num_mel_bins=23, frame_length=0.032, frame_shift=0.016, low_freq=64, high_freq=0),
    )

    @pytest.mark.parametrize("options", OPTIONS)
    @pytest.mark.parametrize("name", EXTRACTORS)
    def test_synthetic_signals(self, options, name):
        _, extract = make_extractor(FeatureOptions(**{**vars(options), "extractor": name}))
        waves = signals(options.sampling_rate).values()
        worst = [difference(extract([wave])[0], kaldi(wave, options)) for wave in waves]
        assert np.median(worst) < 5e-4
        assert max(worst) < 1e-2

    @pytest.mark.corpus
    def test_real_recordings(self, real_corpus):
        """Over three corpora; both are off from 64-bit arithmetic by as much as from each other."""
        import soundfile

        corpora = {"yesno": "*.wav", "an4": "*.sph", "LibriSpeech": "*.flac"}
        worst = []
        for corpus, pattern in corpora.items():
            paths = sorted(real_corpus(corpus).rglob(pattern))
            options = FeatureOptions(sampling_rate=soundfile.info(paths[0]).samplerate, num_mel_bins=40)
            _, extract = make_extractor(options)
            _, fallback = make_extractor(FeatureOptions(**{**vars(options), "extractor": "lhotse"}))
            for path in paths[:: len(paths) // 8][:8]:
                wave, _ = soundfile.read(path, dtype="float32")
                features = extract([wave])[0]
                worst.append(difference(features, kaldi(wave, options)))
                assert difference(features, fallback([wave])[0]) < 0.01
        assert np.median(worst) < 5e-4
        assert max(worst) < 1e-2

    @needs_kaldifeat
    @pytest.mark.parametrize("options", OPTIONS)
    def test_the_fallback_is_within_a_hundredth(self, options):
        _, extract = make_extractor(options)
        _, fallback = make_extractor(FeatureOptions(**{**vars(options), "extractor": "lhotse"}))
        for wave in signals(options.sampling_rate).values():
            assert difference(extract([wave])[0], fallback([wave])[0]) < 0.01

    @pytest.mark.parametrize("name", EXTRACTORS)
    def test_neighbours_in_a_batch_change_nothing(self, name):
        _, extract = make_extractor(FeatureOptions(extractor=name))
        waves = [wave[: 5000 + 3000 * place] for place, wave in enumerate(signals(16000).values())]
        together = extract(waves)
        assert all(difference(each, extract([wave])[0]) < 1e-5 for each, wave in zip(together, waves, strict=True))

    @pytest.mark.parametrize("name", EXTRACTORS)
    def test_samples_are_not_changed(self, name):
        wave = signals(16000)["offset"]
        before = wave.copy()
        make_extractor(FeatureOptions(extractor=name))[1]([wave])
        assert (wave == before).all()


class TestNumberOfFrames:
    @pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
    @pytest.mark.parametrize("name", EXTRACTORS)
    def test_it_is_known_beforehand(self, rate, name):
        options = FeatureOptions(sampling_rate=rate, num_mel_bins=23, extractor=name)
        _, extract = make_extractor(options)
        for samples in [shortest(options), shortest(options) + 1, *RNG.integers(rate // 4, rate, 20)]:
            [features] = extract([RNG.normal(0, 0.1, samples).astype(np.float32)])
            assert features.shape == (num_frames(samples, options), 23)
            assert features.dtype == np.float32

    def test_as_lhotse_counts_them(self):
        from lhotse.utils import compute_num_frames

        for samples in RNG.integers(800, 100_000, 200).tolist():
            assert num_frames(samples, FeatureOptions()) == compute_num_frames(samples / 16000, 0.01, 16000)


class TestChoice:
    def test_without_kaldifeat_lhotse_takes_over_with_a_warning(self, monkeypatch, caplog):
        monkeypatch.setitem(sys.modules, "kaldifeat", None)
        name, extract = make_extractor(FeatureOptions())
        assert name == "lhotse" and extract([signals(16000)["noise"]])[0].shape == (200, 80)
        assert "kaldifeat is not installed" in caplog.text

    def test_without_kaldifeat_asking_for_it_is_an_error(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "kaldifeat", None)
        with pytest.raises(EgretError, match=r"cannot be imported .*doctor.*--features.extractor lhotse"):
            make_extractor(FeatureOptions(extractor="kaldifeat"))

    @needs_kaldifeat
    def test_where_there_is_kaldifeat_it_is_taken_silently(self, caplog):
        assert make_extractor(FeatureOptions())[0] == "kaldifeat"
        assert caplog.text == ""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"sampling_rate": 8000, "high_freq": 8000.0},
            {"low_freq": 9000.0},
            {"high_freq": -8000.0},
            {"num_mel_bins": 400},
            {"sampling_rate": 8000, "num_mel_bins": 128},
            {"frame_length": 0.00005},
            {"frame_shift": 0.00001},
        ],
    )
    def test_options_that_contradict_each_other(self, wrong):
        """kaldifeat would abort the process."""
        with pytest.raises(UsageError, match="--features"):
            make_extractor(FeatureOptions(**wrong))

    @pytest.mark.parametrize("bins", [23, 40, 80, 100])
    def test_usual_options_are_right(self, bins):
        check(FeatureOptions(num_mel_bins=bins))


class TestRecordings:
    OPTIONS = FeatureOptions()

    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
    def test_samples_are_to_the_bit_those_of_libsndfile(self, tmp_path, subtype):
        import soundfile

        cut = recording(tmp_path)
        soundfile.write(tmp_path / "a.wav", np.append(RNG.uniform(-1, 1, 15_999), -1), 16000, subtype)
        expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
        samples = load_samples(cut, self.OPTIONS)
        assert samples.dtype == np.float32 and (samples == expected).all()

    def test_gone(self, tmp_path):
        cut = recording(tmp_path)
        (tmp_path / "a.wav").unlink()
        with pytest.raises(EgretError, match=r"a \(.*a\.wav\): missing.*run stage 0 again"):
            load_samples(cut, self.OPTIONS)

    def test_shorter_than_it_was(self, tmp_path):
        cut = recording(tmp_path)
        (tmp_path / "a.wav").unlink()
        recording(tmp_path, samples=8000)
        with pytest.raises(EgretError, match="run stage 0 again"):
            load_samples(cut, self.OPTIONS)

    def test_another_sampling_rate_than_it_had(self, tmp_path):
        cut = recording(tmp_path)
        (tmp_path / "a.wav").unlink()
        recording(tmp_path, rate=8000)
        with pytest.raises(EgretError, match="run stage 0 again"):
            load_samples(cut, self.OPTIONS)

    def test_no_recording_any_more(self, tmp_path):
        cut = recording(tmp_path)
        (tmp_path / "a.wav").write_text("hello")
        with pytest.raises(EgretError, match=r"a\.wav.*run stage 0 again"):
            load_samples(cut, self.OPTIONS)

    def test_another_sampling_rate_than_was_asked_for(self, tmp_path):
        with pytest.raises(EgretError, match="a: 8000 samples a second where --features.sampling-rate is 16000"):
            load_samples(recording(tmp_path, rate=8000), self.OPTIONS)

    def test_shorter_than_half_a_frame(self, tmp_path):
        with pytest.raises(EgretError, match="a: 199 samples are less than half a frame"):
            load_samples(recording(tmp_path, samples=199), self.OPTIONS)


class TestBatches:
    def test_every_cut_once_and_in_order(self, tmp_path):
        cuts = [recording(tmp_path, str(number), 4000) for number in range(7)]
        found = [cut["id"] for some, waves in batches(cuts, FeatureOptions(), seconds=0.6) for cut in some]
        assert found == [cut["id"] for cut in cuts]
        assert [len(some) for some, _ in batches(cuts, FeatureOptions(), seconds=0.6)] == [3, 3, 1]
        assert list(batches([], FeatureOptions())) == []

    def test_few_samples_are_in_memory_at_once(self, tmp_path):
        """Fifty seconds, five at a time: at most two batches of 320 kB are held, the last and the next."""
        recording(tmp_path, samples=16000)
        cuts = [recording(tmp_path, samples=16000)] * 50
        tracemalloc.start()
        seen = sum(len(some) for some, _ in batches(cuts, FeatureOptions(), seconds=5))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == 50
        assert peak < 1_200_000


@needs_kaldifeat
class TestFraming:
    """Frames are cut out and windowed here; kaldifeat does it too, only slower."""

    @pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100])
    def test_kaldifeat_alone_gives_the_same(self, rate):
        import kaldifeat
        import torch

        settings = kaldifeat.FbankOptions()
        settings.frame_opts.samp_freq = rate
        settings.frame_opts.dither = 0
        settings.frame_opts.snip_edges = False
        settings.mel_opts.num_bins = 23
        settings.mel_opts.high_freq = -400
        alone = kaldifeat.Fbank(settings)
        wave = RNG.normal(0.05, 0.1, 6 * rate).astype(np.float32)
        _, extract = make_extractor(FeatureOptions(sampling_rate=rate, num_mel_bins=23))
        # More frames than are done at a time, one more and one less than fills them, and few.
        seconds = [6.0, 4.006, 4.0, 3.994, 0.1, 0.03]
        waves = [wave[: round(rate * length)] for length in seconds]
        for given, found in zip(waves, extract(waves), strict=True):
            assert difference(found, alone(torch.from_numpy(given)).numpy()) < 2e-3

    def test_dither_is_noise_of_the_size_asked_for(self):
        options = FeatureOptions(dither=0.01)
        [found] = make_extractor(options)[1]([np.zeros(80000, np.float32)])
        [expected] = make_extractor(FeatureOptions())[1]([RNG.normal(0, 0.01, 80000).astype(np.float32)])
        assert abs(found.mean() - expected.mean()) < 0.1


class TestStats:
    FRAMES = RNG.normal([-3, 0, 5], [0.1, 1, 4], (1000, 3)).astype(np.float32)

    def test_mean_and_deviation_are_numpys(self):
        stats = Stats.zero(3)
        for part in np.array_split(self.FRAMES, 7):
            stats.add(part)
        mean, deviation = stats.mean_and_deviation()
        assert mean.dtype == deviation.dtype == np.float32
        np.testing.assert_allclose(mean, self.FRAMES.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(deviation, self.FRAMES.std(axis=0, dtype=np.float64), rtol=1e-6)

    def test_parts_can_be_added_and_stored(self, tmp_path):
        first, second = Stats.zero(3), Stats.zero(3)
        first.add(self.FRAMES[:300])
        second.add(self.FRAMES[300:])
        (first + second).save(tmp_path / "a.safetensors")
        found = Stats.load(tmp_path / "a.safetensors")
        assert found.frames == 1000
        np.testing.assert_allclose(found.mean_and_deviation()[1], self.FRAMES.std(axis=0, dtype=np.float64), rtol=1e-6)

    def test_a_missing_file_is_an_error_that_says_what_makes_it(self, tmp_path):
        with pytest.raises(EgretError, match=r"a\.safetensors: no such statistics; .*stage 1"):
            Stats.load(tmp_path / "a.safetensors")

    @pytest.mark.parametrize("kept", [0, 4, 100, -1])
    def test_a_truncated_file_is_an_error_that_names_it(self, tmp_path, kept):
        Stats.zero(3).save(tmp_path / "a.safetensors")
        content = (tmp_path / "a.safetensors").read_bytes()
        (tmp_path / "a.safetensors").write_bytes(content[:kept])
        with pytest.raises(EgretError, match=r"a\.safetensors: not whole"):
            Stats.load(tmp_path / "a.safetensors")

    def test_another_safetensors_file_holds_no_statistics(self, tmp_path):
        from safetensors.numpy import save_file

        save_file({"weight": np.zeros(3)}, tmp_path / "w.safetensors")
        with pytest.raises(EgretError, match=r"w\.safetensors: not whole"):
            Stats.load(tmp_path / "w.safetensors")

    def test_features_that_never_change_do_not_divide_by_zero(self):
        stats = Stats.zero(3)
        stats.add(np.ones((10, 3), np.float32))
        assert (stats.mean_and_deviation()[1] > 0).all()

    def test_no_frames(self):
        with pytest.raises(EgretError, match="no frames"):
            Stats.zero(3).mean_and_deviation()


def test_importing_the_step_imports_nothing_slow():
    """So that "up to date" takes no second."""
    step = Path(extractor.__file__).parents[2] / "steps" / "extract_features.py"
    code = (
        f"import runpy, sys; runpy.run_path({str(step)!r}); "
        "print([name for name in ('torch', 'lhotse', 'numpy', 'kaldifeat', 'soundfile') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=step.parents[1])
    assert done.stdout.strip() == "[]"

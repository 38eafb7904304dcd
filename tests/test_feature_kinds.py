"""Cepstra and spectrograms against plain implementations in 64 bits, and what tells kinds of features apart."""

import json
import math

import numpy as np
import pytest

from egret.base.errors import EgretError, UsageError
from egret.features.batching import Inputs
from egret.features.extractor import make_extractor
from egret.features.made import kind_trained_on, made_with, refuse_other_options, refuse_others
from egret.features.mfcc import with_differences
from egret.features.options import FeatureOptions, name_of, num_frames, shortest

RNG = np.random.default_rng(1)
ASRT = FeatureOptions(kind="spectrogram", full_scale=32768, bins=200)
MINDAUDIO = FeatureOptions(kind="spectrogram", frame_length=0.02)
PADDLE = FeatureOptions(kind="spectrogram", frame_length=0.02, window="hann", scale="log_power")
TELEPHONE = FeatureOptions(kind="spectrogram", frame_length=0.02, sampling_rate=8000)
MFCC = FeatureOptions(kind="mfcc", num_mel_bins=23, deltas=2)


def signals(rate):
    """What recordings are made of, in 16 bits."""
    time = np.arange(rate) / rate
    made = {
        "noise": RNG.normal(0, 0.1, len(time)),
        "faint noise": RNG.normal(0, 1e-4, len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "offset": 0.5 + RNG.normal(0, 0.01, len(time)),
        "silence": np.zeros(len(time)),
    }
    return {name: (np.round(wave * 32767) / 32768).astype(np.float32) for name, wave in made.items()}


def spectrogram(wave, length, shift, window, scale, full_scale, rate):
    """A frame after the other, by NumPy."""
    padded = np.pad(wave.astype(np.float64), ((length - shift) // 2, length), mode="symmetric") * full_scale
    weights = {"hamming": np.hamming, "hann": np.hanning}[window](length)
    frames = []
    for first in range(0, round(len(wave) / shift) * shift, shift):
        magnitude = np.abs(np.fft.rfft(padded[first : first + length] * weights))
        if scale == "log1p":
            frames.append(np.log1p(magnitude))
            continue
        density = magnitude**2 / (weights @ weights * rate)
        density[1 : None if length % 2 else -1] *= 2
        frames.append(np.log(density + 1e-14))
    return np.array(frames)


class TestSpectrogram:
    @pytest.mark.parametrize("name", list(signals(8000)))
    @pytest.mark.parametrize("options", [ASRT, MINDAUDIO, PADDLE, TELEPHONE])
    def test_it_is_numpys(self, options, name):
        wave = signals(options.sampling_rate)[name]
        about = [*options.frame_samples, options.window, options.scale, options.full_scale, options.sampling_rate]
        expected = spectrogram(wave, *about)[:, : options.dim]
        [found] = make_extractor(options)[1]([wave])
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)

    def test_a_frame_of_an_odd_number_of_samples(self):
        options = FeatureOptions(kind="spectrogram", frame_length=0.025, sampling_rate=11000, scale="log_power")
        wave = signals(11000)["noise"]
        assert options.frame_samples == (275, 110) and options.dim == 138
        expected = spectrogram(wave, 275, 110, "hamming", "log_power", 1, 11000)
        np.testing.assert_allclose(make_extractor(options)[1]([wave])[0], expected, atol=1e-5, rtol=0)

    def test_the_numbers_of_the_published_systems(self):
        assert [options.dim for options in (ASRT, MINDAUDIO, PADDLE, TELEPHONE)] == [200, 161, 161, 81]

    def test_more_bins_than_there_are(self):
        with pytest.raises(UsageError, match="bins 200: frames of 0.025 s at 8000 samples a second have 101"):
            make_extractor(FeatureOptions(kind="spectrogram", bins=200, sampling_rate=8000))

    def test_dither_is_noise_of_the_size_asked_for(self):
        wave = np.zeros(80000, np.float32)
        [found] = make_extractor(FeatureOptions(kind="spectrogram", dither=0.01))[1]([wave])
        noise = RNG.normal(0, 0.01, 80000).astype(np.float32)
        [expected] = make_extractor(FeatureOptions(kind="spectrogram"))[1]([noise])
        assert abs(found.mean() - expected.mean()) < 0.01


class TestCepstra:
    @pytest.mark.parametrize("rate", [8000, 16000])
    def test_they_are_those_of_kaldi(self, rate):
        knf = pytest.importorskip("kaldi_native_fbank")
        settings = knf.MfccOptions()
        settings.frame_opts.samp_freq = rate
        settings.frame_opts.dither = 0
        settings.frame_opts.snip_edges = False
        settings.mel_opts.num_bins = 23
        settings.mel_opts.high_freq = -400
        settings.num_ceps = 13
        settings.use_energy = False
        wave = signals(rate)["noise"]
        online = knf.OnlineMfcc(settings)
        online.accept_waveform(rate, wave)
        online.input_finished()
        expected = np.stack([online.get_frame(frame) for frame in range(online.num_frames_ready)])
        options = FeatureOptions(kind="mfcc", num_mel_bins=23, sampling_rate=rate)
        [found] = make_extractor(options)[1]([wave])
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_differences_are_slopes(self):
        line = np.arange(30, dtype=np.float32)[:, None] * [[2.0, -1.0]]
        found = with_differences(line.astype(np.float32), 2)
        assert found.shape == (30, 6)
        np.testing.assert_allclose(found[4:-4, 2:], [[2, -1, 0, 0]] * 22, atol=1e-5)

    def test_beyond_the_ends_the_outermost_frames_stay(self):
        features = RNG.normal(size=(3, 1)).astype(np.float32)
        x = features[:, 0]
        due = (2 * (x[2] - x[0]) + (x[1] - x[0])) / 10
        assert math.isclose(with_differences(features, 1)[0, 1], due, rel_tol=1e-5)

    def test_second_differences_are_differences_of_differences(self):
        features = RNG.normal(size=(20, 2)).astype(np.float32)
        once = with_differences(features, 1)[:, 2:]
        twice = with_differences(once, 1)[:, 2:]
        np.testing.assert_allclose(with_differences(features, 2)[4:-4, 4:], twice[4:-4], atol=1e-5)

    def test_the_numbers_of_the_published_systems(self):
        assert FeatureOptions(kind="mfcc").dim == 13 and MFCC.dim == 39

    def test_more_cepstra_than_filters(self):
        with pytest.raises(UsageError, match="--features.num-ceps 13: more than --features.num-mel-bins 10"):
            FeatureOptions(kind="mfcc", num_mel_bins=10)


class TestEveryKind:
    KINDS = (FeatureOptions(), MFCC, ASRT, PADDLE)

    @pytest.mark.parametrize("options", KINDS)
    def test_the_number_of_frames_is_known_beforehand(self, options):
        _, extract = make_extractor(options)
        for samples in [shortest(options), shortest(options) + 1, *RNG.integers(400, 16000, 10)]:
            [found] = extract([RNG.normal(0, 0.1, samples).astype(np.float32)])
            assert found.shape == (num_frames(samples, options), options.dim) and found.dtype == np.float32

    @pytest.mark.parametrize("options", KINDS)
    def test_neighbours_in_a_batch_change_nothing(self, options):
        _, extract = make_extractor(options)
        waves = [RNG.normal(0, 0.1, samples).astype(np.float32) for samples in (5000, 70000, 399)]
        for wave, found in zip(waves, extract(waves), strict=True):
            np.testing.assert_allclose(found, extract([wave])[0], atol=1e-4)

    @pytest.mark.parametrize(
        ("kind", "other"),
        [("fbank", {"num_ceps": 20}), ("fbank", {"bins": 100}), ("mfcc", {"window": "hann"}),
         ("spectrogram", {"num_mel_bins": 40}), ("spectrogram", {"deltas": 1}),
         ("spectrogram", {"extractor": "lhotse"})],
    )  # fmt: skip
    def test_an_option_of_another_kind_is_refused(self, kind, other):
        option = next(iter(other)).replace("_", "-")
        with pytest.raises(UsageError, match=f"--features.{option} goes with --features.kind .*, not with {kind}"):
            FeatureOptions(kind=kind, **other)


def stored(options, extractor="torch", **more):
    """A cut with features of these options."""
    place = {"type": f"{extractor}-{options.name}", "num_features": options.dim, "num_frames": 7,
             "frame_shift": options.frame_shift, "sampling_rate": options.sampling_rate}  # fmt: skip
    return {"id": "a", "features": {**place, **more}}


class TestStored:
    def test_names(self):
        assert [each.name for each in TestEveryKind.KINDS] == ["fbank", "mfcc", "log1p-spectrogram",
                                                               "log_power-spectrogram"]  # fmt: skip

    def test_who_computed_them_does_not_matter(self):
        assert name_of("kaldifeat-fbank") == name_of("lhotse-fbank") == name_of("kaldi-fbank") == "fbank"
        assert name_of("whisper-fbank") == "whisper-fbank"

    @pytest.mark.parametrize("options", [ASRT, MINDAUDIO, PADDLE, MFCC])
    def test_what_is_wanted_is_found(self, options):
        assert Inputs(options=options).shape(stored(options)) == (7, options.dim, options.name)

    def test_the_sampling_rate_is_the_corpus_own(self):
        refuse_others(stored(TELEPHONE), MINDAUDIO)

    @pytest.mark.parametrize(
        ("found", "wanted"),
        [(FeatureOptions(), ASRT), (MINDAUDIO, ASRT), (PADDLE, MINDAUDIO), (ASRT, FeatureOptions(num_mel_bins=40)),
         (MFCC, FeatureOptions(kind="mfcc")), (MINDAUDIO, TELEPHONE)],
    )  # fmt: skip
    def test_others_are_refused(self, found, wanted):
        says = rf"a has {found.dim} features of {found.name}, .* {wanted.dim} of {wanted.name}, .*--features PRESET"
        with pytest.raises(EgretError, match=says):
            Inputs(options=wanted).shape(stored(found))

    def test_another_frame_shift_is_refused(self):
        with pytest.raises(EgretError, match=r"0\.02 s apart"):
            refuse_others(stored(ASRT, frame_shift=0.02), ASRT)

    def test_without_a_wish_any_will_do(self):
        assert Inputs().shape(stored(ASRT)) == (7, 200, "log1p-spectrogram")

    @pytest.fixture
    def manifest(self, tmp_path):
        (tmp_path / "report.json").write_text(json.dumps({"features": vars(MINDAUDIO)}))
        return tmp_path / "train.jsonl"

    def test_stage_1_says_what_they_were_made_with(self, manifest):
        assert made_with(manifest) == MINDAUDIO

    def test_options_that_the_manifest_does_not_show(self, manifest):
        other = FeatureOptions(kind="spectrogram", frame_length=0.02, window="hann", full_scale=2)
        with pytest.raises(EgretError, match=r"window hamming -> hann; full_scale 1\.0 -> 2"):
            refuse_other_options(manifest, other)

    def test_the_same_options(self, manifest):
        refuse_other_options(manifest, MINDAUDIO)

    def test_features_of_others_have_no_report(self, tmp_path):
        assert made_with(tmp_path / "train.jsonl") is None
        refuse_other_options(tmp_path / "train.jsonl", ASRT)

    def test_a_model_knows_what_it_was_trained_on(self):
        assert kind_trained_on({"feature_options": vars(ASRT)}) == "log1p-spectrogram"
        assert kind_trained_on({"feature_options": None}) is kind_trained_on({}) is None

"""Speed perturbation: the resampler against a pure tone and torchaudio's, cuts against Lhotse's."""

import math

import numpy as np
import pytest

from egret.base.errors import UsageError
from egret.features.speed import check_speeds, perturb, perturb_cut, perturbed_samples

RATE = 16000
RNG = np.random.default_rng(1)
SPEEDS = [0.5, 0.75, 0.9, 0.95, 1.05, 1.1, 1.25, 2.0]


def tone(frequency: float, samples: int = 8000) -> np.ndarray:
    return np.sin(2 * np.pi * frequency / RATE * np.arange(samples)).astype(np.float32)


class TestSamples:
    @pytest.mark.parametrize("speed", SPEEDS)
    def test_a_tone_is_shorter_and_higher(self, speed):
        found = perturb(tone(1000), speed)
        expected = tone(1000 * speed, len(found))
        inner = slice(100, -100)
        assert len(found) == round(8000 / speed)
        assert np.abs(found[inner] - expected[inner]).max() < 0.01

    def test_what_would_be_above_the_nyquist_frequency_is_gone(self):
        """At double speed a tone of 6 kHz would come out at 4 kHz."""
        assert np.abs(perturb(tone(6000), 2.0)[100:-100]).max() < 0.02

    @pytest.mark.parametrize("speed", SPEEDS)
    def test_torchaudio_gives_the_same(self, speed):
        resample = pytest.importorskip("torchaudio").functional.resample
        import torch

        noise = RNG.normal(0, 0.1, 5001).astype(np.float32)
        found = perturb(noise, speed)
        expected = resample(torch.from_numpy(noise), round(speed * 100), 100).numpy()
        shared = min(len(found), len(expected))
        assert shared >= len(found) - 1
        np.testing.assert_allclose(found[:shared], expected[:shared], atol=2e-5)

    def test_speed_one_changes_nothing(self):
        noise = RNG.normal(0, 0.1, 999).astype(np.float32)
        assert (perturb(noise, 1.0) == noise).all()

    @pytest.mark.parametrize("samples", [1, 2, 9, 10, 11, 100])
    def test_few_samples(self, samples):
        for speed in SPEEDS:
            assert len(perturb(np.ones(samples, np.float32), speed)) == perturbed_samples(samples, speed)


class TestCuts:
    @pytest.fixture
    def cut(self):
        """Half a second of a recording, with an alignment, as Lhotse writes it."""
        from lhotse import MonoCut, Recording, SupervisionSegment
        from lhotse.audio import AudioSource
        from lhotse.supervision import AlignmentItem

        words = {"word": [AlignmentItem("YES", 0.05, 0.2, 0.5), AlignmentItem("NO", 0.25, 0.21)]}
        spoken = SupervisionSegment("s", "r", 0.01, 0.45, text="YES NO", speaker="ann", alignment=words)
        recording = Recording("r", [AudioSource("file", [0], "r.wav")], RATE, 16001, 16001 / RATE)
        return MonoCut("c", 0.1, 0.5, 0, supervisions=[spoken], recording=recording, custom={"crc32": 3})

    @pytest.mark.parametrize("speed", SPEEDS)
    def test_it_is_lhotses(self, cut, speed):
        from lhotse import MonoCut

        assert MonoCut.from_dict(perturb_cut(cut.to_dict(), speed)) == MonoCut.from_dict(
            cut.perturb_speed(speed).to_dict()
        )

    def test_text_and_speaker_are_kept(self, cut):
        [spoken] = perturb_cut(cut.to_dict(), 0.9)["supervisions"]
        assert (spoken["text"], spoken["speaker"]) == ("YES NO", "ann")

    def test_the_cut_that_was_given_is_not_changed(self, cut):
        given = cut.to_dict()
        perturb_cut(given, 0.9)
        assert given == cut.to_dict()

    @pytest.mark.parametrize("speed", SPEEDS)
    def test_lengths_are_lhotses(self, speed):
        from lhotse.utils import perturb_num_samples

        assert all(perturbed_samples(n, speed) == perturb_num_samples(n, speed) for n in range(1, 400))


@pytest.mark.parametrize("speeds", [[], [1.0, 1.0], [math.pi / 3]])
def test_speeds_that_cannot_be_used(speeds):
    with pytest.raises(UsageError, match="--speeds"):
        check_speeds(speeds)

"""A recording at another rate is the same sound, whatever blocks it comes in."""

import numpy as np
import pytest

from egret.corpus.resample import Resampler

RATES = [(44100, 16000), (8000, 16000), (48000, 16000), (11025, 16000), (16000, 8000), (15999, 16000)]


def tone(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32) / 2


def resampled(samples: np.ndarray, rate: int, to: int, block: int = 1 << 20) -> np.ndarray:
    resampler = Resampler(rate, to)
    parts = [resampler.feed(samples[start : start + block]) for start in range(0, len(samples), block)]
    return np.concatenate([*parts, resampler.finish()])


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_a_tone_stays_that_tone(rate: int, to: int):
    made, expected = resampled(tone(1000, rate), rate, to), tone(1000, to)
    assert np.abs(made - expected)[200:-200].max() < 1e-4


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_the_length_is_that_of_the_recording(rate: int, to: int):
    assert len(resampled(np.ones(12345, np.float32), rate, to)) == -(-12345 * to // rate)


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_blocks_make_no_difference(rate: int, to: int):
    samples = np.random.RandomState(1).randn(5000).astype(np.float32)
    assert np.array_equal(resampled(samples, rate, to), resampled(samples, rate, to, block=7))


def test_what_the_lower_rate_cannot_hold_is_gone():
    assert np.abs(resampled(tone(9000, 44100), 44100, 16000)[300:-300]).max() < 1e-3


def test_a_recording_of_one_sample_is_resampled():
    assert len(resampled(np.ones(1, np.float32), 8000, 16000)) == 2

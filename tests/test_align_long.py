"""Long recordings: bounded memory finds the same path, chunks are heard as the whole is, segments are as asked."""

import math
from pathlib import Path

import lhotse
import numpy as np
import pytest
import torch

from egret.alignment import long
from egret.alignment.leave import Files
from egret.alignment.long import align_long, heard_in_chunks
from egret.alignment.options import AlignOptions, SegmentOptions
from egret.alignment.segments import as_cut, divide
from egret.graph.automaton import Automaton, expand
from egret.graph.viterbi import align_batch
from folders import make_experiment, make_lang
from test_alignment import LEXICON, random_log_probs

# The path


def long_text(seed: int, words: int) -> Automaton:
    """Words of one to three tokens in two pronunciations, with optional silence between."""
    random = np.random.default_rng(seed)
    word = lambda: random.integers(1, 4, random.integers(1, 4)).tolist()  # noqa: E731
    slots = [[[], [4]]]
    for _ in range(words):
        slots += [[word(), word()], [[], [4]]]
    return expand(slots)


@pytest.mark.parametrize("frames", [1, 2, 17, 100, 150])
def test_without_a_beam_the_path_is_the_best_one(frames: int):
    automaton = long_text(frames, frames // 6 + (frames > 1))
    log_probs = random_log_probs(1, max(frames, automaton.frames), 5)
    [expected] = align_batch(log_probs[None], [len(log_probs)], [automaton])
    assert align_long(log_probs, automaton) == expected


def test_a_beam_that_holds_the_best_path_changes_nothing():
    automaton = long_text(0, 30)
    log_probs = random_log_probs(1, 200, 5)
    assert align_long(log_probs, automaton, 40.0) == align_long(log_probs, automaton)


def test_a_beam_saves_work(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    step = long._Search.step

    def counted(self, *arguments):
        found = step(self, *arguments)
        sizes.append(len(found[1]))
        return found

    monkeypatch.setattr(long._Search, "step", counted)
    automaton, log_probs = long_text(0, 30), random_log_probs(1, 200, 5) * 3
    align_long(log_probs, automaton)
    whole = sum(sizes)
    sizes.clear()
    align_long(log_probs, automaton, 10.0)
    assert sum(sizes) < whole / 2


def test_where_the_beam_leaves_no_path_it_is_widened():
    automaton = long_text(0, 30)
    log_probs = random_log_probs(1, automaton.frames, 5)  # not a frame to spare
    assert align_long(log_probs, automaton, 0.01) == align_long(log_probs, automaton)


def test_a_text_without_probability_has_no_path():
    log_probs = np.log([[0.5, 0.5, 1e-300]] * 4)
    log_probs[:, 2] = -np.inf
    assert align_long(log_probs, expand([[[2]]]), 10.0).score == -np.inf


# The encoder


@pytest.fixture
def model(tmp_path: Path):
    return make_experiment(tmp_path / "exp", make_lang(tmp_path / "lang", LEXICON))


@pytest.mark.parametrize(("chunk", "at_once"), [(10, 1), (16, 3), (7, 100), (1000, 1)])
def test_chunks_are_heard_as_the_whole_is(model, chunk: int, at_once: int):
    features = torch.randn(101, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(features[None], torch.tensor([101]))[0][0].numpy()
    found = heard_in_chunks(model, features.numpy(), chunk, 8, at_once, "")
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() < 1e-4


def test_without_overlap_they_are_not(model):
    features = torch.randn(100, 8, generator=torch.Generator().manual_seed(1)).numpy()
    whole = heard_in_chunks(model, features, 1000, 0, 1, "")
    assert np.abs(heard_in_chunks(model, features, 20, 0, 1, "") - whole).max() > 0.1


# Segments


def words_at(*extents: tuple[float, float]) -> list[dict]:
    return [{"word": f"w{place}", "start": start, "duration": round(end - start, 3), "confidence": 0.5,
             "agreement": 1 - place / 1000} for place, (start, end) in enumerate(extents)]  # fmt: skip


def bounds(words: list[dict], duration: float, **options: float) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in divide(words, duration, SegmentOptions(**options))]


def test_what_is_short_enough_is_one_segment():
    assert bounds(words_at((1, 2), (4, 5), (8, 9)), 10, max_seconds=10) == [(0, 3)]


def test_a_recording_is_divided_at_its_longest_pause():
    words = words_at((1, 2), (2.4, 4), (5, 6), (6.4, 9))
    assert bounds(words, 10, max_seconds=6) == [(0, 2), (2, 4)]


def test_no_segment_is_longer_than_asked():
    words = words_at(*((place * 0.5, place * 0.5 + 0.4) for place in range(200)))
    segments = divide(words, 100, SegmentOptions(max_seconds=7))
    assert max(each.end - each.start for each in segments) <= 7
    assert [each.first for each in segments[1:]] == [each.last for each in segments[:-1]]
    assert len(segments) == math.ceil(100 / 7)


def test_segments_end_in_pauses_and_do_not_overlap():
    first, second = divide(words_at((1, 2), (2.2, 3), (9, 10)), 12, SegmentOptions(max_seconds=4, margin=0.5))
    assert (first.start, first.end, second.start, second.end) == (0.5, 3.5, 8.5, 10.5)


def test_a_word_that_is_too_long_is_a_segment_by_itself():
    assert bounds(words_at((0, 1), (1.5, 30), (31, 32)), 40, max_seconds=5) == [(0, 1), (1, 2), (2, 3)]


def test_doubtful_words_and_those_beside_them_are_kept_apart():
    words = words_at(*((place, place + 0.8) for place in range(9)))
    words[4]["agreement"] = 0.01
    segments = divide(words, 10, SegmentOptions(min_agreement=0.05))
    assert [(each.first, each.last, each.doubtful) for each in segments] == [
        (0, 3, False), (3, 6, True), (6, 9, False)
    ]  # fmt: skip


def test_lhotse_reads_a_segment(tmp_path: Path):
    recording = lhotse.Recording("tape", [], 16000, 16000 * 60, 60.0).to_dict()
    cut = {"id": "tape", "start": 10.0, "duration": 40.0, "channel": 0, "recording": recording,
           "supervisions": [{"id": "tape", "start": 0, "text": "w0 w1", "speaker": "s"}]}  # fmt: skip
    words = words_at((1, 2), (2.5, 3))
    [segment] = divide(words, 40.0, SegmentOptions(margin=0.2))
    read = lhotse.MonoCut.from_dict(as_cut(cut, 1, segment, words))
    [said] = read.supervisions
    assert (read.start, read.duration, said.text, said.speaker) == (10.8, 2.4, "w0 w1", "s")
    assert [(item.symbol, item.start, item.end) for item in said.alignment["word"]] == [
        ("w0", 0.2, 1.2), ("w1", 1.7, 2.2)
    ]  # fmt: skip
    assert read.custom["confidence"] == 0.999
    assert said.custom is None


def test_a_segment_says_which_units_were_spoken_in_it(tmp_path: Path):
    files = Files(AlignOptions(experiment=tmp_path, lang=tmp_path, cuts=tmp_path, out=tmp_path, long=True,
                               segment=SegmentOptions(max_seconds=10)), "syllables")  # fmt: skip
    supervision = {"id": "tape", "start": 0, "text": "一 行", "custom": {"syllables": "yi1 hang2"}}
    recording = {"id": "tape", "sampling_rate": 16000, "num_samples": 640000, "duration": 40.0}
    cut = {"id": "tape", "start": 0.0, "duration": 40.0, "channel": 0, "supervisions": [supervision],
           "recording": recording}  # fmt: skip
    words = words_at((1, 2), (30, 31))
    tokens = [{"token": "yi1", "word": 0}, {"token": "SIL", "word": None}, {"token": "hang2", "word": 1}]
    files._cut_up(cut, {"words": words, "tokens": tokens})
    assert [each["supervisions"][0]["custom"] for each in files.segments] == [
        {"syllables": "yi1"}, {"syllables": "hang2"}
    ]  # fmt: skip

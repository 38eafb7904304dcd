"""Forced alignment against the best of all paths, enumerated."""

import math
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from egret.alignment.viterbi import Alignment, align, plain
from egret.base.errors import EgretError
from egret.lang.transcript import Transcripts
from folders import make_lang


def random_log_probs(seed: int, frames: int, tokens: int = 4) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=(frames, tokens)) * 2
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def spelled(path: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of a CTC path: repeats merged, blanks dropped."""
    return tuple(now for before, now in pairwise((0, *path)) if now != before and now)


def best_score(log_probs: np.ndarray, texts: set[tuple[int, ...]]) -> float:
    """The log probability of the best of all V^T paths that spell one of the texts."""
    frames, tokens = log_probs.shape
    paths = (path for path in product(range(tokens), repeat=frames) if spelled(path) in texts)
    return max(sum(log_probs[t, token] for t, token in enumerate(path)) for path in paths)


def path_of(found: Alignment, frames: int) -> tuple[int, ...]:
    """The path that an alignment stands for."""
    path = [0] * frames
    for span in found.spans:
        path[span.start : span.end] = [span.token] * (span.end - span.start)
    return tuple(path)


@pytest.mark.parametrize("tokens", [(), (1,), (1, 2), (1, 1), (2, 3, 2), (3, 3, 1), (1, 1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_of_all_that_spell_the_tokens(tokens: tuple[int, ...], seed: int):
    log_probs = random_log_probs(seed, 6)
    found = align(log_probs, plain(tokens))
    path = path_of(found, 6)
    assert spelled(path) == tokens
    assert sum(log_probs[t, token] for t, token in enumerate(path)) == pytest.approx(found.score)
    assert found.score == pytest.approx(best_score(log_probs, {tokens}))


@pytest.mark.parametrize("seed", range(6))
def test_of_alternatives_the_most_probable_is_taken(seed: int):
    log_probs = random_log_probs(seed, 6)
    slots = [[[], [3]], [[1], [2, 1]], [[], [3]], [[1]]]
    texts = {(*first, *word, *middle, 1) for first in [(), (3,)] for word in [(1,), (2, 1)] for middle in [(), (3,)]}
    assert align(log_probs, slots).score == pytest.approx(best_score(log_probs, texts))


def test_equal_tokens_on_both_sides_of_a_silence_left_out_are_kept_apart():
    log_probs = np.log(np.array([[0.1, 0.9, 0.0], [0.1, 0.9, 0.0], [0.1, 0.9, 0.0]]) + 1e-9)
    found = align(log_probs, [[[1]], [[], [2]], [[1]]])
    assert [(span.token, span.start, span.end) for span in found.spans] == [(1, 0, 1), (1, 2, 3)]


def test_a_tokens_score_is_its_mean_log_probability():
    log_probs = np.log(np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]]))
    (span,) = align(log_probs, plain([1])).spans
    assert (span.start, span.end) == (1, 3)
    assert span.score == pytest.approx((math.log(0.9) + math.log(0.8)) / 2)


@pytest.mark.parametrize(("tokens", "needed"), [([1, 2, 3], 3), ([1, 1], 3), ([2, 2, 2], 5)])
def test_too_few_frames_for_tokens_and_repeats_are_refused(tokens: list[int], needed: int):
    align(random_log_probs(0, needed), plain(tokens))
    with pytest.raises(EgretError, match=rf"{needed - 1} frames, the tokens and their repeats need {needed}"):
        align(random_log_probs(0, needed - 1), plain(tokens))


def test_a_token_without_probability_is_refused():
    log_probs = np.array([[0.0, -np.inf]] * 3)
    with pytest.raises(EgretError, match="no probability"):
        align(log_probs, plain([1]))


LEXICON = [("A", ["EY"]), ("A", ["AH"]), ("BEE", ["B", "IY"])]


def test_a_word_may_be_heard_in_any_pronunciation_with_silence_around_it(tmp_path: Path):
    lang = make_lang(tmp_path, LEXICON, silence="SIL")
    spoken = ["SIL", "AH", "B", "IY"]
    log_probs = np.log(np.full((4, len(lang.units)), 0.01))
    log_probs[range(4), [lang.tokens[name] for name in spoken]] = np.log(0.9)
    found = align(log_probs, Transcripts(lang).slots("A BEE"))
    assert [lang.units[span.token] for span in found.spans] == spoken


def test_a_lexicon_without_silence_has_none(tmp_path: Path):
    lang = make_lang(tmp_path, LEXICON)
    assert Transcripts(lang).slots("BEE") == [[[lang.tokens["B"], lang.tokens["IY"]]]]


def test_a_word_outside_the_lexicon_is_heard_as_the_one_that_stands_for_such(tmp_path: Path):
    lang = make_lang(tmp_path, LEXICON, oov="BEE")
    assert Transcripts(lang).slots("COW") == Transcripts(lang).slots("BEE")


def test_a_word_that_nothing_stands_for_is_named(tmp_path: Path):
    lang = make_lang(tmp_path, LEXICON)
    with pytest.raises(EgretError, match="COW"):
        Transcripts(lang).slots("COW")

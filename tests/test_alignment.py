"""Forced alignment against the best of all paths, enumerated."""

import math
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignments import read_textgrid
from egret.alignment.outputs import ctm, textgrid, textgrid_name
from egret.alignment.text import Texts
from egret.alignment.timed import timed
from egret.base.errors import EgretError
from egret.graph.automaton import Automaton, expand, plain
from egret.graph.clock import Clock
from egret.graph.viterbi import Alignment, align, align_batch
from egret.lang.lang import Lang
from egret.lang.transcript import Transcripts
from folders import make_lang, step_module


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


# Many utterances at once


def test_a_text_is_aligned_by_the_modified_topology_where_that_is_asked_for():
    log_probs = np.log(np.array([[0.1, 0.9], [0.2, 0.8]], np.float32))
    with pytest.raises(EgretError, match="too short to align"):
        align(log_probs, plain([1, 1]))
    assert [span.token for span in align(log_probs, plain([1, 1]), modified=True).spans] == [1, 1]


def some_utterances() -> tuple[np.ndarray, list[int], list[Automaton]]:
    """Log probabilities [3, T, V] that end with anything, lengths, and automata of different sizes."""
    slots = [plain([1, 2, 1]), [[[], [3]], [[1], [2, 1], [1, 2, 3]], [[], [3]], [[1]]], plain([3])]
    log_probs = np.stack([random_log_probs(seed, 12) for seed in range(3)])
    return log_probs, [12, 7, 5], [expand(each) for each in slots]


def test_the_padding_of_a_batch_changes_nothing():
    log_probs, lengths, automata = some_utterances()
    together = align_batch(log_probs, lengths, automata)
    alone = [align_batch(log_probs[row : row + 1, :length], [length], [automata[row]])[0]
             for row, length in enumerate(lengths)]  # fmt: skip
    assert together == alone


def test_what_lies_beyond_the_end_may_be_no_number():
    log_probs, lengths, automata = some_utterances()
    expected = align_batch(log_probs, lengths, automata)
    for row, length in enumerate(lengths):
        log_probs[row, length:] = np.nan
    assert align_batch(log_probs, lengths, automata) == expected


def test_one_without_a_path_does_not_disturb_the_others():
    log_probs, lengths, automata = some_utterances()
    expected = align_batch(log_probs, lengths, automata)
    log_probs[0, :, 2] = -np.inf
    found = align_batch(log_probs, lengths, automata)
    assert found[0].score == -np.inf
    assert found[1:] == expected[1:]


def test_a_span_knows_its_slot():
    log_probs = np.log(np.full((3, 4), 0.1))
    log_probs[range(3), [3, 2, 1]] = np.log(0.7)
    found = align(log_probs, [[[], [3]], [[1], [2, 1]], [[], [3]]])
    assert [(span.token, span.slot) for span in found.spans] == [(3, 0), (2, 1), (1, 1)]


def test_by_the_modified_topology_equal_neighbours_need_no_blank():
    log_probs = random_log_probs(0, 2)
    [found] = align_batch(log_probs[None], [2], [expand(plain([1, 1]), modified=True)])
    assert [(span.start, span.end) for span in found.spans] == [(0, 1), (1, 2)]


# Words


def test_slots_belong_to_words_and_silences_to_none(tmp_path: Path):
    text = Texts(make_lang(tmp_path, LEXICON, silence="SIL")).read("A BEE")
    assert (text.words, text.owners) == (["A", "BEE"], [-1, 0, -1, 1, -1])


def test_without_silence_each_slot_is_a_word(tmp_path: Path):
    assert Texts(make_lang(tmp_path, LEXICON)).read("BEE A").owners == [0, 1]


def prepared(folder: Path, lexicon: str, **options: Any) -> Lang:
    """A lang folder of any kind of units."""
    prepare = step_module("prepare_lang")
    (folder / "words.txt").write_text(lexicon)
    prepare.run(prepare.Options(lexicon=folder / "words.txt", out=folder / "lang", **options))
    return Lang.read(folder / "lang")


def test_spelled_words_are_parted_by_boundaries_that_belong_to_none(tmp_path: Path):
    text = Texts(prepared(tmp_path, "AB A B\nC C\n", kind="char")).read("AB C AB")
    assert text.owners == [0, 0, -1, 1, -1, 2, 2]
    assert len(text.slots) == len(text.owners)


def test_of_spoken_syllables_words_have_as_many_as_characters(tmp_path: Path):
    lang = prepared(tmp_path, "行 hang2\n今天 jin1 tian1\n", kind="syllable", spoken="syllables", silence="SIL")
    text = Texts(lang).read("行 今天", "jin1 tian1 hang2")  # none of them where the lexicon has it
    assert text.owners == [-1, 0, -1, 1, -1, 1, -1]
    assert len(text.slots) == len(text.owners)


def test_units_that_were_spoken_are_shared_out_by_how_words_are_usually_read(tmp_path: Path):
    lang = make_lang(tmp_path, LEXICON, silence="SIL")
    text = Texts(lang).read("BEE A BEE", "B IY AH IY")
    assert text.owners == [-1, 0, 0, 1, 2, -1]
    assert len(text.slots) == len(text.owners)


def test_a_word_without_spoken_units_is_named(tmp_path: Path):
    with pytest.raises(EgretError, match="leave none for 'A'"):
        Texts(make_lang(tmp_path, LEXICON)).read("A BEE A", "AH B IY")


# Times and confidence


def said(lang: Lang, path: list[str], probability: float = 0.8) -> np.ndarray:
    """Log probabilities [T, V] in which one path has this probability at each frame, `_` being the blank."""
    log_probs = np.full((len(path), len(lang.units)), (1 - probability) / (len(lang.units) - 1))
    log_probs[range(len(path)), [lang.tokens["<blk>" if name == "_" else name] for name in path]] = probability
    return np.log(log_probs)


def row_of(lang: Lang, log_probs: np.ndarray, words: str, widen: float = 0.0) -> dict:
    text = Texts(lang).read(words)
    clock = Clock(shift=0.04, end=0.04 * len(log_probs), widen=widen)
    return timed("u", align(log_probs, text.slots), text, log_probs, lang, clock)


PATH = ["_", "SIL", "_", "AH", "AH", "_", "_", "B", "_", "_", "_", "IY", "IY", "_"]


@pytest.fixture
def lang(tmp_path: Path) -> Lang:
    return make_lang(tmp_path, LEXICON, silence="SIL")


def test_times_of_tokens_are_those_of_their_frames(lang: Lang):
    tokens = row_of(lang, said(lang, PATH), "A BEE")["tokens"]
    assert [(token["token"], token["start"], token["duration"]) for token in tokens] == [
        ("SIL", 0.04, 0.04), ("AH", 0.12, 0.08), ("B", 0.28, 0.04), ("IY", 0.44, 0.08)
    ]  # fmt: skip


def test_a_word_lasts_from_its_first_token_to_its_last(lang: Lang):
    words = row_of(lang, said(lang, PATH), "A BEE")["words"]
    assert [(word["word"], word["start"], word["duration"]) for word in words] == [
        ("A", 0.12, 0.08), ("BEE", 0.28, 0.24)
    ]  # fmt: skip


def test_tokens_are_widened_by_so_much_but_not_into_each_other(lang: Lang):
    tokens = row_of(lang, said(lang, PATH), "A BEE", widen=0.05)["tokens"]
    assert [(token["start"], round(token["start"] + token["duration"], 3)) for token in tokens] == [
        (0.0, 0.1), (0.1, 0.24), (0.24, 0.37), (0.39, 0.56)
    ]  # fmt: skip


def test_of_a_text_that_the_model_hears_by_itself_all_agrees(lang: Lang):
    row = row_of(lang, said(lang, PATH), "A BEE")
    assert [word["agreement"] for word in row["words"]] == [1.0, 1.0]
    assert [word["confidence"] for word in row["words"]] == pytest.approx([0.8, 0.8], rel=1e-3)
    assert row["confidence"] == 1.0


def test_confidence_is_the_geometric_mean_over_tokens_of_that_over_frames(lang: Lang):
    log_probs = said(lang, PATH)
    log_probs[7, lang.tokens["B"]] = np.log(0.1)
    log_probs[11, lang.tokens["IY"]] = np.log(0.4)
    expected = math.sqrt(0.1 * math.sqrt(0.4 * 0.8))
    assert row_of(lang, log_probs, "A BEE")["words"][1]["confidence"] == pytest.approx(expected, rel=1e-3)


def test_the_worst_word_is_the_wrong_one(lang: Lang):
    row = row_of(lang, said(lang, ["SIL", "_", "AH", "_", "SIL", "_", "EY", "_", "AH", "_"]), "A BEE A")
    assert row["worst"] == 1
    assert row["confidence"] == row["words"][1]["agreement"] < 0.2


def test_a_word_that_is_missing_lowers_the_agreement_beside_it(lang: Lang):
    heard = said(lang, ["SIL", "_", "AH", "_", "B", "IY", "_", "SIL", "_", "AH", "_"])
    assert row_of(lang, heard, "A A")["confidence"] < 0.1 < row_of(lang, heard, "A BEE A")["confidence"]


# Formats


def test_praats_intervals_fill_the_utterance_and_quotes_are_doubled():
    row = {"words": [{"word": 'A"', "start": 0.1, "duration": 0.2}, {"word": "B", "start": 0.3, "duration": 0.5}],
           "tokens": []}  # fmt: skip
    assert read_textgrid(textgrid(row, 3721.5)) == {
        "words": [(0.0, 0.1, ""), (0.1, 0.3, 'A"'), (0.3, 0.8, "B"), (0.8, 3721.5, "")],
        "tokens": [(0.0, 3721.5, "")],
    }


def test_names_of_files_are_different_for_different_ids():
    assert textgrid_name("a/b") != textgrid_name("a_b") != textgrid_name("a%2Fb")


def test_ctm_counts_from_the_beginning_of_the_recording():
    cut = {"id": "u", "start": 10.5, "channel": 1, "recording": {"id": "tape"}}
    row = {"words": [{"word": "YES", "start": 0.25, "duration": 0.5, "confidence": 0.98765}]}
    assert ctm(cut, row) == "tape 1 10.750 0.500 YES 0.9877\n"


def test_a_name_in_a_ctm_is_one_field():
    cut = {"id": "u", "start": 0.0, "channel": 0, "recording": {"id": "side one\tof a tape"}}
    row = {"words": [{"word": "YES", "start": 0.25, "duration": 0.5, "confidence": 1.0}]}
    assert ctm(cut, row) == "side_one_of_a_tape 0 0.250 0.500 YES 1.0000\n"

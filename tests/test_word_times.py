"""Times and confidence of words in hyp.jsonl, and the lists of methods that find several hypotheses."""

import math
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import torch

from egret.base.files import read_jsonl
from egret.decoding.search import Encoded
from egret.decoding.word_times import WordTimes, aligned
from egret.graph import arcs
from egret.graph.clock import Clock
from egret.graph.grammar import grammar
from egret.lang.lang import Lang
from exhaustive import Lexicon
from folders import make_cuts, make_experiment, make_lang, random_log_probs
from graphs import LEXICON, make_graph


def tried(log_probs: np.ndarray, tokens: list[int]) -> float:
    """The score of the best path that has the tokens, of all paths."""
    best = -math.inf
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        if [token for token, _ in groupby(path) if token] == tokens:
            best = max(best, sum(frame[token] for frame, token in zip(log_probs, path, strict=True)))
    return best


@pytest.mark.parametrize("tokens", [[], [2], [1, 1], [1, 2, 1], [3, 3, 3]])
def test_the_alignment_is_the_best_of_all_that_have_the_tokens(tmp_path, tokens):
    lang = make_lang(tmp_path / "lang", [("a", ["x"])])
    log_probs, lengths = random_log_probs(len(tokens), [5, 6], lang)
    for frames, length, spans in zip(log_probs, lengths, aligned(log_probs.numpy(), [5, 6], [tokens] * 2), strict=True):
        path = [0] * int(length)
        for token, span in zip(tokens, spans, strict=True):
            path[span.start : span.end] = [token] * (span.end - span.start)
            assert span.score == pytest.approx(float(frames[span.start : span.end, token].mean()), abs=1e-5)
        assert [token for token, _ in groupby(path) if token] == tokens
        score = sum(float(frame[token]) for frame, token in zip(frames[:length], path, strict=True))
        assert score == pytest.approx(tried(frames[:length].numpy(), tokens), abs=1e-4)


def test_tokens_without_room_have_no_alignment(tmp_path):
    log_probs, _ = random_log_probs(1, [3, 3], make_lang(tmp_path / "lang", [("a", ["x"])]))
    found = aligned(log_probs.numpy(), [3, 2], [[1, 1], [1, 1]])  # a blank must stand between
    assert found[0] is not None and found[1] is None


SPOKEN: Lexicon = [("a", ["x"]), ("a", ["x", "y"]), ("b", ["y"]), ("be", ["y", "z"])]


@pytest.mark.parametrize(
    ("names", "words", "ranges"),
    [
        (["SIL", "x", "SIL", "y", "z"], ["a", "be"], [(1, 2), (3, 5)]),
        (["x", "y", "y"], ["a", "b"], [(0, 2), (2, 3)]),  # the fewest are left over
        (["x", "z", "y"], ["a", "b"], [(0, 1), (2, 3)]),
        (["x", "<unk>", "y", "y"], ["a", "b"], [(0, 3), (3, 4)]),  # as lang.decode reads them
        (["x"], ["b"], None),
        (["SIL"], [], []),
    ],
)
def test_words_are_found_in_their_pronunciations(tmp_path, names, words, ranges):
    assert WordTimes(make_lang(tmp_path / "lang", SPOKEN, "SIL")).ranges(names, words) == ranges


@pytest.fixture
def project(tmp_path: Path) -> Path:
    lang = make_lang(tmp_path / "lang", LEXICON, "SIL")
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    make_cuts(tmp_path / "feats/test.jsonl", ["a be", "c", "ab a"], [60, 12, 40], seed=2)
    return tmp_path


def rows_of(project: Path, folder: str) -> list[dict]:
    return list(read_jsonl(project / "out" / folder / "hyp.jsonl"))


def load_lang(project: Path) -> Lang:
    return Lang.read(project / "lang")


TEST = ["--experiment", "exp", "--lang", "lang", "--out", "out", "--threads", "1", "--test-cuts", "feats/test.jsonl"]


@pytest.mark.k2
def test_every_method_says_when_and_how_surely_each_word_was_said(k2, run_step, project):
    make_graph(project / "graph", load_lang(project))
    run_step("decode", project, *TEST, "--method", "all", "--graph", "graph", "--word-times", "true")
    words = 0
    for path in sorted((project / "out").glob("*/hyp.jsonl")):
        for row, seconds in zip(read_jsonl(path), [0.60, 0.12, 0.40], strict=True):
            if row.get("untimed"):
                assert "attention" in path.parent.name  # may say more than CTC has room for
                continue
            assert len(row["times"]) == len(row["confidence"]) == len(row["words"])
            assert all(0 <= value <= 1 for value in row["confidence"])
            ends = [0.0]
            for start, duration in row["times"]:
                assert start >= ends[-1] - 1e-6 and duration > 0
                ends.append(start + duration)
            assert ends[-1] <= seconds + 1e-6
            words += len(row["words"])
    assert words > 20


def test_greedy_words_begin_where_the_best_path_has_their_tokens(run_step, project):
    from egret.features.batching import load_batch
    from egret.models.files import load_model

    run_step("decode", project, *TEST, "--word-times", "true")
    [cut, *_] = read_jsonl(project / "feats/test.jsonl")
    with torch.no_grad():
        [log_probs], _ = load_model(project / "exp")[0](*load_batch([cut]))
    [row, *_] = read_jsonl(project / "out/test_ctc_greedy/hyp.jsonl")
    spoken = [frame for frame, token in enumerate(log_probs.argmax(1).tolist()) if load_lang(project).units[token]
              in row["tokens"][:1]]  # fmt: skip
    assert row["times"][0][0] == pytest.approx(spoken[0] * 0.02)


def test_a_word_ends_with_its_utterance_at_the_latest(tmp_path):
    finder = WordTimes(make_lang(tmp_path / "lang", SPOKEN, "SIL"))
    log_probs = torch.full((1, 4, len(finder.lang.units)), -9.0)
    log_probs[0, :, finder.lang.tokens["x"]] = 0.0
    row = {"words": ["a"], "tokens": ["x"]}
    encoded = Encoded(log_probs, torch.tensor([4]), torch.tensor([13]), log_probs)
    finder.add([row], encoded, [Clock(0.04, 0.13)])  # the last frame goes on to 0.16
    assert row["times"] == [[0.0, 0.13]]


def test_what_settings_find_alike_is_aligned_once(run_step, project, monkeypatch):
    aligned_rows = []
    monkeypatch.setattr("egret.decoding.word_times.aligned", lambda *given: aligned_rows.extend(given[2]) or
                        aligned(*given))  # fmt: skip
    make_cuts(project / "feats/dev.jsonl", ["a be", "c", "ab a"], [60, 12, 40], seed=2)
    penalties = ["0", "0", "0", "0"]
    run_step("decode", project, *TEST, "--dev-cuts", "feats/dev.jsonl", "--method", "attention_beam",
             "--attention.length-penalty", *penalties, "--word-times", "true")  # fmt: skip
    assert len(aligned_rows) == 2 * sum(bool(row["words"]) for row in rows_of(project, "test_attention_beam"))


def test_where_times_of_words_want_too_much_memory_the_batch_is_halved(run_step, project, monkeypatch):
    def scarce(log_probs, *given):
        if len(log_probs) > 1:
            raise MemoryError
        return aligned(log_probs, *given)

    monkeypatch.setattr("egret.decoding.word_times.aligned", scarce)
    run_step("decode", project, *TEST, "--word-times", "true")
    found = rows_of(project, "test_ctc_greedy")
    assert all(row["halved"] and len(row["times"]) == len(row["words"]) for row in found)


def test_a_model_without_ctc_has_no_times(run_step, project):
    make_experiment(project / "exp", load_lang(project), decoder="speller", ctc_weight=0.0)
    said = run_step("decode", project, *TEST, "--method", "attention_beam", "--word-times", "true", code=2)
    assert "--word-times: the model in exp has no CTC" in said


@pytest.mark.parametrize("method", ["ctc_prefix_beam", "attention_beam", "joint_beam"])
def test_lists_have_each_word_sequence_once_and_the_best_first(run_step, project, method):
    run_step("decode", project, *TEST, "--method", method, "--nbest.keep", "3")
    for row in read_jsonl(project / f"out/test_{method}/hyp.jsonl"):
        listed = row["nbest"]
        assert 0 < len(listed) <= 3 and listed[0] == {"words": row["words"], "score": row["score"]}
        assert len({tuple(each["words"]) for each in listed}) == len(listed)


@pytest.mark.k2
def test_a_rescored_lattice_has_a_list(k2, run_step, project):
    folder = make_graph(project / "graph", load_lang(project))
    g = grammar(folder / "lm.arpa", project / "lang/words.txt", 2)
    arcs.save(project / "G.safetensors", g, {"words": arcs.identity(load_lang(project))["words"], "order": 2})
    run_step("decode", project, *TEST, "--graph", "graph", "--method", "hlg_nbest", "lattice_rescore", "--rescore-lm",
             "G.safetensors", "--first-lm", "G.safetensors", "--nbest.keep", "4")  # fmt: skip
    nbest, rescored = (list(read_jsonl(project / f"out/test_{name}/hyp.jsonl"))
                       for name in ("hlg_nbest", "lattice_rescore"))  # fmt: skip
    assert [[each["words"] for each in row["nbest"]] for row in rescored][1:] == [
        [each["words"] for each in row["nbest"]] for row in nbest][1:]  # fmt: skip


def test_a_list_is_refused_where_no_method_has_one(run_step, project):
    said = run_step("decode", project, *TEST, "--method", "ctc_greedy", "--nbest.keep", "3", code=2)
    assert "--nbest.keep is for methods that find several hypotheses" in said


@pytest.mark.parametrize(
    ("names", "words", "ranges"),
    [
        (["▁a", "b", "▁", "c"], ["ab", "c"], [(0, 2), (2, 4)]),
        (["a", "_", "b", "c", "_"], ["a", "bc"], [(0, 1), (2, 4)]),
        (["今", "<unk>", "天", "a"], ["今天", "a"], [(0, 3), (3, 4)]),
        (["a"], ["ab"], None),
    ],
)
def test_words_are_found_in_what_they_are_spelled_in(tmp_path, names, words, ranges):
    finder = WordTimes(make_lang(tmp_path / "lang", SPOKEN))
    finder.pronunciations = {}
    finder.lang.about["boundary"] = "_"
    assert finder.ranges(names, words) == ranges

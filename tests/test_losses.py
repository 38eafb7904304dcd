"""CTC losses against sums over every alignment, pronunciation and silence."""

import math
import sys

import pytest
import torch

from egret.base.errors import EgretError
from egret.models.losses import ctc_loss, make_loss
from exhaustive import alignments, sayings
from folders import make_lang, random_log_probs, transcribed

LEXICON = [("a", ["x"]), ("b", ["y", "x"]), ("c", ["x", "x"])]
TEXTS = ["a b", "c", "a a"]  # the last two need a blank between equal tokens
LENGTHS = [4, 6, 5]


def log_sum(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def brute_force(lang, log_probs, lengths, texts, lexicon, silence=None, probability=0.5) -> list[float]:
    """The negative log probability of each transcript, over all that it may sound like."""
    losses = []
    units = [lang.tokens[name] for name in lang.units[3:]]
    for frames, length, text in zip(log_probs, lengths.tolist(), texts, strict=True):
        ways = alignments(frames[:length].tolist(), units)
        terms = []
        for tokens, weight in sayings(lexicon, text.split(), silence, probability):
            terms += [score + weight for score in ways.get(tuple(lang.tokens[token] for token in tokens), [])]
        losses.append(-log_sum(terms))
    return losses


def gradient(loss, lang, texts, lengths, seed=0) -> torch.Tensor:
    """Of the loss, with respect to logits [N, T, V]."""
    logits = torch.randn(len(texts), max(lengths), len(lang.units), generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_()
    loss(logits.log_softmax(dim=2), torch.tensor(lengths), transcribed(lang, texts)).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.fixture
def lang(tmp_path):
    return make_lang(tmp_path / "lang", LEXICON)


def test_ctc_is_the_sum_over_all_alignments(lang):
    log_probs, lengths = random_log_probs(1, LENGTHS, lang)
    expected = brute_force(lang, log_probs, lengths, TEXTS, LEXICON)
    for n, loss in enumerate(expected):
        one = ctc_loss(log_probs[n : n + 1], lengths[n : n + 1], transcribed(lang, TEXTS[n : n + 1]))
        assert one.item() == pytest.approx(loss, abs=1e-4)
    batch = ctc_loss(log_probs, lengths, transcribed(lang, TEXTS))
    assert batch.item() == pytest.approx(sum(expected), abs=1e-4)


def test_ctc_takes_each_words_first_pronunciation(tmp_path):
    lexicon = [("a", ["x"]), ("a", ["y"])]
    lang = make_lang(tmp_path, lexicon)
    log_probs, lengths = random_log_probs(2, [4], lang)
    expected = brute_force(lang, log_probs, lengths, ["a"], lexicon[:1])
    assert ctc_loss(log_probs, lengths, transcribed(lang, ["a"])).item() == pytest.approx(expected[0], abs=1e-4)


def test_ctc_of_a_batch_without_any_token_is_the_probability_of_blanks(lang):
    log_probs, lengths = random_log_probs(3, [4, 2], lang)
    loss = ctc_loss(log_probs, lengths, transcribed(lang, ["", ""]))
    assert loss.item() == pytest.approx(-(log_probs[0, :4, 0].sum() + log_probs[1, :2, 0].sum()).item(), abs=1e-4)


def test_frames_beyond_the_end_have_no_gradient(lang):
    found = gradient(ctc_loss, lang, TEXTS, LENGTHS)
    assert found.isfinite().all() and found[0, :4].abs().sum() > 0
    assert (found[0, 4:] == 0).all() and (found[2, 5:] == 0).all()


def test_a_loss_that_needs_k2_says_so_where_it_is_missing(lang, monkeypatch):
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "egret.models.graph_loss", raising=False)
    monkeypatch.delitem(sys.modules, "egret.graph.hlg", raising=False)
    with pytest.raises(EgretError, match=r"--loss ctc_graph needs k2 .*use --loss ctc"):
        make_loss("ctc_graph", lang)
    assert make_loss("ctc", lang) is ctc_loss


# With k2

SPOKEN = [("a", ["x"]), ("a", ["y", "x"]), ("b", ["x"]), ("b", ["x", "x"]), ("c", ["y"])]
SAID = ["a b", "c", "b a", "b c"]
FRAMES = [5, 4, 6, 6]


@pytest.mark.k2
def test_ctc_is_what_k2_says(k2, lang):
    log_probs, lengths = random_log_probs(4, [6, 5, 4], lang)
    targets = transcribed(lang, ["c", "a b", "a a"])
    rows = torch.arange(3)
    segments = torch.stack([rows, torch.zeros_like(rows), lengths], dim=1).to(torch.int32)
    theirs = k2.ctc_loss(k2.ctc_graph(targets.targets), k2.DenseFsaVec(log_probs, segments), 100.0, reduction="sum")
    assert ctc_loss(log_probs, lengths, targets).item() == pytest.approx(theirs.item(), abs=1e-3)


@pytest.mark.k2
@pytest.mark.parametrize("silence", [None, "SIL"])
def test_graph_ctc_is_the_sum_over_all_pronunciations_and_silences(k2, tmp_path, silence):
    lang = make_lang(tmp_path, SPOKEN, silence, 0.3)
    log_probs, lengths = random_log_probs(5, FRAMES, lang)
    expected = brute_force(lang, log_probs, lengths, SAID, SPOKEN, silence, 0.3)
    loss = make_loss("ctc_graph", lang)
    for n, one in enumerate(expected):
        found = loss(log_probs[n : n + 1], lengths[n : n + 1], transcribed(lang, SAID[n : n + 1]))
        assert found.item() == pytest.approx(one, abs=1e-3)
    assert loss(log_probs, lengths, transcribed(lang, SAID)).item() == pytest.approx(sum(expected), abs=1e-3)


@pytest.mark.k2
def test_two_ways_to_the_same_tokens_both_count(k2, tmp_path):
    lexicon = [("a", ["x"]), ("a", ["x", "y"]), ("b", ["y", "x"]), ("b", ["x"])]  # a b: x y x, twice
    lang = make_lang(tmp_path, lexicon)
    log_probs, lengths = random_log_probs(6, [5], lang)
    expected = brute_force(lang, log_probs, lengths, ["a b"], lexicon)
    found = make_loss("ctc_graph", lang)(log_probs, lengths, transcribed(lang, ["a b"]))
    assert found.item() == pytest.approx(expected[0], abs=1e-3)


@pytest.mark.k2
def test_with_one_pronunciation_and_no_silence_graph_ctc_is_ctc(k2, lang):
    graph_ctc = make_loss("ctc_graph", lang)
    log_probs, lengths = random_log_probs(7, LENGTHS, lang)
    batch = transcribed(lang, TEXTS)
    assert graph_ctc(log_probs, lengths, batch).item() == pytest.approx(
        ctc_loss(log_probs, lengths, batch).item(), abs=1e-3
    )
    ours, theirs = (gradient(loss, lang, TEXTS, LENGTHS) for loss in (graph_ctc, ctc_loss))
    assert theirs.abs().max() > 0.1 and torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.k2
def test_the_order_of_the_batch_does_not_matter(k2, tmp_path):
    lang = make_lang(tmp_path, SPOKEN, "SIL", 0.3)
    log_probs, lengths = random_log_probs(8, FRAMES, lang)
    loss = make_loss("ctc_graph", lang)
    first = loss(log_probs, lengths, transcribed(lang, SAID))
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        again = loss(log_probs[order], lengths[order], transcribed(lang, [SAID[n] for n in order]))
        assert again.item() == pytest.approx(first.item(), abs=1e-4)


@pytest.mark.k2
def test_the_gradient_of_graph_ctc_is_the_loss_own(k2, tmp_path):
    lang = make_lang(tmp_path, SPOKEN, "SIL", 0.3)
    loss = make_loss("ctc_graph", lang)
    found = gradient(loss, lang, SAID, FRAMES, seed=9)
    assert found.isfinite().all()
    logits = torch.randn(4, 6, len(lang.units), generator=torch.Generator().manual_seed(9))
    moved = []
    for step in (0.02, -0.02):
        logits[1, 2, 4] += step
        moved.append(loss(logits.log_softmax(dim=2), torch.tensor(FRAMES), transcribed(lang, SAID)).item())
        logits[1, 2, 4] -= step
    assert (moved[0] - moved[1]) / 0.04 == pytest.approx(found[1, 2, 4].item(), abs=2e-3)
    assert (found[1, 4:] == 0).all()


@pytest.mark.k2
def test_words_outside_the_lexicon_are_trained_as_the_oov_word(k2, tmp_path):
    lang = make_lang(tmp_path, SPOKEN, oov="c")
    log_probs, lengths = random_log_probs(10, [6], lang)
    loss = make_loss("ctc_graph", lang)
    strange = loss(log_probs, lengths, transcribed(lang, ["a never"])).item()
    assert strange == loss(log_probs, lengths, transcribed(lang, ["a c"])).item()
    assert strange != loss(log_probs, lengths, transcribed(lang, ["a b"])).item()


@pytest.mark.k2
def test_graph_ctc_takes_the_topology_that_is_asked_for(k2, lang):
    log_probs, lengths = random_log_probs(11, [2], lang)
    batch = transcribed(lang, ["c"])  # x x: with a blank between them it does not fit into two frames
    same = log_probs[0, 0, lang.tokens["x"]] + log_probs[0, 1, lang.tokens["x"]]
    modified = make_loss("ctc_graph", lang, "modified")(log_probs, lengths, batch)
    assert modified.item() == pytest.approx(-same.item(), abs=1e-4)
    assert make_loss("ctc_graph", lang)(log_probs, lengths, batch).item() == float("inf")

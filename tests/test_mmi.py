"""LF-MMI against sums over every sequence of tokens, alignment, pronunciation and silence."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from egret.base.errors import EgretError
from egret.base.files import read_jsonl
from egret.graph.bigram import EDGE, expected_counts, smoothed
from egret.lang.lang import Lang
from egret.lang.transcript import Transcripts
from egret.models.losses import make_loss
from egret.models.mmi_loss import denominator
from exhaustive import alignments, sayings
from folders import make_lang, random_log_probs, transcribed
from tiny_training import Train

LEXICON = [("a", ["x"]), ("a", ["y", "x"]), ("b", ["x"]), ("c", ["y", "y"])]
TEXTS = ["a b", "c", "b"]
LENGTHS = [5, 4, 6]


def log_sum(values: list[float]) -> float:
    return torch.tensor(values, dtype=torch.float64).logsumexp(dim=0).item()


def random_bigram(units: int, seed: int = 0) -> np.ndarray:
    return smoothed(np.random.default_rng(seed).uniform(0, 5, (units, units)))


def chance(bigram: np.ndarray, tokens: list[int] | tuple[int, ...]) -> float:
    return sum(float(bigram[pair]) for pair in zip([EDGE, *tokens], [*tokens, EDGE], strict=True))


def brute_force(lang: Lang, bigram: np.ndarray, frames: list[list[float]], text: str, silence: str | None,
                merge: bool = True) -> float:  # fmt: skip
    ways = alignments(frames, list(range(1, len(lang.units))), merge)
    everything = [score + chance(bigram, tokens) for tokens, scores in ways.items() for score in scores]
    allowed = []
    for names, _ in sayings(LEXICON, text.split(), silence, 0.3):
        tokens = tuple(lang.tokens[name] for name in names)
        allowed += [score + chance(bigram, tokens) for score in ways.get(tokens, [])]
    return log_sum(everything) - log_sum(allowed)


@pytest.mark.k2
@pytest.mark.parametrize(("silence", "topology"), [(None, "standard"), ("SIL", "standard"), ("SIL", "modified")])
def test_the_loss_is_that_of_what_was_said_against_everything(k2, tmp_path, silence, topology):
    lang = make_lang(tmp_path, LEXICON, silence, 0.3)
    bigram = random_bigram(len(lang.units))
    log_probs, lengths = random_log_probs(1, LENGTHS, lang)
    found = make_loss("lf_mmi", lang, topology, bigram).per_utterance(log_probs, lengths, transcribed(lang, TEXTS))
    for n, text in enumerate(TEXTS):
        frames = log_probs[n, : LENGTHS[n]].tolist()
        expected = brute_force(lang, bigram, frames, text, silence, merge=topology != "modified")
        assert found[n].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("modified", [False, True])
def test_the_gradient_of_the_denominator_is_its_own(modified):
    logits = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    follows = torch.from_numpy(random_bigram(5)).double().exp()

    def of_logits(x: torch.Tensor) -> torch.Tensor:
        return denominator(x.log_softmax(dim=2), torch.tensor([4, 3]), follows, modified)

    assert torch.autograd.gradcheck(of_logits, [logits])


@pytest.mark.k2
def test_the_gradient_is_the_losss_own_and_none_beyond_the_end(k2, tmp_path):
    lang = make_lang(tmp_path, LEXICON, "SIL", 0.3)
    loss = make_loss("lf_mmi", lang, bigram=random_bigram(len(lang.units)))
    logits = torch.randn(3, 6, len(lang.units), generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss(logits.log_softmax(dim=2), torch.tensor(LENGTHS), transcribed(lang, TEXTS)).backward()
    moved = []
    with torch.no_grad():
        for step in (0.02, -0.02):
            logits[0, 2, 4] += step
            moved.append(loss(logits.log_softmax(dim=2), torch.tensor(LENGTHS), transcribed(lang, TEXTS)).item())
            logits[0, 2, 4] -= step
    assert (moved[0] - moved[1]) / 0.04 == pytest.approx(logits.grad[0, 2, 4].item(), abs=2e-3)
    assert (logits.grad[1, 4:] == 0).all() and logits.grad[1, :4].abs().sum() > 0.1


@pytest.mark.k2
def test_hundreds_of_sure_frames_do_not_underflow(k2, tmp_path):
    lang = make_lang(tmp_path, LEXICON)
    log_probs, lengths = random_log_probs(3, [900], lang, spread=30.0)
    loss = make_loss("lf_mmi", lang, bigram=random_bigram(len(lang.units)))
    found = loss(log_probs, lengths, transcribed(lang, [" ".join(["a b c"] * 60)]))
    assert math.isfinite(found.item()) and found.item() > 0


@pytest.mark.k2
def test_an_utterance_too_short_for_its_transcript_is_impossible(k2, tmp_path):
    lang = make_lang(tmp_path, LEXICON)
    log_probs, lengths = random_log_probs(4, [2], lang)
    loss = make_loss("lf_mmi", lang, bigram=random_bigram(len(lang.units)))
    assert loss(log_probs, lengths, transcribed(lang, ["c"])).item() == math.inf


@pytest.mark.parametrize("silence", [None, "SIL"])
def test_expected_counts_are_those_of_all_that_may_have_been_said(tmp_path, silence):
    lang = make_lang(tmp_path, LEXICON, silence, 0.3)
    texts = ["a b", "c a a"]
    known = Transcripts(lang)
    found = expected_counts(map(known.slots, texts), known.pause, 0.3, len(lang.units))
    expected = np.zeros_like(found)
    for text in texts:
        said = list(sayings(LEXICON, text.split(), silence, 0.3))
        total = sum(math.exp(weight) for _, weight in said)
        for names, weight in said:
            tokens = [lang.tokens[name] for name in names]
            for pair in zip([EDGE, *tokens], [*tokens, EDGE], strict=True):
                expected[pair] += math.exp(weight) / total
    assert np.allclose(found, expected)


def test_every_row_of_the_bigram_is_a_distribution_in_which_all_is_possible():
    counts = np.zeros((5, 5))
    counts[0, 1], counts[1, 2], counts[2, 0] = 3, 2.5, 0.5
    chances = np.exp(smoothed(counts))
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5) and (chances > 0).all()
    assert chances[0].argmax() == 1 and chances[1].argmax() == 2 and chances[2].argmax() == 0
    assert chances[1, 2] < 2.5 / 2.5 and chances[4, 1] == chances[3, 1]


@pytest.mark.k2
def test_training_goes_on_with_the_bigram_that_it_began_with(k2, tmp_path: Path, train: Train):
    mmi = ["--loss", "lf_mmi", "--list-losses"]
    assert "bigram of" in train("part", "--epochs", "1", *mmi)
    bigram = tmp_path / "part/token_bigram.safetensors"
    written = bigram.stat().st_mtime_ns
    lang = Lang.read(tmp_path / "lang")
    transcripts = [cut["supervisions"][0]["text"] for cut in read_jsonl(tmp_path / "fbank/train.jsonl")]
    known = Transcripts(lang)
    counts = expected_counts(map(known.slots, transcripts), known.pause, known.pause_probability, len(lang.units))
    assert np.array_equal(load_file(bigram)["bigram"], smoothed(counts))
    said = train("part", "--epochs", "2", *mmi)
    assert "bigram of" not in said and bigram.stat().st_mtime_ns == written
    assert (tmp_path / "part/losses.tsv").read_text().count("\n") == 25
    bigram.write_bytes(b"gone")
    assert "remove it, and steps/train.py makes it anew" in train("part", "--epochs", "3", *mmi, code=1)
    assert "bigram of" in train("part", "--epochs", "1", *mmi, "--force")


@pytest.mark.k2
def test_without_k2_it_says_so(tmp_path, monkeypatch):
    lang = make_lang(tmp_path, LEXICON)
    for name in ("k2", "egret.models.graph_loss", "egret.models.mmi_loss", "egret.graph.hlg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "k2", None)
    with pytest.raises(EgretError, match=r"--loss lf_mmi needs k2 .*use --loss ctc"):
        make_loss("lf_mmi", lang, bigram=random_bigram(len(lang.units)))


@pytest.mark.k2
def test_a_share_of_the_loss_may_be_ctc(k2, tmp_path, train: Train):
    lang = make_lang(tmp_path / "said", LEXICON, "SIL", 0.3)
    log_probs, lengths = random_log_probs(5, LENGTHS, lang)
    batch, bigram = transcribed(lang, TEXTS), random_bigram(len(lang.units))
    found = [make_loss("lf_mmi", lang, bigram=bigram, ctc_share=share)(log_probs, lengths, batch).item()
             for share in (0.0, 0.25)]  # fmt: skip
    ctc = make_loss("ctc_graph", lang)(log_probs, lengths, batch).item()
    assert found[1] == pytest.approx(0.75 * found[0] + 0.25 * ctc, abs=1e-3)
    assert "--ctc-share goes with --loss lf_mmi" in train("exp", "--ctc-share", "0.1", code=2)

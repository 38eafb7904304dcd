"""Joint CTC/attention beam search against trying everything, its prefix scores, padding, and steps/decode.py."""

import itertools

import pytest
import torch

from egret.base.files import read_json, read_jsonl
from egret.decoding.attention_beam import attention_beam
from egret.decoding.joint_beam import joint_beam
from egret.decoding.prefix_scores import PrefixScores
from egret.models.decoder import END, attention_loss, with_ends
from egret.models.greedy import greedy
from egret.models.model import JointModel
from egret.models.options import ModelOptions, SpellerOptions, TdnnOptions, TransformerDecoderOptions
from exhaustive import alignments
from folders import make_cuts, make_experiment, make_lang
from graphs import LEXICON
from noise import noise_batch

FEATURES, TOKENS = 6, 6
SPOKEN = [token for token in range(1, TOKENS) if token != END]
TRANSFORMER = {"transformer_decoder": TransformerDecoderOptions(dim=16, layers=2, heads=2, dropout=0.0)}
SPELLER = {"speller": SpellerOptions(dim=12, embedding=8, attention="location_aware", attention_dim=8, dropout=0.0)}
KINDS = pytest.mark.parametrize("decoder", [TRANSFORMER, SPELLER], ids=["transformer", "speller"])
LOG = torch.float64


def make_model(decoder: dict, seed: int = 0, sure: float = 4.0) -> JointModel:
    torch.manual_seed(seed)
    tdnn = TdnnOptions(dim=10, kernels=[3], dilations=[1], strides=[2], dropout=0.0)
    [name] = decoder
    model = JointModel(FEATURES, TOKENS, ModelOptions(tdnn=tdnn, decoder=name, ctc_weight=0.3, **decoder))
    with torch.no_grad():
        model.decoder.output.weight.mul_(sure)
        model.head.weight.mul_(sure)
    return model.eval()


def encoded(model: JointModel, lengths: list[int], padding: float = 0.0):
    with torch.no_grad():
        x, frames, _ = model.encode(*noise_batch(lengths, FEATURES, padding=padding))
        return x, model.log_probs(x), frames


def search(model, x, log_probs, lengths, limits=None, beam=8, preselected=12, weight=0.3, penalty=0.0):
    limits = lengths if limits is None else limits
    return joint_beam(model.decoder, x, log_probs, lengths, limits, beam, preselected, weight, penalty)


def ctc_of(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The logarithm of the probability of every transcript of one utterance [T, V], by all its alignments."""
    found = alignments(log_probs.double().tolist(), list(range(1, TOKENS)))
    return {spoken: float(torch.logsumexp(torch.tensor(scores, dtype=LOG), 0)) for spoken, scores in found.items()}


# CTC's prefix scores


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_prefix_score_is_the_sum_over_all_transcripts_that_begin_so(frames):
    torch.manual_seed(frames)
    log_probs = torch.randn(1, frames, TOKENS).mul(2).log_softmax(dim=2)
    whole = ctc_of(log_probs[0])
    scores = PrefixScores.begin(log_probs, torch.tensor([frames]), 1)
    every = torch.arange(1, TOKENS).view(1, 1, -1)

    def check(spoken: tuple[int, ...], scores: PrefixScores) -> None:
        assert float(scores.whole()) == pytest.approx(whole[spoken], abs=1e-6)
        longer = scores.longer(every)
        for place, token in enumerate(every.flatten().tolist()):
            after = (*spoken, token)
            beginning = [score for each, score in whole.items() if each[: len(after)] == after]
            if beginning:
                wanted = float(torch.logsumexp(torch.tensor(beginning, dtype=LOG), 0))
                assert float(longer.begins[0, 0, place]) == pytest.approx(wanted, abs=1e-6)
            else:
                assert float(longer.begins[0, 0, place]) < -1e20
            if after in whole and len(after) < 3:
                check(after, longer.chosen(torch.tensor([[place]])))

    check((), scores)


def test_prefix_scores_of_long_utterances_are_those_of_the_loss():
    torch.manual_seed(1)
    lengths, target = torch.tensor([600, 450]), [2, 3, 3, 5, 4, 4, 4, 2] * 9
    log_probs = torch.randn(2, 600, TOKENS).mul(5).log_softmax(dim=2)
    scores = PrefixScores.begin(log_probs, lengths, 1)
    for token in target:
        scores = scores.longer(torch.full((2, 1, 1), token)).chosen(torch.zeros(2, 1, dtype=torch.long))
    targets = torch.tensor([target, target])
    losses = torch.nn.functional.ctc_loss(log_probs.double().transpose(0, 1), targets, lengths,
                                          torch.tensor([len(target)] * 2), reduction="none")  # fmt: skip
    assert torch.allclose(scores.whole()[:, 0], -losses, atol=1e-6)


# The search


@KINDS
@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_transcripts_by_both(decoder, weight, penalty):
    model = make_model(decoder)
    x, log_probs, lengths = encoded(model, [8, 6])  # four and three frames
    found = search(model, x, log_probs, lengths, beam=300, preselected=TOKENS, weight=weight, penalty=penalty)
    for row, frames in enumerate(lengths.tolist()):
        by_ctc = ctc_of(log_probs[row, :frames])
        every = [list(each) for count in range(frames + 1) for each in itertools.product(SPOKEN, repeat=count)
                 if each in by_ctc]  # fmt: skip
        given, wanted = with_ends(every, x.device)
        many = len(every)
        with torch.no_grad():
            logits = model.decoder(x[row : row + 1].expand(many, -1, -1), lengths[row : row + 1].expand(many), given)
        by_attention = -attention_loss(logits, wanted)
        table = {
            tuple(each): (1 - weight) * float(attention) + weight * by_ctc[tuple(each)]
            for each, attention in zip(every, by_attention, strict=True)
        }
        ranked = sorted(table, key=lambda each: -table[each] / ((5 + len(each)) / 6) ** penalty)
        assert tuple(found[row][0].tokens) == ranked[0]
        assert found[row][0].score == pytest.approx(table[ranked[0]], abs=1e-3)
        assert all(
            (each.score, each.ctc)
            == (pytest.approx(table[tuple(each.tokens)], abs=1e-3), pytest.approx(by_ctc[tuple(each.tokens)], abs=1e-3))
            for each in found[row]
        )


@KINDS
def test_an_utterance_alone_and_in_a_padded_batch_gives_the_same(decoder):
    model = make_model(decoder, sure=6.0)
    lengths = [60, 41, 23, 2]
    x, log_probs, frames = encoded(model, lengths, padding=50.0)
    together = search(model, x, log_probs, frames, beam=4, preselected=4)
    for row, count in enumerate(frames.tolist()):
        one = slice(row, row + 1)
        [alone] = search(model, x[one, :count], log_probs[one, :count], frames[one], beam=4, preselected=4)
        assert [(each.tokens, each.score) for each in alone] == [
            (each.tokens, pytest.approx(each.score, abs=1e-3)) for each in together[row]
        ]


def test_a_wide_beam_is_at_least_as_good_as_what_either_finds_alone():
    model = make_model(TRANSFORMER, seed=3)
    x, log_probs, lengths = encoded(model, [40, 31, 22])
    found = search(model, x, log_probs, lengths, beam=40, preselected=TOKENS)
    by_attention = [each[0].tokens for each in attention_beam(model.decoder, x, lengths, lengths, 8, 0.0)]
    with torch.no_grad():
        by_ctc = [tokens for tokens, _ in greedy(model, x, lengths, lengths)]
        for others in (by_attention, by_ctc):
            losses = attention_loss(model.decoder(x, lengths, with_ends(others, x.device)[0]),
                                    with_ends(others, x.device)[1])  # fmt: skip
            for row, (tokens, loss) in enumerate(zip(others, losses, strict=True)):
                if END in tokens:
                    continue  # of CTC alone, which no decoder could say
                frames = log_probs[row, : lengths[row]]
                count = torch.tensor(len(tokens))
                of_ctc = torch.nn.functional.ctc_loss(
                    frames, torch.tensor(tokens), lengths[row], count, reduction="sum"
                )
                assert found[row][0].score >= -0.7 * float(loss) - 0.3 * float(of_ctc) - 1e-3


def test_no_transcript_is_longer_than_its_limit():
    model = make_model(SPELLER)
    x, log_probs, lengths = encoded(model, [40, 31])
    found = search(model, x, log_probs, lengths, limits=torch.tensor([2, 5]), penalty=5.0)
    assert [max(len(each.tokens) for each in row) for row in found] == [2, 5]


def test_scores_that_are_no_numbers_give_no_transcript():
    model = make_model(TRANSFORMER)
    x, log_probs, lengths = encoded(model, [12])
    assert search(model, x * torch.nan, log_probs * torch.nan, lengths) == [[]]


# steps/decode.py


@pytest.fixture
def project(tmp_path):
    """A model with CTC and a decoder, features of dev and test."""
    lang = make_lang(tmp_path / "lang", LEXICON)
    make_experiment(tmp_path / "exp", lang, decoder="speller", ctc_weight=0.3)
    for seed, part in enumerate(("dev", "test")):
        make_cuts(tmp_path / f"feats/{part}.jsonl", ["a be", "c", "ab a c", "bee"], [40, 12, 64, 13], seed=seed)
    return tmp_path


JOINT = ["--experiment", "exp", "--lang", "lang", "--test-cuts", "feats/test.jsonl", "--out", "out", "--threads", "1",
         "--method", "joint_beam"]  # fmt: skip


def test_the_step_leaves_hypotheses_with_scores_by_source(project, run_step):
    run_step("decode", project, *JOINT, "--joint.ctc-weight", "0.4")
    rows = list(read_jsonl(project / "out/test_joint_beam/hyp.jsonl"))
    assert [row["id"] for row in rows] == [f"test-{number}" for number in range(4)]
    for row in rows:
        score = row["score"]
        assert score["total"] == pytest.approx(0.4 * score["ctc"] + 0.6 * score["attention"])


def test_small_batches_change_nothing(project, run_step):
    run_step("decode", project, *JOINT)
    together = [row["tokens"] for row in read_jsonl(project / "out/test_joint_beam/hyp.jsonl")]
    run_step("decode", project, *JOINT, "--max-duration", "0.1", "--force")
    assert [row["tokens"] for row in read_jsonl(project / "out/test_joint_beam/hyp.jsonl")] == together


def test_every_weight_is_tried_on_dev_with_every_penalty(project, run_step):
    said = run_step("decode", project, *JOINT, "--dev-cuts", "feats/dev.jsonl", "--joint.ctc-weight", "0.3", "1",
                    "--joint.length-penalty", "0", "0.5")  # fmt: skip
    assert said.count("dev: joint_beam, ctc_weight ") == 4
    params = read_json(project / "out/test_joint_beam/params.json")["params"]
    assert params.keys() == {"beam", "preselect", "max_ratio", "ctc_weight", "length_penalty"}


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({}, "--method joint_beam: the model in exp has no attention decoder; use ctc_greedy"),
        ({"decoder": "speller", "ctc_weight": 0.0}, "--method joint_beam: the model in exp has no CTC"),
    ],
)
def test_it_needs_both_ctc_and_a_decoder(project, run_step, shape, says):
    from egret.lang.lang import Lang

    make_experiment(project / "exp", Lang.read(project / "lang"), **shape)
    assert says in run_step("decode", project, *JOINT, code=2)


@pytest.mark.parametrize("weight", ["0", "1.1"])
def test_a_weight_that_is_no_share_is_wrong_usage(project, run_step, weight):
    assert f"--joint.ctc-weight {float(weight)}: must be" in run_step(
        "decode", project, *JOINT, "--joint.ctc-weight", weight, code=2
    )

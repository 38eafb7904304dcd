"""Attention decoders: all at once and step by step, padding, scripts, scheduled sampling, and their beam search."""

import itertools

import pytest
import torch

from egret.base.errors import UsageError
from egret.base.options import parse
from egret.decoding import attention_beam as beam_search
from egret.decoding.attention_beam import attention_beam
from egret.models.cross_attention import DotAttention
from egret.models.decoder import BLANK, END, attention_loss, sampled, with_ends
from egret.models.greedy import MAX_RATIO, greedy, most_tokens
from egret.models.model import JointModel
from egret.models.options import ModelOptions, SpellerOptions, TdnnOptions, TransformerDecoderOptions
from egret.training.data import Batch
from egret.training.objective import Objective
from egret.training.options import TeacherOptions, TrainOptions
from folders import make_lang
from noise import noise_batch

FEATURES, TOKENS = 6, 7
LENGTHS = [21, 9, 1, 16]
TRANSFORMER = {"transformer_decoder": TransformerDecoderOptions(dim=16, layers=2, heads=2, dropout=0.0)}
SPELLERS = [
    {"speller": SpellerOptions(dim=12, embedding=8, attention=attention, attention_dim=8,
                               feed_context=feed, dropout=0.0)}
    for attention in ("additive", "location_aware", "scaled_dot", "multi_head") for feed in (True, False)
]  # fmt: skip
KINDS = pytest.mark.parametrize("decoder", [TRANSFORMER, *SPELLERS])


def make_model(decoder: dict, ctc_weight: float = 0.3, seed: int = 0, sure: float = 1.0) -> JointModel:
    torch.manual_seed(seed)
    tdnn = TdnnOptions(dim=10, kernels=[3], dilations=[1], strides=[2], dropout=0.0)
    [name] = decoder
    model = JointModel(FEATURES, TOKENS, ModelOptions(tdnn=tdnn, decoder=name, ctc_weight=ctc_weight, **decoder))
    with torch.no_grad():
        model.decoder.output.weight.mul_(sure)
    return model.eval()


def make_batch(lengths=LENGTHS, padding: float = 0.0):
    return noise_batch(lengths, FEATURES, padding=padding)


TARGETS = [[3, 4, 5, 3, 3], [6, 2], [], [4, 4, 4, 4]]


def logits_of(model: JointModel, features, lengths, targets):
    x, lengths, _ = model.encode(features, lengths)
    return model.decoder(x, lengths, with_ends(targets, x.device)[0])


@KINDS
def test_step_by_step_is_as_all_at_once(decoder):
    model = make_model(decoder)
    x, lengths, _ = model.encode(*make_batch())
    given, _ = with_ends(TARGETS, x.device)
    memory, state = model.decoder.begin(x, lengths, 1)
    steps = []
    for place in range(given.shape[1]):
        logits, state = model.decoder.step(given[:, place : place + 1], memory, state)
        steps.append(logits)
    assert torch.allclose(torch.cat(steps, dim=1), model.decoder(x, lengths, given), atol=1e-5)


@KINDS
def test_an_utterance_alone_and_in_a_batch_gives_the_same(decoder):
    model = make_model(decoder).train()  # no dropout here
    features, lengths = make_batch(padding=50.0)
    together = logits_of(model, features, lengths, TARGETS)
    for row, length in enumerate(LENGTHS):
        alone = logits_of(model, features[row : row + 1, :length], lengths[row : row + 1], [TARGETS[row]])
        assert torch.allclose(together[row, : alone.shape[1]], alone[0], atol=1e-5)


@KINDS
def test_a_script_does_the_same(decoder):
    model = make_model(decoder)
    scripted = torch.jit.script(model)
    x, lengths, _ = model.encode(*make_batch())
    memory, state = model.decoder.begin(x, lengths, 2)
    given = torch.tensor([[3, 4]] * len(LENGTHS))
    theirs = scripted.decoder.step(given, *scripted.decoder.begin(scripted.encode(*make_batch())[0], lengths, 2))[0]
    assert torch.allclose(model.decoder.step(given, memory, state)[0], theirs, atol=1e-6)


@KINDS
def test_later_tokens_are_not_seen(decoder):
    model = make_model(decoder)
    batch = make_batch([12])
    first, second = (logits_of(model, *batch, [target]) for target in ([3, 4, 5], [3, 4, 6]))
    assert torch.equal(first[:, :3], second[:, :3]) and not torch.allclose(first[:, 3], second[:, 3])


@KINDS
def test_where_the_truth_is_seldom_given_the_decoder_hears_itself(decoder):
    model = make_model(decoder)
    x, lengths, _ = model.encode(*make_batch([12]))
    given, _ = with_ends([[3, 4, 5]], x.device)
    torch.manual_seed(3)
    outcomes = [model.decoder(x, lengths, given, 0.0) for _ in range(8)]
    assert all(torch.equal(outcome[:, :1], outcomes[0][:, :1]) for outcome in outcomes)
    assert any(not torch.allclose(outcome, outcomes[0], atol=1e-4) for outcome in outcomes)


@KINDS
def test_with_its_own_tokens_every_parameter_learns_in_bfloat16(decoder):
    model = make_model(decoder, ctc_weight=0.0).train()
    with torch.autocast("cpu", torch.bfloat16):
        x, lengths, _ = model.encode(*make_batch())
        given, wanted = with_ends(TARGETS, x.device)
        loss = attention_loss(model.decoder(x, lengths, given, 0.5), wanted).sum()
    loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@KINDS
def test_scores_that_are_no_numbers_are_left_to_the_loss(decoder):
    model = make_model(decoder)
    x, lengths, _ = model.encode(*make_batch())
    given, wanted = with_ends(TARGETS, x.device)
    losses = attention_loss(model.decoder(x * float("nan"), lengths, given, 0.5), wanted)
    assert not torch.isfinite(losses.sum())


def test_what_a_decoder_is_given_begins_with_the_end_and_what_it_gives_ends_with_it():
    given, wanted = with_ends([[5, 6], [4]], torch.device("cpu"))
    assert given.tolist() == [[END, 5, 6], [END, 4, END]]
    assert wanted.tolist() == [[5, 6, END], [4, END, -1]]


def test_the_loss_counts_the_tokens_of_each_utterance():
    _, wanted = with_ends([[5, 6], [4]], torch.device("cpu"))
    losses = attention_loss(torch.zeros(2, 3, TOKENS), wanted)
    assert torch.allclose(losses, torch.tensor([3.0, 2.0]) * torch.log(torch.tensor(float(TOKENS))))


def test_smoothing_gives_all_tokens_their_share_of_the_loss():
    """Szegedy et al. 2016, section 7."""
    logits, (_, wanted) = torch.randn(2, 3, TOKENS), with_ends([[5, 6], [4]], torch.device("cpu"))
    losses = -logits.log_softmax(dim=2)
    expected = [
        sum(0.9 * losses[row, place, token] + 0.1 * losses[row, place].mean() for place, token in enumerate(tokens))
        for row, tokens in enumerate([[5, 6, END], [4, END]])
    ]
    assert torch.allclose(attention_loss(logits, wanted, 0.1), torch.stack(expected), atol=1e-5)


def test_scaled_dot_products_are_those_of_pytorch():
    torch.manual_seed(1)
    ours, theirs = DotAttention(8, 8, 8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
    theirs.out_proj.load_state_dict(ours.narrow.state_dict())
    asked, frames = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    hidden = torch.arange(5) >= torch.tensor([[5], [2]])
    found, expected = ours(asked, *ours.prepare(frames), hidden, asked), theirs(asked, frames, frames, hidden)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(found, expected, strict=True))


def test_a_speller_draws_for_each_token_of_each_utterance_anew():
    decoder = make_model(SPELLERS[0]).decoder
    with torch.no_grad():
        decoder.output.bias[6] = 1e4  # whatever is drawn is a 6
    heard, step = [], decoder.step
    decoder.step = lambda tokens, *others: (heard.append(tokens), step(tokens, *others))[1]
    with torch.no_grad():
        decoder(torch.randn(2, 4, 10), torch.tensor([4, 4]), torch.full((2, 500), 3), 0.7)
    kept = torch.cat(heard, dim=1)[:, 1:] == 3
    assert kept.float().mean(dim=1).tolist() == pytest.approx([0.7, 0.7], abs=0.08)
    assert (kept[0] != kept[1]).any()


def test_tokens_are_kept_with_the_chance_that_was_asked_for():
    torch.manual_seed(0)
    logits = torch.full((1, 5001, TOKENS), -1e9)
    logits[..., 6] = 0  # whatever is drawn is a 6
    kept = (sampled(torch.full((1, 5001), 3), logits, 0.8) == 3).float().mean()
    assert kept == pytest.approx(0.8, abs=0.02)


def test_the_chance_falls_from_epoch_to_epoch_down_to_its_floor():
    teacher = TeacherOptions(forcing=1.0, fall=0.1, floor=0.85)
    assert [teacher.in_epoch(epoch) for epoch in range(4)] == pytest.approx([1.0, 0.9, 0.85, 0.85])
    assert TeacherOptions(forcing=0.5).in_epoch(7) == 0.5


@pytest.mark.parametrize("decoder", [TRANSFORMER, SPELLERS[0]])
def test_on_dev_the_truth_is_always_given_and_nothing_smoothed(decoder, tmp_path):
    model = make_model(decoder, ctc_weight=0.0, sure=9.0)
    lang = make_lang(tmp_path, [("a", ["x", "y", "z", "v"])])
    features, lengths = make_batch([21, 9])
    targets, [name] = [[3, 4, 5], [6, 2]], decoder
    batch = Batch(["1", "2"], features, lengths, targets, ["", ""], ["", ""], 0.3)
    words = [f"--{each}=none" for each in ("cuts", "stats", "lang", "out")] + ["--model.decoder", name]
    words += ["--model.ctc_weight", "0", "--label_smoothing", "0.5", "--teacher.forcing", "0"]
    objective = Objective(parse(TrainOptions, words, "train.py", ""), lang, model, torch.device("cpu"))
    objective.in_epoch(9)
    expected = attention_loss(logits_of(model, features, lengths, targets), with_ends(targets, features.device)[1])
    assert torch.allclose(objective.per_utterance(batch).float(), expected, atol=1e-5)
    model.train()
    assert not torch.allclose(objective(batch), expected.sum(), atol=0.1)


@KINDS
def test_a_wide_beam_finds_the_most_probable_transcript(decoder):
    model = make_model(decoder, sure=4.0)
    x, lengths, _ = model.encode(*make_batch([6, 5]))  # three frames each, so at most three tokens
    found = attention_beam(model.decoder, x, lengths, lengths, beam=300, penalty=0.0)
    for row in range(2):
        every = [
            list(each)
            for count in range(4)
            for each in itertools.product([t for t in range(TOKENS) if t != END], repeat=count)
        ]
        given, wanted = with_ends(every, x.device)
        many = len(every)
        logits = model.decoder(x[row : row + 1].expand(many, -1, -1), lengths[row : row + 1].expand(many), given)
        scores = -attention_loss(logits, wanted)
        best = int(scores.argmax())
        assert (found[row][0].tokens, found[row][0].score) == (
            every[best],
            pytest.approx(float(scores[best]), abs=1e-4),
        )


@KINDS
def test_a_beam_of_one_is_greedy(decoder):
    model = make_model(decoder, ctc_weight=0.0, sure=6.0)
    features, lengths = make_batch([30, 24, 11])
    x, frames, _ = model.encode(features, lengths)
    limits = most_tokens(lengths, MAX_RATIO)
    beams = attention_beam(model.decoder, x, frames, limits, 1, 0.0)
    for found, (tokens, score) in zip(beams, greedy(model, x, frames, lengths), strict=True):
        # The search also remembers transcripts that it might have ended before.
        assert found[0].tokens == tokens[: len(found[0].tokens)]
        assert found[0].score >= score - 1e-4 or len(tokens) == len(found[0].tokens)  # which greedy never ended


def test_an_utterance_alone_is_recognised_as_in_a_batch():
    model = make_model(TRANSFORMER, sure=5.0)
    features, lengths = make_batch([30, 24, 11])
    x, frames, _ = model.encode(features, lengths)
    together = attention_beam(model.decoder, x, frames, frames, 4, 1.0)
    for row in range(3):
        count = int(frames[row])
        [alone] = attention_beam(
            model.decoder, x[row : row + 1, :count], frames[row : row + 1], frames[row : row + 1], 4, 1.0
        )
        assert [each.tokens for each in alone] == [each.tokens for each in together[row]]


def test_a_list_has_what_a_search_to_the_last_length_finds(monkeypatch):
    model = make_model(TRANSFORMER, sure=3.0)
    x, frames, _ = model.encode(*make_batch([60, 48, 44]))
    best, whole = (attention_beam(model.decoder, x, frames, frames, 6, 0.0, listed) for listed in (1, 6))
    monkeypatch.setattr(beam_search, "hopeless", lambda ended, *_: torch.zeros(len(ended.ranked), dtype=torch.bool))
    endless = attention_beam(model.decoder, x, frames, frames, 6, 0.0)
    spelled = [[[each.tokens for each in found] for found in lists] for lists in (whole, endless)]
    assert spelled[0] == spelled[1]
    assert [found[0] for found in best] == [found[0] for found in endless] and best != endless


class Certain:
    """A decoder that is sure of the tokens 2 to 7 and lets each utterance end early only with next to no probability,
    at once less unlikely than later."""

    def __init__(self, short: list[int]) -> None:
        self.short = short  # tokens of each utterance

    def begin(self, x, lengths, beam):
        return {"short": torch.tensor(self.short)}, {"count": torch.zeros(len(x), beam, dtype=torch.long)}

    def step(self, tokens, memory, state):
        logits = torch.full((*tokens.shape, 8), -40.0)
        for row, most in enumerate(memory["short"].tolist()):
            count = int(state["count"][row, 0])
            logits[row, :, END] = -12.0 if count == 0 else -30.0
            logits[row, :, END if count >= most else 2 + count] = 0.0
        return logits, {"count": state["count"] + 1}


@pytest.mark.parametrize("beam", [1, 4])
def test_a_sure_transcript_is_not_given_up_for_an_early_end(beam):
    [found] = attention_beam(Certain([6]), torch.zeros(1, 9, 1), torch.tensor([9]), torch.tensor([9]), beam, 0.0)
    assert found[0].tokens == [2, 3, 4, 5, 6, 7]


def test_what_others_in_the_batch_need_does_not_matter():
    lengths = torch.tensor([9, 9])
    found = attention_beam(Certain([1, 6]), torch.zeros(2, 9, 1), lengths, lengths, 4, 0.0)
    [alone] = attention_beam(Certain([1]), torch.zeros(1, 9, 1), lengths[:1], lengths[:1], 4, 0.0)
    assert [each.tokens for each in found[0][:2]] == [each.tokens for each in alone[:2]] == [[2], []]


def test_no_transcript_has_a_blank():
    model = make_model(TRANSFORMER)
    with torch.no_grad():
        model.decoder.output.bias[BLANK] = 20.0
    x, lengths, _ = model.encode(*make_batch([12, 9]))
    found = attention_beam(model.decoder, x, lengths, lengths, 4, 1.0, 4)
    assert not any(BLANK in each.tokens for hypotheses in found for each in hypotheses)


def test_each_utterance_has_its_own_most_tokens():
    model = make_model(TRANSFORMER)
    with torch.no_grad():
        model.decoder.output.bias[END] = -20.0
    x, lengths, _ = model.encode(*make_batch([20] * 6))
    limits = torch.tensor([2, 7, 7, 7, 7, 7])
    found = attention_beam(model.decoder, x, lengths, limits, 3, 1.0, 3)
    assert [max(len(each.tokens) for each in hypotheses) for hypotheses in found] == limits.tolist()


def test_transcripts_are_compared_by_their_probability_over_the_penalty():
    """Wu et al. 2016, section 7."""
    model = make_model(TRANSFORMER, sure=2.0)
    x, lengths, _ = model.encode(*make_batch([20]))
    [found] = attention_beam(model.decoder, x, lengths, lengths, 6, 0.8, 6)
    expected = [each.score / ((5 + len(each.tokens)) / 6) ** 0.8 for each in found]
    assert [each.normalised for each in found] == pytest.approx(expected) == sorted(expected, reverse=True)


def test_a_longer_transcript_is_preferred_with_a_higher_penalty():
    model = make_model(SPELLERS[0], sure=2.0)
    x, lengths, _ = model.encode(*make_batch([30]))
    short, long = (attention_beam(model.decoder, x, lengths, lengths, 8, penalty)[0][0]
                   for penalty in (0.0, 3.0))  # fmt: skip
    assert len(short.tokens) < len(long.tokens)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"ctc_weight": 0.5}, "there is no decoder"),
        ({"decoder": "speller", "ctc_weight": 1.0}, "would not learn"),
    ],
)
def test_weights_without_a_use_are_refused(shape, says):
    with pytest.raises(UsageError, match=says):
        ModelOptions(**shape)


def test_a_model_without_ctc_has_no_head():
    assert make_model(TRANSFORMER, ctc_weight=0.0).head is None

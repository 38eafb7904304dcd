"""Attention decoders: all at once and step by step, padding, scripts, scheduled sampling, and their beam search."""

import itertools

import pytest
import torch

from egret.base.errors import UsageError
from egret.decoding.attention_beam import attention_beam
from egret.decoding.options import AttentionOptions
from egret.models.decoder import END, attention_loss, sampled, with_ends
from egret.models.greedy import greedy
from egret.models.model import JointModel
from egret.models.options import ModelOptions, SpellerOptions, TdnnOptions, TransformerDecoderOptions
from egret.training.options import TeacherOptions

FEATURES, TOKENS = 6, 7
LENGTHS = [21, 9, 1, 16]
TRANSFORMER = {"transformer_decoder": TransformerDecoderOptions(dim=16, layers=2, heads=2, dropout=0.0)}
SPELLERS = [
    {"speller": SpellerOptions(dim=12, embedding=8, attention=attention, attention_dim=8, kernel=5,
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
    torch.manual_seed(1)
    features = [torch.randn(length, FEATURES) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(features, batch_first=True, padding_value=padding), torch.tensor(lengths)


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


def test_what_a_decoder_is_given_begins_with_the_end_and_what_it_gives_ends_with_it():
    given, wanted = with_ends([[5, 6], [4]], torch.device("cpu"))
    assert given.tolist() == [[END, 5, 6], [END, 4, END]]
    assert wanted.tolist() == [[5, 6, END], [4, END, -1]]


def test_the_loss_counts_the_tokens_of_each_utterance():
    _, wanted = with_ends([[5, 6], [4]], torch.device("cpu"))
    losses = attention_loss(torch.zeros(2, 3, TOKENS), wanted)
    assert torch.allclose(losses, torch.tensor([3.0, 2.0]) * torch.log(torch.tensor(float(TOKENS))))


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


@KINDS
def test_a_wide_beam_finds_the_most_probable_transcript(decoder):
    model = make_model(decoder, sure=4.0)
    x, lengths, _ = model.encode(*make_batch([6, 5]))  # three frames each, so at most three tokens
    found = attention_beam(model.decoder, x, lengths, AttentionOptions(beam=300), penalty=0.0)
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
    [beam, alone] = [
        attention_beam(model.decoder, x, frames, AttentionOptions(beam=1), 0.0),
        greedy(model, features, lengths),
    ]
    ended = [(tokens, score) for tokens, score in alone]
    for found, (tokens, score) in zip(beam, ended, strict=True):
        best = found[0]
        # The search also remembers transcripts that it might have ended before.
        assert best.tokens == tokens[: len(best.tokens)] and best.score >= score - 1e-4


def test_an_utterance_alone_is_recognised_as_in_a_batch():
    model = make_model(TRANSFORMER, sure=5.0)
    features, lengths = make_batch([30, 24, 11])
    x, frames, _ = model.encode(features, lengths)
    together = attention_beam(model.decoder, x, frames, AttentionOptions(beam=4), 1.0)
    for row in range(3):
        count = int(frames[row])
        [alone] = attention_beam(
            model.decoder, x[row : row + 1, :count], frames[row : row + 1], AttentionOptions(beam=4), 1.0
        )
        assert [each.tokens for each in alone] == [each.tokens for each in together[row]]


def test_a_longer_transcript_is_preferred_with_a_higher_penalty():
    model = make_model(SPELLERS[0], sure=2.0)
    x, lengths, _ = model.encode(*make_batch([30]))
    short, long = (attention_beam(model.decoder, x, lengths, AttentionOptions(beam=8), penalty)[0][0]
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

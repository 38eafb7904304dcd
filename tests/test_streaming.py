"""Streaming: pieces of any length together are the whole utterance, and the state is small, whole and the reader's."""

import random
from collections.abc import Iterator
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn

from egret.base.errors import EgretError
from egret.models.attention import shift
from egret.models.masking import full_lengths, hidden_frames, hidden_in_stream
from egret.models.model import ENCODERS, JointModel
from egret.models.options import ConformerOptions, ModelOptions, TransformerOptions
from egret.models.recurrent_options import DeepSpeech2Options
from egret.models.zipformer_options import ZipformerOptions

FEATURES, TOKENS = 9, 5
BLOCKS = {"dim": 8, "layers": 2, "heads": 2, "channels": 2}
RECURRENT = {
    "channels": [2, 3], "frequency_kernels": [5, 3], "time_kernels": [5, 3], "dim": 6, "layers": 2, "causal": True,
    "bidirectional": False,
}  # fmt: skip
STACKS = {
    "dims": [6, 8, 7], "layers": [1, 2, 1], "downsampling": [1, 4, 2], "feed_forward": [8, 8, 8],
    "heads": [2, 3, 1], "kernels": [5, 3, 7], "query_dim": 4, "value_dim": 3, "position_query_dim": 2,
    "position_dim": 6, "channels": [2, 3, 4],
}  # fmt: skip


def conformer(**shape) -> ModelOptions:
    return ModelOptions(encoder="conformer", conformer=ConformerOptions(**{**BLOCKS, "kernel": 5, **shape}))


def transformer(**shape) -> ModelOptions:
    return ModelOptions(encoder="transformer", transformer=TransformerOptions(**{**BLOCKS, **shape}))


def deepspeech2(**shape) -> ModelOptions:
    return ModelOptions(encoder="deepspeech2", deepspeech2=DeepSpeech2Options(**{**RECURRENT, **shape}))


def zipformer(**shape) -> ModelOptions:
    return ModelOptions(encoder="zipformer", zipformer=ZipformerOptions(**{**STACKS, **shape}))


SHAPES = {
    "conformer": conformer(chunk=2, left_chunks=2),
    "conformer, all that was heard": conformer(chunk=3),
    "conformer, its chunk alone": conformer(chunk=4, left_chunks=0, norm="layer"),
    "conformer, chunks of one frame": conformer(chunk=1, left_chunks=1, kernel=1),
    "conformer, 2 and 1": conformer(chunk=2, left_chunks=1, strides=[2, 1]),
    "conformer, 3": conformer(chunk=2, left_chunks=1, strides=[3]),
    "conformer, 1": conformer(chunk=1, strides=[1]),
    "conformer, 4 and 2": conformer(chunk=1, left_chunks=3, strides=[4, 2]),
    "transformer": transformer(chunk=3, left_chunks=1),
    "transformer, all that was heard": transformer(chunk=1),
    "deepspeech2": deepspeech2(),
    "deepspeech2, gru": deepspeech2(cell="gru", row_convolution=2),
    "deepspeech2, tanh": deepspeech2(cell="rnn", norm="layer", time_strides=[3, 1]),
    "deepspeech2, elu": deepspeech2(cell="rnn", rnn_activation="elu", activation="elu", row_convolution=1),
    "deepspeech2, later frames": deepspeech2(causal=False, time_strides=[2, 3], row_convolution=2),
    "deepspeech2, far strides": deepspeech2(time_strides=[6, 1], activation="tanh"),
    "zipformer": zipformer(chunk=2, left_chunks=1),
    "zipformer, two chunks back": zipformer(chunk=2, left_chunks=2),
    "zipformer, all that was heard": zipformer(chunk=4),
    "zipformer, its chunk alone": zipformer(chunk=2, left_chunks=0),
}
LIMITED = ["conformer", "transformer", "deepspeech2", "deepspeech2, gru", "zipformer", "conformer, its chunk alone"]
EACH = ["conformer", "deepspeech2, gru", "zipformer"]
every_shape = pytest.mark.parametrize("shape", SHAPES)


def make_model(options: ModelOptions) -> JointModel:
    """In evaluation mode; scales, shifts, means and deviations are other than one and zero, as after training."""
    torch.manual_seed(0)
    model = JointModel(FEATURES, TOKENS, options)
    for name, tensor in model.state_dict().items():
        if tensor.dim() == 1 or name.endswith("row.weight"):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval()


def make_encoder(shape: str) -> nn.Module:
    """In double precision, where it shows that nothing differs."""
    return make_model(SHAPES[shape]).double().encoder


def speech(frames: int, batch: int = 3, dtype: torch.dtype = torch.double) -> Tensor:
    return torch.randn(batch, frames, FEATURES, generator=torch.Generator().manual_seed(frames)).to(dtype)


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, atol=tolerance)


def offline(encoder: nn.Module, x: Tensor) -> Tensor:
    return encoder(x, full_lengths(x))[0]


def in_pieces(encoder: nn.Module, x: Tensor, sizes: Iterator[int]) -> Tensor:
    state, outputs, first = encoder.start(len(x)), [], 0
    while first < x.shape[1]:
        size = next(sizes)
        y, state = encoder.stream(x[:, first : first + size], state, last=first + size >= x.shape[1])
        outputs.append(y)
        first += size
    return torch.cat(outputs, dim=1)


def drawn(sizes: list[int]) -> Iterator[int]:
    random_sizes = random.Random(0)
    while True:
        yield random_sizes.choice(sizes)


def heard(encoder: nn.Module, pieces: int, batch: int = 1) -> list[Tensor]:
    """The state after so many pieces."""
    state = encoder.start(batch)
    for number in range(pieces):
        _, state = encoder.stream(speech(encoder.piece, batch) + number, state)
    return state


# What comes out


@torch.no_grad()
@every_shape
def test_pieces_are_together_the_whole_utterance(shape):
    encoder = make_encoder(shape)
    piece = encoder.piece
    for frames in (1, piece, 3 * piece + 1, 6 * piece, 12 * piece - 1):
        expected = offline(encoder, speech(frames))
        for sizes in (repeat(piece), drawn([piece, 2 * piece, 5 * piece]), drawn([0, 1, 2, 3, 7])):
            found = in_pieces(encoder, speech(frames), sizes)
            assert same(found, expected)


@torch.no_grad()
@every_shape
def test_outputs_of_whole_pieces_are_there_after_the_delay_and_not_before(shape):
    encoder = make_encoder(shape)
    x, due = speech(4 * encoder.piece + encoder.delay), offline(encoder, speech(4 * encoder.piece)).shape[1]
    y, _ = encoder.stream(x, encoder.start(3))
    assert y.shape[1] == due
    if encoder.delay:
        y, _ = encoder.stream(x[:, :-1], encoder.start(3))
        assert y.shape[1] < due


@torch.no_grad()
@every_shape
def test_an_utterance_can_end_with_a_piece_of_nothing(shape):
    encoder, x = make_encoder(shape), speech(17)
    y, state = encoder.stream(x, encoder.start(3))
    rest, _ = encoder.stream(x[:, :0], state, last=True)
    assert same(torch.cat([y, rest], dim=1), offline(encoder, x))


@torch.no_grad()
@pytest.mark.parametrize("shape", [*EACH, "deepspeech2, elu", "transformer, all that was heard"])
def test_a_script_streams_the_same(shape):
    encoder = make_encoder(shape)
    x, sizes = speech(5 * encoder.piece + 3), [0, 3, encoder.piece, 2 * encoder.piece]
    with torch.jit.optimized_execution(False):  # which takes seconds for each new shape
        found = in_pieces(torch.jit.script(encoder), x, drawn(sizes))
    assert same(found, in_pieces(encoder, x, drawn(sizes)))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("shape", EACH)
def test_a_script_streams_the_same_when_it_has_been_optimised(shape):
    encoder = make_encoder(shape)
    x = speech(8 * encoder.piece)
    found = in_pieces(torch.jit.script(encoder), x, repeat(encoder.piece))
    assert same(found, offline(encoder, x))


# The state


@torch.no_grad()
@pytest.mark.parametrize("shape", LIMITED)
def test_the_state_does_not_grow(shape):
    encoder = make_encoder(shape)
    sizes = [[each.shape for each in heard(encoder, pieces)] for pieces in (3, 9)]
    assert sizes[0] == sizes[1]


@torch.no_grad()
@every_shape
def test_the_state_holds_no_more_memory_than_its_tensors_show(shape):
    state = heard(make_encoder(shape), 5, batch=2)
    for each in state:
        storage = getattr(each, "untyped_storage", each.storage)()  # PyTorch 1.13 has only the one, 2 warns of it
        assert storage.nbytes() == each.numel() * each.element_size()


@torch.no_grad()
@every_shape
def test_the_state_that_was_given_stays_as_it_is(shape):
    encoder = make_encoder(shape)
    state = heard(encoder, 2)
    before = [each.clone() for each in state]
    encoder.stream(speech(2 * encoder.piece, 1), state)
    assert len(state) == len(before) and all(torch.equal(*pair) for pair in zip(state, before, strict=True))


@torch.no_grad()
@every_shape
def test_behind_the_last_piece_the_next_utterance_can_begin(shape):
    encoder = make_encoder(shape)
    _, state = encoder.stream(speech(7), heard(encoder, 3, batch=3), last=True)
    y, _ = encoder.stream(speech(23), state, last=True)
    assert same(y, offline(encoder, speech(23)))


@torch.no_grad()
@pytest.mark.parametrize("shape", LIMITED)
def test_utterances_that_began_at_different_times_can_go_on_together(shape):
    encoder = make_encoder(shape)
    x, piece = speech(9 * encoder.piece, 2), encoder.piece
    early, state = encoder.stream(x[:1, : 5 * piece], encoder.start(1))
    late, other = encoder.stream(x[1:, : 2 * piece], encoder.start(1))
    state = [torch.cat(pair) for pair in zip(state, other, strict=True)]
    rest, _ = encoder.stream(torch.cat([x[:1, 5 * piece :], x[1:, 2 * piece : 6 * piece]]), state, last=True)
    assert same(torch.cat([early, rest[:1]], dim=1), offline(encoder, x[:1]))
    assert same(torch.cat([late, rest[1:]], dim=1), offline(encoder, x[1:, : 6 * piece]))


@torch.no_grad()
@pytest.mark.parametrize("shape", EACH)
def test_an_utterance_that_ends_before_the_others_is_taken_out_of_the_state(shape):
    encoder, x = make_encoder(shape), speech(50)
    y, state = encoder.stream(x[:, :40], encoder.start(3))
    ended, _ = encoder.stream(x[1:2, 40:43], [each[1:2] for each in state], last=True)
    assert same(torch.cat([y[1:2], ended], dim=1), offline(encoder, x[1:2, :43]))


# The whole model


@torch.no_grad()
@pytest.mark.parametrize("shape", EACH)
def test_a_model_streams_log_probabilities_of_normalised_features(shape):
    model, x = make_model(SHAPES[shape]), speech(61, dtype=torch.float)
    assert same(in_pieces(model, x, repeat(8)), model(x, full_lengths(x))[0], 1e-5)


def test_the_state_of_a_model_holds_on_to_nothing_for_gradients():
    model = make_model(SHAPES["deepspeech2"])
    _, state = model.stream(speech(8, dtype=torch.float), model.start(3))
    assert not any(each.requires_grad for each in state)


@torch.no_grad()
def test_a_model_streams_what_its_encoder_gives():
    model, x = make_model(SHAPES["deepspeech2"]), speech(61, dtype=torch.float)
    y, _ = model.encode_piece(x, model.start(3), last=True)
    assert same(y, model.encode(x, full_lengths(x))[0], 1e-5)


@torch.no_grad()
def test_a_script_of_a_model_comes_back_from_the_disk_and_streams(tmp_path):
    model, x = make_model(SHAPES["transformer"]), speech(29, dtype=torch.float)
    torch.jit.script(model).save(str(tmp_path / "model.pt"))
    with torch.jit.optimized_execution(False):
        found = in_pieces(torch.jit.load(str(tmp_path / "model.pt")), x, repeat(8))
    assert same(found, model(x, full_lengths(x))[0], 1e-5)


REFUSED = [
    (conformer(), "--model.conformer.chunk 0"),
    (zipformer(), "--model.zipformer.chunk 0"),
    (deepspeech2(causal=False, bidirectional=True), "--model.deepspeech2.bidirectional true"),
    (ModelOptions(encoder="tdnn"), "--model.encoder tdnn"),
    (ModelOptions(encoder="dcnn"), "--model.encoder dcnn"),
]
refused = pytest.mark.parametrize(("options", "says"), REFUSED)


@refused
def test_a_model_that_cannot_stream_says_why(options, says):
    with pytest.raises(EgretError, match=rf"^{says}.*cannot stream; train"):
        make_model(options).start(1)


@refused
def test_a_script_of_a_model_that_cannot_stream_says_so_and_does_the_rest(options, says):
    model, x = make_model(options), speech(20, dtype=torch.float)
    script = torch.jit.script(model)
    assert same(script(x, full_lengths(x))[0], model(x, full_lengths(x))[0], 1e-5)
    with pytest.raises(torch.jit.Error, match=says):
        script.start(1)


def test_the_mean_of_an_utterance_cannot_be_streamed():
    model = make_model(ModelOptions(encoder="conformer", conformer=SHAPES["conformer"].conformer, utterance_mean=True))
    with pytest.raises(EgretError, match=r"--model.utterance-mean true: .* cannot stream"):
        model.start(1)


@pytest.mark.parametrize("shape", EACH)
def test_nothing_is_streamed_in_training_mode(shape):
    with pytest.raises(EgretError, match=r"in training mode.*eval\(\)"):
        make_encoder(shape).train().start(1)


@pytest.mark.parametrize("shape", EACH)
def test_a_model_that_has_begun_streams_no_more_in_training_mode(shape):
    model = make_model(SHAPES[shape])
    state = model.start(3)
    with pytest.raises(EgretError, match=r"in training mode.*eval\(\)"):
        model.train().stream(speech(8, dtype=torch.float), state)


def test_every_encoder_that_streams_says_what_a_piece_is():
    streaming = {name for name, encoder in ENCODERS.items() if hasattr(encoder, "stream")}
    assert streaming == {"deepspeech2", "conformer", "transformer", "zipformer"}
    for options in SHAPES.values():
        encoder = make_model(options).encoder
        assert encoder.cannot_stream == "" and encoder.piece > 0 <= encoder.delay


# What a piece of attention sees


@pytest.mark.parametrize("left", [-1, 0, 1, 2])
def test_a_piece_is_hidden_what_the_same_frames_of_the_utterance_are(left):
    whole = hidden_frames(torch.tensor([20, 20]), 20, 4, left)
    assert torch.equal(hidden_in_stream(torch.tensor([12, 12]), 12, 8, 4, left), whole[:, 12:])


def test_what_was_not_heard_yet_is_hidden():
    hidden = hidden_in_stream(torch.tensor([2, 9]), past=4, frames=2, chunk=2, left_chunks=2)
    assert hidden.int().tolist() == [[[1, 1, 0, 0, 0, 0]] * 2, [[0] * 6] * 2]


def test_scores_of_later_frames_by_key_are_those_of_their_distance():
    scores = torch.randn(2, 3, 4, 9)  # four frames that look, six keys
    shifted = shift(scores)
    for query in range(4):
        for key in range(6):  # column 0 is the distance 5, from the last frame to the first
            assert torch.equal(shifted[:, :, query, key], scores[:, :, query, 5 - (2 + query - key)])

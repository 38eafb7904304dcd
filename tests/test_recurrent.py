"""The recurrent encoders: frames and padding, TorchScript, what they see, parameters, options."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from egret.base.errors import UsageError
from egret.models import model
from egret.models.deepspeech2 import DeepSpeech2, RowConvolution
from egret.models.extractors import DeepSpeechExtractor, VggExtractor
from egret.models.files import model_options
from egret.models.listener import Listener, join_pairs
from egret.models.model import count_parameters
from egret.models.recurrent import RecurrentLayer, RecurrentStack, reorder, turned
from egret.models.recurrent_options import DeepSpeech2Options, ListenerOptions, TdnnLstmOptions
from egret.models.tdnn_lstm import TdnnLstm
from noise import noise_batch

FEATURES = 13
LENGTHS = [31, 17, 1, 8, 30]
SMALL = {"channels": [3, 4], "frequency_kernels": [5, 3], "time_kernels": [5, 3], "dim": 6, "layers": 2}
SHAPES = {
    "deepspeech2": DeepSpeech2Options(**SMALL),
    "deepspeech2-paddle": DeepSpeech2Options(**SMALL, time_strides=[3, 1], cell="gru", directions="concat"),
    "deepspeech2-shared": DeepSpeech2Options(**SMALL, cell="rnn", rnn_activation="hardtanh", shared=True),
    "deepspeech2-streaming": DeepSpeech2Options(**SMALL, causal=True, bidirectional=False, row_convolution=2),
    "deepspeech2-layer-norm": DeepSpeech2Options(**SMALL, norm="layer", activation="elu", cell="rnn"),
    "deepspeech2-relu": DeepSpeech2Options(**SMALL, activation="tanh", cell="rnn", rnn_activation="relu"),
    "deepspeech2-three": DeepSpeech2Options(
        channels=[2, 2, 3], frequency_kernels=[3, 3, 3], frequency_strides=[2, 1, 2], time_kernels=[3, 5, 3],
        time_strides=[2, 3, 2], dim=5, layers=1,
    ),
    "las-pyramid": ListenerOptions(dim=5),
    "las-pyramid-gru": ListenerOptions(dim=5, layers=2, pyramidal=2, cell="gru", norm="layer"),
    "las-vgg": ListenerOptions(dim=5, extractor="vgg", channels=3, layers=2, pyramidal=0),
    "las-vgg-tanh": ListenerOptions(dim=5, extractor="vgg", channels=2, layers=1, pyramidal=1, activation="tanh"),
    "las-deepspeech2": ListenerOptions(dim=5, extractor="deepspeech2", channels=2, layers=1, pyramidal=0, norm="batch"),
    "tdnn-lstm": TdnnLstmOptions(dim=7),
    "tdnn-lstm-layer-norm": TdnnLstmOptions(dim=7, bidirectional=True, norm="layer", layers=2, strides=[2, 1, 2]),
}  # fmt: skip
ENCODERS = {DeepSpeech2Options: DeepSpeech2, ListenerOptions: Listener, TdnnLstmOptions: TdnnLstm}
BIDIRECTIONAL = [name for name in SHAPES if "streaming" not in name and name != "tdnn-lstm"]
every_shape = pytest.mark.parametrize("shape", SHAPES)


def make_encoder(shape: str, training: bool = False) -> nn.Module:
    """Scales, shifts and running averages are other than one and zero, as after training; without dropout."""
    torch.manual_seed(0)
    encoder = ENCODERS[type(SHAPES[shape])](FEATURES, SHAPES[shape])
    for tensor in encoder.state_dict().values():
        if tensor.dim() == 1:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder.train(training)


def make_batch(padding: float = 0.0, more: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x, lengths = noise_batch(LENGTHS, FEATURES, padding=padding)
    return nn.functional.pad(x, (0, 0, 0, more), value=padding), lengths


# Frames and padding


@every_shape
def test_an_utterance_alone_and_in_a_batch_give_the_same(shape):
    encoder = make_encoder(shape)
    features, lengths = make_batch(padding=9.0)
    together, frames, _ = encoder(features, lengths)
    for row, length in enumerate(LENGTHS):
        alone, [count], _ = encoder(features[row : row + 1, :length], lengths[row : row + 1])
        assert frames[row] == count == alone.shape[1]
        assert torch.allclose(together[row, :count], alone[0], atol=1e-5)


@every_shape
def test_more_padding_changes_nothing_in_training(shape):
    encoder, again = make_encoder(shape, training=True), make_encoder(shape, training=True)
    outputs, frames, _ = encoder(*make_batch())
    padded, _, _ = again(*make_batch(padding=9.0, more=13))
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(outputs[row, :count], padded[row, :count], atol=1e-5)
    for name, tensor in encoder.state_dict().items():  # the running averages among them
        assert torch.allclose(tensor, again.state_dict()[name], atol=1e-5), name


@every_shape
def test_gradients_do_not_depend_on_the_padding(shape):
    found = []
    for more in (0, 13):
        encoder = make_encoder(shape, training=True).double()
        features, lengths = make_batch(padding=9.0, more=more)
        outputs, frames, _ = encoder(features.double(), lengths)
        sum(outputs[row, :count].square().sum() for row, count in enumerate(frames.tolist())).backward()
        found.append([parameter.grad for parameter in encoder.parameters()])
    assert all(torch.allclose(one, other) for one, other in zip(*found, strict=True))


@every_shape
def test_strides_foretell_the_number_of_frames(shape):
    encoder = make_encoder(shape)
    for frames in (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 25):
        outputs, lengths, _ = encoder(torch.zeros(1, frames, FEATURES), torch.tensor([frames]))
        for stride in encoder.strides:
            frames = -(-frames // stride)
        assert (frames, encoder.out_dim) == (lengths.item(), outputs.shape[2])
        assert outputs.shape[1] == frames


@every_shape
def test_the_middle_has_the_shape_of_the_output(shape):
    outputs, _, middle = make_encoder(shape)(*make_batch())
    assert middle is None or middle.shape == outputs.shape


def test_the_middle_is_the_layer_in_the_middle():
    torch.manual_seed(0)
    stack = RecurrentStack(4, 4, partial(RecurrentLayer, dim=4))
    x, lengths = torch.randn(2, 7, 4), torch.tensor([7, 5])
    _, middle = stack(x, lengths)
    half = stack.blocks[1](stack.blocks[0](x, lengths), lengths)
    assert torch.equal(middle, half)


@every_shape
def test_an_encoder_can_be_scripted(shape, tmp_path):
    encoder = make_encoder(shape)
    torch.jit.script(encoder).save(str(tmp_path / "encoder.pt"))
    found, frames, _ = torch.jit.load(str(tmp_path / "encoder.pt"))(*make_batch())
    expected, expected_frames, _ = encoder(*make_batch())
    assert frames.tolist() == expected_frames.tolist()
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@every_shape
def test_a_script_gives_the_same_when_it_has_been_optimised(shape):
    encoder = make_encoder(shape)
    scripted = torch.jit.script(encoder)
    for _ in range(3):  # the first runs gather what it is optimised by
        found, _, _ = scripted(*make_batch())
    assert torch.allclose(found, encoder(*make_batch())[0], atol=1e-5)


@every_shape
def test_an_encoder_runs_in_bfloat16(shape):
    encoder = make_encoder(shape, training=True)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _, _ = encoder(*make_batch())
    outputs.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


# Recurrent layers


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_layer_of_both_directions_is_what_packed_sequences_give(cell):
    torch.manual_seed(0)
    layer = RecurrentLayer(5, 4, cell, directions="concat")
    packed = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](5, 4, bidirectional=True, batch_first=True)
    for name, tensor in layer.ahead.named_parameters():
        getattr(packed, name).data = tensor.data
        getattr(packed, f"{name}_reverse").data = getattr(layer.back, name).data
    x, lengths = torch.randn(3, 9, 5), torch.tensor([4, 9, 1])
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed(rows)[0], batch_first=True)
    found = layer(x, lengths)
    for row, count in enumerate(lengths):
        assert torch.allclose(found[row, :count], expected[row, :count], atol=1e-6)


def test_directions_are_summed_or_stand_side_by_side():
    torch.manual_seed(0)
    both, summed = RecurrentLayer(5, 4, directions="concat"), RecurrentLayer(5, 4)
    summed.load_state_dict(both.state_dict())
    x, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    ahead, back = both(x, lengths).chunk(2, dim=2)
    assert torch.allclose(summed(x, lengths), ahead + back)


def test_own_cells_are_those_of_pytorch():
    torch.manual_seed(0)
    own, known = RecurrentLayer(3, 4, "rnn", activation="elu"), nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    own.ahead.activation = nn.ReLU()
    for name, tensor in own.ahead.named_parameters():
        getattr(known, name).data = tensor.data
    nn.init.zeros_(known.bias_hh_l0)
    x = torch.randn(2, 6, 3)
    assert torch.allclose(own.ahead(x)[0], known(x)[0], atol=1e-6)


def test_shared_directions_have_one_matrix_for_their_input():
    apart, shared = RecurrentLayer(5, 4, "gru"), RecurrentLayer(5, 4, "gru", shared=True)
    assert count_parameters(apart) - count_parameters(shared) == 3 * 4 * (5 + 1)


def test_shared_directions_stay_shared_in_a_copy_that_is_trained():
    torch.manual_seed(0)
    layer = copy.deepcopy(RecurrentLayer(5, 4, shared=True))
    layer(torch.randn(2, 6, 5), torch.tensor([6, 3])).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    assert torch.equal(layer.ahead.weight_ih_l0, layer.back.weight_ih_l0)


def test_turned_twice_a_batch_is_what_it_was():
    x = torch.randn(3, 5, 2)
    rows = turned(torch.tensor([5, 3, 0]), 5)
    assert torch.equal(reorder(reorder(x, rows), rows), x)


def test_an_utterance_is_turned_within_its_length():
    x = torch.arange(8.0).view(2, 4, 1)
    assert reorder(x, turned(torch.tensor([4, 2]), 4)).flatten().tolist() == [3, 2, 1, 0, 5, 4, 6, 7]


# What outputs see


def seen(encoder: nn.Module, output: int, frames: int = 40) -> list[int]:
    """The frames of features that an output depends on."""
    torch.manual_seed(2)
    features = torch.randn(1, frames, FEATURES, requires_grad=True)
    outputs, _, _ = encoder(features, torch.tensor([frames]))
    outputs[0, output].square().sum().backward()
    return features.grad[0].abs().sum(1).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("more", "ahead"),
    [
        ({"causal": True}, 0),
        ({"causal": True, "row_convolution": 3}, 6),
        ({"causal": False}, 4),
        ({"causal": False, "row_convolution": 1, "time_strides": [3, 2], "frequency_strides": [1, 1]}, 11),
    ],
)
def test_a_streaming_model_sees_as_far_ahead_as_it_says(more, ahead):
    torch.manual_seed(0)
    encoder = DeepSpeech2(FEATURES, DeepSpeech2Options(**SMALL, **more, bidirectional=False)).eval()
    if encoder.row is not None:
        nn.init.normal_(encoder.row.weight)
    rate = encoder.strides[0] * encoder.strides[1]
    assert encoder.look_ahead == ahead == seen(encoder, 3)[-1] - 3 * rate


def test_what_a_streaming_model_says_stays_when_more_is_heard():
    encoder = make_encoder("deepspeech2-streaming")
    x = torch.randn(1, 40, FEATURES)
    offline, _, _ = encoder(x, torch.tensor([40]))
    for heard in range(encoder.look_ahead + 1, 40):
        early, _, _ = encoder(x[:, :heard], torch.tensor([heard]))
        settled = (heard - 1 - encoder.look_ahead) // 2 + 1
        assert torch.allclose(early[:, :settled], offline[:, :settled], atol=1e-5)


@pytest.mark.parametrize("shape", BIDIRECTIONAL)
def test_bidirectional_layers_see_all(shape):
    assert seen(make_encoder(shape), 2) == list(range(40))


def test_a_row_convolution_is_the_sum_of_its_paper():
    """Amodei et al. 2015, section 3.7."""
    torch.manual_seed(0)
    row, x = RowConvolution(4, 2), torch.randn(1, 6, 4)
    nn.init.normal_(row.weight)
    found = row(x, torch.tensor([6]))
    expected = sum(row.weight[:, 0, ahead] * x[0, 1 + ahead] for ahead in range(3))
    assert torch.allclose(found[0, 1], expected, atol=1e-6)


def test_a_new_row_convolution_changes_nothing():
    x = torch.randn(2, 6, 4)
    assert torch.equal(RowConvolution(4, 2)(x, torch.tensor([6, 6])), x)


# Convolutions and pyramids


def test_the_extractor_of_deep_speech_halves_frequencies_and_rounds_up():
    extractor = DeepSpeechExtractor(161, [32, 32], [41, 21], [2, 2], [11, 11], [2, 1])
    assert extractor.out_dim == 32 * 41


def test_the_vgg_extractor_is_convolutions_and_pools():
    torch.manual_seed(0)
    extractor = VggExtractor(FEATURES, 2).eval()
    x = torch.randn(1, 10, FEATURES)
    y = x.unsqueeze(1)
    for number, convolution in enumerate(extractor.convolutions):
        y = nn.functional.conv2d(y, convolution.weight, padding=1) / (1 + 1e-5) ** 0.5
        y = y.clamp(0, 20)
        if number in (1, 3):
            y = nn.functional.max_pool2d(y, 2, ceil_mode=True)
    found, lengths = extractor(x, torch.tensor([10]))
    assert lengths.tolist() == [3]
    assert torch.allclose(found, y.permute(0, 2, 3, 1).flatten(2), atol=1e-6)


def test_two_frames_are_joined_and_the_last_with_zeros():
    x = torch.arange(1.0, 7.0).view(1, 3, 2)
    joined, lengths = join_pairs(x, torch.tensor([3]))
    assert joined.tolist() == [[[1, 2, 3, 4], [5, 6, 0, 0]]]
    assert lengths.tolist() == [2]


def test_the_first_layer_of_a_pyramid_is_at_the_rate_of_the_features():
    encoder = Listener(FEATURES, ListenerOptions(dim=5))
    inputs = [block.layer.ahead.weight_ih_l0.shape[1] for block in encoder.blocks]
    assert (encoder.strides, inputs) == ([2, 2, 2], [FEATURES, 20, 20, 20])


# Presets and options


PRESETS = Path(__file__).resolve().parents[1] / "conf" / "models"


def encoder_of(preset: str, features: int) -> nn.Module:
    chosen = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())["model"]
    options = model_options({**chosen, "decoder": "none", "ctc_weight": 1.0})
    return model.ENCODERS[options.encoder](features, getattr(options, options.encoder))


@pytest.fixture
def no_drawing(monkeypatch):
    """Weights are not drawn, which takes seconds for large models."""
    monkeypatch.setattr(nn.RNNBase, "reset_parameters", lambda self: None)


def test_deepspeech2_mindaudio_has_the_parameters_of_its_card(no_drawing):
    encoder = encoder_of("deepspeech2_mindaudio", 161)
    head = nn.Linear(encoder.out_dim, 29)
    assert count_parameters(encoder) + count_parameters(head) == pytest.approx(86.6e6, rel=0.01)


@pytest.mark.parametrize(
    ("preset", "features", "strides", "width"),
    [
        ("deepspeech2", 80, [2, 1], 512),
        ("deepspeech2_paddle", 161, [3, 1], 4096),
        ("las_pyramid", 80, [2, 2, 2], 512),
        ("las_kospeech", 80, [2, 2], 512),
        ("tdnn_lstm", 80, [1, 1, 3], 256),
    ],
)
def test_presets_have_the_shape_that_was_published(no_drawing, preset, features, strides, width):
    encoder = encoder_of(preset, features)
    assert (encoder.strides, encoder.out_dim) == (strides, width)


@pytest.mark.parametrize(
    ("options", "chosen", "says"),
    [
        (DeepSpeech2Options, {"channels": [2]}, "one number for each"),
        (DeepSpeech2Options, {"channels": [], "time_kernels": []}, "1 to 3 convolutions"),
        (DeepSpeech2Options, {"time_kernels": [4, 3]}, "time-kernels: odd"),
        (DeepSpeech2Options, {"frequency_kernels": [3, 2]}, "frequency-kernels: odd"),
        (DeepSpeech2Options, {"cell": "gru", "rnn_activation": "relu"}, "cell rnn"),
        (DeepSpeech2Options, {"row_convolution": 3}, "see all that follows"),
        (DeepSpeech2Options, {"bidirectional": False, "shared": True}, "bidirectional true"),
        (DeepSpeech2Options, {"bidirectional": False, "directions": "concat"}, "bidirectional true"),
        (ListenerOptions, {"layers": 2, "pyramidal": 3}, "2 layers"),
        (ListenerOptions, {"channels": 64}, "extractor vgg"),
        (ListenerOptions, {"activation": "relu"}, "extractor vgg"),
        (TdnnLstmOptions, {"kernels": [3]}, "one number for each"),
        (TdnnLstmOptions, {"kernels": [3, 4, 3]}, "odd numbers"),
    ],
)
def test_what_does_not_go_together_is_refused(options, chosen, says):
    with pytest.raises(UsageError, match=says):
        options(**chosen)

"""The acoustic model: padding, lengths, normalisation, and its way to the disk and back."""

from typing import get_args, get_type_hints

import pytest
import torch
import yaml

from egret.base.errors import EgretError, UsageError
from egret.base.options import as_plain
from egret.models.attention import RelativeAttention, attention_weights, relative_positions, shift
from egret.models.conformer import depthwise
from egret.models.files import build_model, load_config, load_model, load_weights, save_config, save_weights
from egret.models.masking import frame_mask, mask_frames
from egret.models.model import ENCODERS, JointModel, count_parameters
from egret.models.norm import BatchNorm
from egret.models.options import ConformerOptions, ModelOptions, TdnnOptions, TransformerOptions
from folders import make_experiment, make_lang
from noise import noise_batch

# No convolution of stride 2 comes upon two frequencies: in bfloat16 on a CPU PyTorch 2.13's reads memory then that
# nobody has written.
FEATURES, TOKENS = 9, 7
LENGTHS = [31, 17, 1, 8, 30]
SHAPES = pytest.mark.parametrize(
    "shape",
    [
        {},
        {"norm": "batch"},
        {"kernels": [5, 3], "dilations": [1, 4], "strides": [2, 3]},
        {"kernels": [1], "dilations": [1], "strides": [4]},
        {"utterance_mean": True},
        {"kernels": [3, 3, 7], "dilations": [2, 1, 1], "strides": [3, 1, 2], "norm": "batch"},
        {"layers": 2, "heads": 3, "kernel": 5, "channels": 4},
        {"layers": 1, "heads": 2, "kernel": 3, "channels": 3, "strides": [1, 3, 2], "norm": "layer"},
        {"layers": 2, "heads": 2, "kernel": 5, "channels": 3, "chunk": 2, "left_chunks": 1},
        {"encoder": "transformer", "layers": 2, "heads": 3, "channels": 3, "feed_forward": 2},
        {"encoder": "transformer", "layers": 2, "heads": 2, "channels": 3, "chunk": 3},
    ],
)


def make_model(shape: dict, seed: int = 0) -> JointModel:
    """In evaluation mode; scales, shifts, means and deviations are other than one and zero, as after training.

    A shape with heads is a conformer's unless it says otherwise, any other a tdnn's.
    """
    torch.manual_seed(seed)
    shape = {"dim": 12, **shape}
    utterance_mean = shape.pop("utterance_mean", False)
    if shape.pop("encoder", "") == "transformer":
        transformer = TransformerOptions(**shape)
        options = ModelOptions(encoder="transformer", utterance_mean=utterance_mean, transformer=transformer)
    elif "heads" in shape:
        options = ModelOptions(encoder="conformer", utterance_mean=utterance_mean, conformer=ConformerOptions(**shape))
    else:
        options = ModelOptions(utterance_mean=utterance_mean, tdnn=TdnnOptions(**shape))
    model = JointModel(FEATURES, TOKENS, options)
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval()


def make_batch(seed: int = 0, padding: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    return noise_batch(LENGTHS, FEATURES, seed, padding)


# What comes out


@SHAPES
def test_an_utterance_alone_and_in_a_batch_give_the_same(shape):
    model = make_model(shape)
    features, lengths = make_batch()
    together, frames = model(features, lengths)
    for row, length in enumerate(LENGTHS):
        alone, [count] = model(features[row : row + 1, :length], lengths[row : row + 1])
        assert frames[row] == count == alone.shape[1]
        assert torch.allclose(together[row, :count], alone[0], atol=1e-5)


@SHAPES
def test_what_stands_in_the_padding_does_not_matter(shape):
    model = make_model(shape)
    clean, frames = model(*make_batch())
    noisy, _ = model(*make_batch(padding=1e3))
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(clean[row, :count], noisy[row, :count], atol=1e-5)


@SHAPES
def test_padding_has_no_part_in_training(shape):
    features, lengths = make_batch()
    longer = torch.nn.functional.pad(features, (0, 0, 0, 50), value=9.0)
    model, again = (make_model(shape).train() for _ in range(2))
    for module in (*model.modules(), *again.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    outputs, frames = model(features, lengths)
    padded, _ = again(longer, lengths)
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(outputs[row, :count], padded[row, :count], atol=1e-4)
    for name, tensor in model.state_dict().items():  # the running averages among them
        assert torch.allclose(tensor, again.state_dict()[name], atol=1e-5), name


@SHAPES
def test_output_lengths_are_those_foretold(shape):
    model = make_model(shape)
    for frames in [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 25]:
        log_probs, lengths = model(torch.zeros(1, frames, FEATURES), torch.tensor([frames]))
        assert model.output_frames(frames) == lengths.item() == log_probs.shape[1]


def test_the_strides_are_the_subsampling():
    model = make_model({"kernels": [3, 3, 3], "dilations": [1, 1, 1], "strides": [2, 1, 3]})
    assert [model.output_frames(frames) for frames in (1, 2, 6, 7, 12, 13)] == [1, 1, 1, 2, 2, 3]
    assert make_model({"kernels": [3], "dilations": [1], "strides": [1]}).output_frames(13) == 13


def test_outputs_are_log_probabilities_of_the_tokens():
    log_probs, _ = make_model({})(*make_batch())
    assert log_probs.shape[2] == TOKENS
    assert torch.allclose(log_probs.exp().sum(dim=2), torch.ones(log_probs.shape[:2]), atol=1e-5)


def test_an_output_sees_the_frames_of_its_kernels_and_no_more():
    model = make_model({"kernels": [3, 3], "dilations": [1, 2], "strides": [1, 1]})
    features = torch.randn(1, 20, FEATURES, requires_grad=True)
    log_probs, _ = model(features, torch.tensor([20]))
    log_probs[0, 10].square().sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().sum(dim=1).nonzero().flatten().tolist()
    assert seen == list(range(7, 14))  # one frame each side, then two


def test_features_are_normalised_with_the_mean_and_deviation_of_training():
    model = make_model({})
    features, lengths = make_batch()
    mean, deviation = torch.randn(FEATURES), torch.rand(FEATURES) + 0.5
    model.set_normalisation(torch.zeros(FEATURES), torch.ones(FEATURES))
    plain, frames = model(features, lengths)
    model.set_normalisation(mean, deviation)
    shifted, _ = model(features * deviation + mean, lengths)
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(plain[row, :count], shifted[row, :count], atol=1e-4)


def test_with_its_own_mean_taken_off_an_utterance_is_the_same_on_any_microphone():
    model = make_model({"utterance_mean": True})
    features, lengths = make_batch()
    plain, frames = model(features, lengths)
    shifted, _ = model(features + torch.arange(float(FEATURES)), lengths)
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(plain[row, :count], shifted[row, :count], atol=1e-4)


def test_an_utterance_without_frames_spoils_no_other_where_each_loses_its_own_mean():
    model = make_model({"utterance_mean": True, "norm": "batch"}).train()
    features, lengths = make_batch()
    lengths[2] = 0
    assert model(features, lengths)[0].isfinite().all()


def test_dropout_is_for_training_only():
    model = make_model({"dropout": 0.5})
    batch = make_batch()
    assert torch.equal(model(*batch)[0], model(*batch)[0])
    model.train()
    assert not torch.equal(model(*batch)[0], model(*batch)[0])


def test_parameters_are_counted_without_mean_and_deviation():
    model = make_model({"kernels": [3], "dilations": [1], "strides": [1]})
    assert count_parameters(model) == (3 * FEATURES * 12 + 12) + 2 * 12 + (12 * TOKENS + TOKENS)


def test_the_mask_is_true_on_frames_of_the_utterance():
    assert frame_mask(torch.tensor([2, 0, 3]), 3).int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert mask_frames(torch.ones(1, 3, 2), torch.tensor([1])).tolist() == [[[1, 1], [0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("shape", "says"),
    [({"kernels": [3, 3]}, "one number for each layer"), ({"kernels": [3, 3, 2, 3, 3]}, "odd numbers")],
)
def test_impossible_networks_are_refused(shape, says):
    with pytest.raises(UsageError, match=says):
        TdnnOptions(**shape)


@pytest.mark.parametrize(
    ("shape", "says"),
    [({"dim": 10, "heads": 4}, "divide"), ({"kernel": 4}, "an odd number"), ({"strides": []}, "at least one")],
)
def test_impossible_conformers_are_refused(shape, says):
    with pytest.raises(UsageError, match=says):
        ConformerOptions(**shape)


def test_the_conformer_of_size_s_has_the_parameters_of_the_paper():
    """Gulati et al. 2020 give 10.3 million with a decoder of one LSTM layer of 320 (about 1.4 million and a joint)."""
    model = JointModel(80, 1, ModelOptions(encoder="conformer"))
    assert 8.5e6 < count_parameters(model) < 9.5e6


def test_relative_attention_scores_are_those_of_the_distance_of_two_frames():
    scores = torch.randn(2, 3, 5, 9)
    shifted = shift(scores)
    for query in range(5):
        for key in range(5):  # column 0 is the distance 4, the last column -4
            assert torch.equal(shifted[:, :, query, key], scores[:, :, query, 4 - (query - key)])


def test_relative_positions_are_sines_and_cosines_of_the_distance():
    positions = relative_positions(3, 4, torch.zeros(1))
    distances = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    assert torch.allclose(positions[:, 0], distances.sin(), atol=1e-6)
    assert torch.allclose(positions[:, 3], (distances / 100).cos(), atol=1e-6)


def test_attention_is_the_softmax_of_its_equation():
    """Dai et al. 2019, section 3.3, one query and one key at a time."""
    torch.manual_seed(1)
    attention, x = RelativeAttention(8, 2, 0.0), torch.randn(2, 5, 8)
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    hidden = ~frame_mask(torch.tensor([5, 3]), 5)
    positions = relative_positions(5, 8, x)
    found = attention_weights(attention, x, positions, hidden)
    query, key, _ = (part.view(2, 5, 2, 4) for part in attention.project(x).chunk(3, dim=2))
    distance = attention.project_positions(positions).view(9, 2, 4)
    for row, frames in enumerate([5, 3]):
        for head in range(2):
            content, position = attention.content_bias[head], attention.position_bias[head]
            for t in range(5):
                scores = torch.stack([
                    (query[row, t, head] + content) @ key[row, other, head]
                    + (query[row, t, head] + position) @ distance[4 - (t - other), head]
                    for other in range(frames)
                ])  # fmt: skip
                expected = torch.nn.functional.pad((scores / 2).softmax(dim=0), (0, 5 - frames))
                assert torch.allclose(found[row, head, t], expected, atol=1e-6)


def test_frames_that_are_hidden_have_no_gradient():
    attention, x = RelativeAttention(8, 2, 0.0), torch.randn(1, 5, 8, requires_grad=True)
    hidden = ~frame_mask(torch.tensor([3]), 5)
    attention(x, relative_positions(5, 8, x), hidden)[:, :3].square().sum().backward()
    assert x.grad is not None
    assert (x.grad[:, 3:] == 0).all() and (x.grad[:, :3] != 0).all()


@pytest.mark.parametrize("frames", [1, 4, 40])
def test_the_depthwise_convolution_is_that_of_its_module(frames):
    torch.manual_seed(1)
    module = torch.nn.Conv1d(6, 6, 5, padding=2, groups=6)
    x = torch.randn(3, frames, 6, requires_grad=True)
    expected, found = (
        module(x.transpose(1, 2)).transpose(1, 2),
        depthwise(x, module.weight, module.bias, module.padding[0]),
    )
    assert torch.allclose(found, expected, atol=1e-6)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((y * weight).sum(), [x, *module.parameters()]) for y in (expected, found)]
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*gradients, strict=True))


def test_batch_normalisation_is_pytorchs_on_the_frames_of_the_utterances():
    torch.manual_seed(1)
    ours, theirs = BatchNorm(4), torch.nn.BatchNorm1d(4)
    x, lengths = 3 * torch.randn(2, 9, 4) + 2, torch.tensor([9, 5])
    inside = frame_mask(lengths, 9)
    assert torch.allclose(ours(x, lengths)[inside], theirs(x[inside]), atol=1e-5)
    assert torch.allclose(ours.mean, theirs.running_mean, atol=1e-5)


def test_the_end_of_an_utterance_is_silent_to_the_gradient_too():
    """What stands in the padding changes no gradient of the convolutions that subsample."""
    gradients = []
    for padding in (0.0, 1e3):
        model = make_model({"layers": 1, "heads": 2, "kernel": 3, "channels": 3})
        log_probs, frames = model(*make_batch(padding=padding))
        sum(log_probs[row, :count].square().sum() for row, count in enumerate(frames.tolist())).backward()
        gradients.append([parameter.grad for parameter in model.encoder.subsampling.parameters()])
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-3) for pair in zip(*gradients, strict=True))


def test_a_conformer_sees_the_whole_utterance():
    model = make_model({"layers": 1, "heads": 2, "kernel": 3, "channels": 3})
    features = torch.randn(1, 60, FEATURES, requires_grad=True)
    log_probs, _ = model(features, torch.tensor([60]))
    log_probs[0, 0].square().sum().backward()
    assert features.grad is not None
    assert (features.grad[0].abs().sum(dim=1) > 0).all()


def test_the_middle_of_a_conformer_is_what_its_first_half_alone_would_give():
    model = make_model({"layers": 4, "heads": 2, "kernel": 3, "channels": 3})
    features, lengths = make_batch()
    x, frames, middle = model.encode(features, lengths)
    log_probs, middle = model.log_probs(x), model.log_probs(middle)
    assert torch.equal(log_probs, model(features, lengths)[0]) and middle.shape == log_probs.shape
    del model.encoder.blocks[2:]
    half, _ = model(features, lengths)
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(middle[row, :count], half[row, :count], atol=1e-6)


STREAMING = pytest.mark.parametrize(
    "shape",
    [
        {"layers": 2, "heads": 2, "kernel": 5, "channels": 3, "chunk": 3},
        {"layers": 2, "heads": 2, "kernel": 5, "channels": 3, "chunk": 2, "left_chunks": 1},
        {"encoder": "transformer", "layers": 2, "heads": 2, "channels": 3, "chunk": 4, "left_chunks": 2},
    ],
)


@STREAMING
def test_in_chunks_an_output_does_not_change_when_more_is_heard(shape):
    model = make_model(shape)
    features = torch.randn(1, 61, FEATURES)
    whole, _ = model(features, torch.tensor([61]))
    chunk = shape["chunk"]
    for heard in range(4 * chunk, 60, 4 * chunk):  # four frames to one: whole chunks
        early, [count] = model(features[:, :heard], torch.tensor([heard]))
        assert count == heard // 4 and torch.allclose(early[0], whole[0, :count], atol=1e-5)


@STREAMING
def test_in_chunks_as_far_back_as_was_said_is_seen(shape):
    model = make_model({**shape, "layers": 1})
    features = torch.randn(1, 80, FEATURES, requires_grad=True)
    x, _, _ = model.encode(features, torch.tensor([80]))
    x[0, -1].square().sum().backward()
    first = int(features.grad[0].abs().sum(dim=1).nonzero()[0])
    chunk, left = shape["chunk"], shape.get("left_chunks", -1)
    convolved = 19 - (shape.get("kernel", 1) - 1)  # the first frame that the convolution in the block sees
    attended = 0 if left < 0 else (convolved // chunk - left) * chunk
    assert first == max(0, 4 * attended - 3)  # two convolutions before the block, each a frame back


@SHAPES
def test_every_encoder_trains_in_bfloat16(shape):
    model = make_model(shape).train()
    with torch.autocast("cpu", torch.bfloat16):
        log_probs, _ = model(*make_batch())
    log_probs.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@SHAPES
def test_a_script_gives_the_same(shape):
    model = make_model(shape)
    assert torch.equal(torch.jit.script(model)(*make_batch())[0], model(*make_batch())[0])


# On disk


@pytest.fixture
def lang(tmp_path):
    return make_lang(tmp_path / "lang", [("a", ["x"]), ("b", ["y"])])


def test_a_model_comes_back_from_its_config_and_weights(tmp_path, lang):
    model = make_experiment(tmp_path, lang, FEATURES, norm="batch", strides=[3, 1], dropout=0.4)
    model.set_normalisation(torch.randn(FEATURES), torch.rand(FEATURES))
    save_weights(tmp_path / "final.safetensors", model.state_dict())
    again, config = load_model(tmp_path)
    assert not again.training and config["tokens"] == len(lang.units)
    assert torch.equal(again(*make_batch())[0], model(*make_batch())[0])
    assert again.encoder.dropout.p == 0.4


def test_a_config_comes_back_from_yaml_as_it_was(tmp_path):
    options = ModelOptions(tdnn=TdnnOptions(dim=5, kernels=[1, 3], dilations=[1, 2], strides=[1, 2], dropout=0.25))
    config = {"model": as_plain(options), "features": 3, "tokens": 4, "units": "é", "lang": "data/lang"}
    save_config(tmp_path / "config.yaml", config)
    assert load_config(tmp_path / "config.yaml") == config
    assert list(load_config(tmp_path / "config.yaml")) == list(config)
    assert build_model(load_config(tmp_path / "config.yaml")).encoder.strides == [1, 2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: model["tdnn"].update(heads=4), "heads"),
        (lambda model: model["tdnn"].pop("norm"), "tdnn lacks norm"),
        (lambda model: model.pop("tdnn"), "tdnn"),
        (lambda model: model.update(tdnn=None), "NoneType"),
        (lambda model: model.update(encoder="lstm"), "no encoder 'lstm'"),
        (lambda model: model["tdnn"].update(strides=[1]), "one number for each layer"),
    ],
)
def test_a_config_of_another_version_is_an_error_that_names_it(tmp_path, lang, change, says):
    make_experiment(tmp_path, lang)
    config = load_config(tmp_path / "config.yaml")
    change(config["model"])
    save_config(tmp_path / "config.yaml", config)
    with pytest.raises(EgretError, match=rf"config\.yaml: not a model that this version of Egret makes \(.*{says}"):
        load_model(tmp_path)


def test_every_encoder_that_can_be_asked_for_can_be_made():
    assert set(get_args(get_type_hints(ModelOptions)["encoder"])) == ENCODERS.keys()
    for name in ENCODERS:
        assert build_model({"model": as_plain(ModelOptions(encoder=name)), "features": 3, "tokens": 4})


def test_a_checkpoint_is_loaded_by_its_name(tmp_path, lang):
    make_experiment(tmp_path, lang, FEATURES)
    other = make_experiment(tmp_path / "other", lang, FEATURES, seed=2)
    save_weights(tmp_path / "checkpoints/epoch-003/model.safetensors", other.state_dict())
    found = load_model(tmp_path, "epoch-003")[0](*make_batch())[0]
    assert torch.equal(found, other(*make_batch())[0])
    assert not torch.equal(found, load_model(tmp_path)[0](*make_batch())[0])


def test_weights_come_back_the_same_and_views_are_written_as_they_look(tmp_path):
    tensors = {"a": torch.randn(4, 6).t()[1:], "b": torch.tensor([1, 2]), "c": torch.ones(3, requires_grad=True)}
    save_weights(tmp_path / "w.safetensors", tensors)
    again = load_weights(tmp_path / "w.safetensors")
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated_weights_are_an_error_that_names_them(tmp_path, lang, kept):
    make_experiment(tmp_path, lang)
    content = (tmp_path / "final.safetensors").read_bytes()
    (tmp_path / "final.safetensors").write_bytes(content[:kept])
    with pytest.raises(EgretError, match=r"final\.safetensors: not whole"):
        load_model(tmp_path)


@pytest.mark.parametrize("other", [{"dim": 8}, {"kernels": [5, 3]}, {"kernels": [3], "dilations": [1], "strides": [1]}])
def test_weights_of_another_model_are_an_error_of_one_line(tmp_path, lang, other):
    make_experiment(tmp_path, lang)
    save_weights(tmp_path / "final.safetensors", make_experiment(tmp_path / "other", lang, **other).state_dict())
    with pytest.raises(EgretError, match=r"final\.safetensors: weights of another model") as error:
        load_model(tmp_path)
    assert "\n" not in str(error.value)


def test_an_unfinished_experiment_says_what_is_missing(tmp_path, lang):
    make_experiment(tmp_path, lang)
    (tmp_path / "final.safetensors").unlink()
    with pytest.raises(EgretError, match=r"final\.safetensors: no such weights; .*steps/train\.py"):
        load_model(tmp_path)
    with pytest.raises(EgretError, match=r"nowhere/config\.yaml: no trained model here"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "just words", "a: [1", yaml.safe_dump({"features": 3})])
def test_a_config_that_describes_no_model_is_an_error_of_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(EgretError, match=r"config\.yaml: .*train again") as error:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(error.value)

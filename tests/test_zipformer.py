"""The zipformer: its parts are those of their equations, padding is nowhere seen, sizes are the published ones."""

import math
from pathlib import Path

import pytest
import torch
import yaml

from bench.flops import products
from egret.base.errors import UsageError
from egret.base.options import parse
from egret.models import zipformer_modules
from egret.models.masking import hidden_frames
from egret.models.model import JointModel, count_parameters
from egret.models.options import ModelOptions
from egret.models.zipformer import Zipformer, joined
from egret.models.zipformer_modules import (
    AttentionWeights,
    BiasNorm,
    Bypass,
    ConvolutionModule,
    Downsample,
    NonLinearAttention,
    SelfAttention,
    compact_positions,
    swoosh_l,
    swoosh_r,
)
from egret.models.zipformer_options import ZipformerOptions
from egret.training.options import TrainOptions
from noise import noise_batch

PRESETS = Path(__file__).resolve().parents[1] / "conf" / "models"
FEATURES = 8
LENGTHS = [31, 17, 1, 8, 30]
THREE = {
    "dims": [8, 12, 10], "layers": [1, 2, 1], "downsampling": [1, 4, 2], "feed_forward": [8, 12, 8],
    "heads": [2, 3, 1], "kernels": [5, 3, 7],
}  # fmt: skip
TWO = {
    "dims": [12, 8], "layers": [1, 1], "downsampling": [2, 3], "feed_forward": [8, 8], "heads": [1, 2],
    "kernels": [3, 5],
}  # fmt: skip
STREAMS = {**THREE, "chunk": 2, "left_chunks": 1}
SHAPES = pytest.mark.parametrize("shape", [THREE, TWO, STREAMS])


def options(shape: dict) -> ZipformerOptions:
    small = {"query_dim": 4, "value_dim": 3, "position_query_dim": 2, "position_dim": 6, "channels": [2, 3, 4]}
    return ZipformerOptions(**{**small, "dropout": 0.0, **shape})


def make(shape: dict) -> Zipformer:
    """In evaluation mode, its vectors other than they begin, as after training."""
    torch.manual_seed(0)
    model = Zipformer(FEATURES, options(shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.rand_like(parameter))
    return model.eval()


def batch(padding: float = 0.0, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return noise_batch(LENGTHS, FEATURES, seed, padding)


# The whole encoder


@SHAPES
@pytest.mark.parametrize("training", [False, True])
def test_an_utterance_alone_and_in_a_batch_give_the_same(shape, training):
    model = make(shape).train(training)
    features, lengths = batch()
    x, frames, middle = model(features, lengths)
    for row, length in enumerate(LENGTHS):
        alone, [count], its_middle = model(features[row : row + 1, :length], lengths[row : row + 1])
        assert frames[row] == count == alone.shape[1]
        assert torch.allclose(x[row, :count], alone[0], atol=1e-5)
        assert torch.allclose(middle[row, :count], its_middle[0], atol=1e-5)


@SHAPES
def test_what_stands_in_the_padding_changes_neither_output_nor_gradient(shape):
    found = []
    for padding in (0.0, 100.0):
        model = make(shape)
        x, frames, _ = model(*batch(padding))
        sum(x[row, :count].square().sum() for row, count in enumerate(frames.tolist())).backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        found.append(torch.cat([*(x[row, :count].flatten() for row, count in enumerate(frames.tolist())), gradients]))
    assert torch.allclose(*found, rtol=1e-4, atol=1e-4)


@SHAPES
def test_frames_are_halved_twice_and_rounded_up(shape):
    model = make(shape)
    for frames in range(1, 26):
        x, lengths, _ = model(torch.zeros(1, frames, FEATURES), torch.tensor([frames]))
        assert x.shape[1] == lengths.item() == math.ceil(math.ceil(frames / 2) / 2)


@SHAPES
@pytest.mark.parametrize("training", [False, True])
def test_torchscript_gives_the_same(shape, training):
    model = make(shape).train(training)
    scripted = torch.jit.script(model)
    for one, other in zip(model(*batch()), scripted(*batch()), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_joint_model_is_scripted_too():
    model = JointModel(FEATURES, 5, ModelOptions(encoder="zipformer", zipformer=options(THREE))).eval()
    assert torch.allclose(torch.jit.script(model)(*batch())[0], model(*batch())[0], atol=1e-5)


def test_the_middle_is_what_the_stacks_up_to_the_middle_would_give_alone():
    model = make(THREE)
    _, _, middle = model(*batch())
    model.stacks = model.stacks[:2]
    assert torch.equal(middle, model(*batch())[0])


def test_channels_that_the_middle_lacks_are_zero():
    _, _, middle = make({**THREE, "dims": [8, 9, 12]})(*batch())
    assert middle.shape[2] == 12 and (middle[:, 0, :9] != 0).all() and (middle[..., 9:] == 0).all()


def test_the_output_has_each_channel_from_the_latest_stack_that_has_it():
    outputs = [torch.full((1, 1, dim), float(dim)) for dim in (3, 5, 4, 2)]
    assert joined(outputs, 6).flatten().tolist() == [2, 2, 4, 4, 5, 0]


def test_without_chunks_the_whole_utterance_is_seen():
    features = torch.randn(1, 200, FEATURES, requires_grad=True)
    make(THREE)(features, torch.tensor([200]))[0][0, 0].sum().backward()
    assert (features.grad[0].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("left", [-1, 1])
def test_in_chunks_an_output_does_not_change_when_more_is_heard(left):
    model = make({**STREAMS, "left_chunks": left})
    features = torch.randn(1, 61, FEATURES)
    whole, _, _ = model(features, torch.tensor([61]))
    for heard in range(8, 60, 8):  # four frames to one: whole chunks
        early, [count], _ = model(features[:, :heard], torch.tensor([heard]))
        assert torch.allclose(early[0], whole[0, :count], atol=1e-5)


def test_in_chunks_as_far_back_as_was_said_is_seen():
    one = {name: values[:1] for name, values in THREE.items()}
    model = make({**one, "kernels": [1], "chunk": 2, "left_chunks": 1})
    features = torch.randn(1, 80, FEATURES, requires_grad=True)
    model(features, torch.tensor([80]))[0][0, -1].sum().backward()
    first = int(features.grad[0].abs().sum(dim=1).nonzero()[0])
    chunks, convolutions = 8 * (1 + 3), 2 * (6 + 2) + 1 + 2  # one back for each of three modules that attend
    assert first == 80 - chunks - convolutions


@pytest.mark.parametrize("size, millions", [("s", 22.1), ("m", 64.3), ("l", 147.0)])
def test_the_presets_have_the_published_parameters(size, millions, monkeypatch):
    """With a CTC head of 500 units, within half a per cent. Weights are not drawn, which would take long."""
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(zipformer_modules, "begin_small", lambda linear, factor: linear)
    preset = yaml.safe_load((PRESETS / f"zipformer_{size}.yaml").read_text())["model"]
    model = JointModel(80, 500, ModelOptions(encoder="zipformer", zipformer=ZipformerOptions(**preset["zipformer"])))
    assert count_parameters(model) == pytest.approx(millions * 1e6, rel=0.005)


def test_the_defaults_are_size_s():
    preset = yaml.safe_load((PRESETS / "zipformer_s.yaml").read_text())["model"]["zipformer"]
    assert ZipformerOptions(**preset) == ZipformerOptions()


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_the_presets_are_options_of_training(size):
    words = [f"--{name}=none" for name in ("cuts", "stats", "lang", "out")]
    words += ["--config", str(PRESETS / f"zipformer_{size}.yaml"), "--intermediate", "0.3"]
    assert parse(TrainOptions, words, "train.py", "").optim.schedule == "eden"


@pytest.mark.parametrize(
    "shape, says",
    [
        ({"dims": [8, 8]}, "one number for each stack"),
        ({"kernels": [3, 4, 3]}, "odd numbers"),
        ({"position_dim": 5}, "an even number"),
        ({"channels": [8, 16]}, "2 numbers for three convolutions"),
        ({"chunk": 3}, "whose double divides by 4"),
        ({"left_chunks": 2}, "left-chunks goes with chunk"),
    ],
)
def test_impossible_zipformers_are_refused(shape, says):
    with pytest.raises(UsageError, match=says):
        options({**THREE, **shape})


@pytest.mark.parametrize("features", [1, 6, 7, 8])
def test_any_number_of_features_will_do(features):
    x, _, _ = Zipformer(features, options(THREE))(torch.randn(1, 9, features), torch.tensor([9]))
    assert x.shape == (1, 3, 12)


# Its parts


@pytest.mark.parametrize("swoosh, bend, offset", [(swoosh_l, 4.0, 0.035), (swoosh_r, 1.0, 0.313261687)])
def test_swoosh_and_its_gradient_are_those_of_the_formula(swoosh, bend, offset):
    x = torch.linspace(-12, 12, 49, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(swoosh(x), (1 + (x - bend).exp()).log() - 0.08 * x - offset)
    assert torch.autograd.gradcheck(swoosh, [x])


def test_bias_norm_is_its_formula():
    norm, x = BiasNorm(4), torch.randn(2, 3, 4)
    torch.nn.init.normal_(norm.bias)
    expected = x / (x - norm.bias).square().mean(2, keepdim=True).sqrt() * math.e
    assert torch.allclose(norm(x), expected, atol=1e-5)


def test_bias_norm_of_a_frame_of_zeros_is_finite_as_is_its_gradient():
    norm = BiasNorm(4)
    x = torch.zeros(1, 1, 4, requires_grad=True)
    norm(x).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(norm.bias.grad).all()


def test_frames_are_joined_with_learned_weights_as_far_as_there_are_any():
    down = Downsample(3)
    with torch.no_grad():
        down.weight.copy_(torch.tensor([1.0, 2.0, 5.0]).log())
    x = torch.tensor([[8.0, 16, 24, 3, 9, 1e6], [5.0, 1e6, 1e6, 1e6, 1e6, 1e6]]).unsqueeze(2)
    y, lengths = down(x, torch.tensor([5, 1]))
    assert lengths.tolist() == [2, 1]
    assert y[..., 0].flatten().tolist() == pytest.approx([(8 + 32 + 120) / 8, (3 + 18) / 3, 5, 0])


def test_a_bypass_takes_its_part_of_what_was_made():
    assert Bypass(2)(torch.zeros(1, 1, 2), torch.ones(1, 1, 2)).flatten().tolist() == pytest.approx([0.5] * 2)


def test_blocks_are_bypassed_freely_only_after_the_first_steps():
    model = make({**THREE, "bypass_warmup": 2})
    scale = model.stacks[0].blocks[0].bypass.scale.data
    model.bound(0)
    found = [float(scale.min())]
    for step in (1, 2):
        scale.zero_()
        model.bound(step)
        found.append(float(scale.min()))
    assert found == pytest.approx([0.9, 0.9, 0.2])


def test_bypasses_that_are_frozen_stay_as_they_are_and_those_of_a_trained_model_have_warmed_up():
    model = make({**THREE, "bypass_warmup": 2})
    frozen, free = (block.bypass.scale for block in model.stacks[1].blocks)
    frozen.requires_grad_(False)
    frozen.data.zero_()
    free.data.fill_(0.4)
    model.bound(math.inf)
    assert frozen.tolist() == [0] * 12 and free.tolist() == pytest.approx([0.4] * 12)


def test_attention_is_the_softmax_of_content_and_distance():
    torch.manual_seed(1)
    attention, x = AttentionWeights(8, 2, 4, 3, 6, 0.0), torch.randn(2, 5, 8)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.5)
    positions = compact_positions(5, 6, x)
    found = attention(x, positions, hidden_frames(torch.tensor([5, 3]), 5, 0, -1))
    parts = attention.project(x).view(2, 5, 2, 11)
    distance = attention.project_positions(positions).view(9, 2, 3)
    for row, frames in enumerate([5, 3]):
        for head in range(2):
            for t in range(5):
                query, of_position = parts[row, t, head, :4], parts[row, t, head, 8:]
                scores = torch.stack([
                    query @ parts[row, other, head, 4:8] + of_position @ distance[4 - (t - other), head]
                    for other in range(frames)
                ])  # fmt: skip
                expected = torch.nn.functional.pad(scores.softmax(dim=0), (0, 5 - frames))
                assert torch.allclose(found[head, row, t], expected, atol=1e-6)


def test_positions_tell_distances_apart():
    positions = compact_positions(100, 8, torch.zeros(1))
    nearest = (torch.cdist(positions, positions) + 9 * torch.eye(199)).min()
    assert nearest > 1e-4 and (positions[:, -1] == 1).all()


def test_positions_are_told_apart_better_the_nearer_they_are():
    positions = compact_positions(100, 8, torch.zeros(1))
    steps = (positions[1:] - positions[:-1]).norm(dim=1)[99:]  # from 0 to -1, from -1 to -2 and so on
    assert (steps[1:] < steps[:-1]).all()


def test_self_attention_sees_the_values_of_each_head_through_its_weights():
    torch.manual_seed(1)
    attention, x, weights = SelfAttention(8, 2, 3), torch.randn(2, 5, 8), torch.rand(2, 2, 5, 5)
    values = attention.values(x).view(2, 5, 2, 3)
    seen = torch.einsum("hntu,nuhv->nthv", weights, values).flatten(2)
    assert torch.allclose(attention(x, weights), attention.narrow(seen), atol=1e-6)


def test_non_linear_attention_is_its_formula():
    torch.manual_seed(1)
    attention, x, weights = NonLinearAttention(8), torch.randn(2, 5, 8), torch.rand(2, 5, 5)
    gate, values, factor = attention.widen(x).split(6, dim=2)
    expected = attention.narrow(weights @ (values * gate.tanh()) * factor)
    assert torch.allclose(attention(x, weights), expected, atol=1e-6)


# What bench/train_throughput.py counts: N utterances of T frames of width D


def test_the_products_of_attention_are_counted():
    N, T, D = 2, 5, 8
    x, weights = torch.randn(N, T, D), torch.rand(3, N, T, T)
    assert products(AttentionWeights(D, 3, 4, 2, 6, 0.0), x, weights) == 2 * 3 * N * T * T * (4 + 2)
    assert products(SelfAttention(D, 3, 7), x, x) == 2 * 3 * N * T * T * 7
    assert products(NonLinearAttention(D), x, x) == 2 * N * T * T * 6


def test_the_depthwise_convolution_is_counted():
    x = torch.randn(2, 5, 8)
    assert products(ConvolutionModule(8, 3, causal=False), x, x) == 2 * 3 * x.numel()

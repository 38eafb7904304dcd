"""The operations of a training step, counted for bench/train_throughput.py: by hand, and against PyTorch's counter."""

import pytest
import torch

from bench.flops import step_operations, useful_operations
from egret.models.model import JointModel
from egret.models.options import ConformerOptions, ModelOptions, TdnnOptions

FEATURES, TOKENS = 8, 5
T, D = 6, 4  # output frames and width of the conformer here
CONFORMER = ConformerOptions(dim=D, layers=1, heads=2, feed_forward=2, kernel=3, channels=3, strides=[2], norm="layer")


def conformer() -> JointModel:
    return JointModel(FEATURES, TOKENS, ModelOptions(encoder="conformer", conformer=CONFORMER)).train()


def batch(*frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(len(frames), max(frames), FEATURES), torch.tensor(frames)


def test_a_tdnn_layer_is_its_kernel_times_its_width_for_each_frame():
    options = TdnnOptions(dim=16, kernels=[3, 5], dilations=[1, 1], strides=[2, 1])
    first, second, head = 2 * 3 * FEATURES * 16 * 10, 2 * 5 * 16 * 16 * 10, 2 * 16 * TOKENS * 10
    # The features need no gradient, so that backward is as much as forward in the first layer, twice that in others.
    expected = 2 * first + 3 * (second + head)
    assert step_operations(JointModel(FEATURES, TOKENS, ModelOptions(tdnn=options)), *batch(20)) == expected


def test_a_conformer_is_what_its_equations_say():
    subsampling = 2 * (2 * 9 * 3 * (FEATURES // 2) * T) + 3 * (2 * 3 * (FEATURES // 2) * D * T)
    feed_forward = 2 * 2 * (2 * D * 2 * D * T)
    attention = 4 * (2 * D * D * T) + 3 * (2 * T * T * D)
    convolution = (2 * D * 2 * D * T) + 2 * 3 * D * T + (2 * D * D * T)
    head = 2 * D * TOKENS * T
    distances = 2 * (2 * D * D * (2 * T - 1))  # which need no gradient themselves
    expected = subsampling + 3 * (feed_forward + attention + convolution + head) + distances
    assert step_operations(conformer(), *batch(2 * T)) == expected


def test_padding_is_waste():
    model = conformer()
    alone = sum(step_operations(model, *batch(frames)) for frames in (12, 4))
    assert useful_operations(model, *batch(12, 4)) == alone < step_operations(model, *batch(12, 4))


def test_counting_leaves_the_model_as_it_was():
    model = conformer()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step_operations(model, *batch(8))
    assert model.training and all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_pytorch_counts_the_same():
    counter = pytest.importorskip("torch.utils.flop_counter", reason="PyTorch before 2.1 counts nothing")
    model, (features, lengths) = conformer(), batch(2 * T)
    with counter.FlopCounterMode(display=False) as counted:
        log_probs, _ = model(features, lengths)
        log_probs.sum().backward()
    # The product with distances makes 2 T - 1 for each frame, of which T are needed. The gradient of the depthwise
    # kernels is counted as if each channel had met all.
    unneeded = 3 * 2 * T * D * (T - 1) + (D - 1) * 2 * 3 * D * T
    assert counted.get_total_flops() - unneeded == step_operations(model, features, lengths)

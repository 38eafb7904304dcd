"""Floating-point operations of a training step, counted from the shapes of its matrix products and convolutions.

A multiplication and an addition are two. What is done element by element (normalisation, activations, dropout, softmax,
the loss, the optimiser) counts as nothing, as it would take next to no time if the matrix units were all that mattered.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from egret.models import zipformer_modules as zipformer
from egret.models.attention import RelativeAttention
from egret.models.conformer import ConvolutionModule


def products(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Operations of the products that a module makes itself, forward, of its input x and its output y."""
    if isinstance(module, nn.Linear):
        return 2 * module.in_features * y.numel()
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return 2 * module.weight[0].numel() * y.numel()
    if isinstance(module, ConvolutionModule | zipformer.ConvolutionModule):
        # Its depthwise convolution, which it calls as a function.
        return 2 * module.depthwise.kernel_size[0] * y.numel()
    if isinstance(module, RelativeAttention):
        # Queries with keys, queries with distances and weights with values. A frame has T distances that matter;
        # a product with all 2 T - 1 of them makes more than is needed.
        return 3 * 2 * x.shape[1] * x.numel()
    if isinstance(module, zipformer.AttentionWeights):  # queries with keys, and with T distances; y is [H, N, T, T]
        return 2 * sum(module.sizes[1:]) * y.numel()
    if isinstance(module, zipformer.SelfAttention | zipformer.NonLinearAttention):  # weights with values
        return 2 * x.shape[1] * module.narrow.in_features * x.shape[:2].numel()
    return 0


def step_operations(model: nn.Module, features: Tensor, lengths: Tensor) -> int:
    """Operations of a forward and a backward pass over features [N, T, C] of lengths [N], padding included.

    Backward is twice forward: the gradient of the weights and that of the input, where it needs one.
    """
    total = 0

    def count(module: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal total
        backward = 2 if x.requires_grad or isinstance(module, RelativeAttention | ConvolutionModule) else 1
        total += (1 + backward) * products(module, x, y)

    with watched(model, count):
        model(features, lengths)
    return total


def useful_operations(model: nn.Module, features: Tensor, lengths: Tensor) -> int:
    """The same without padding: each utterance alone."""
    alone = ((features[row : row + 1, :length], lengths[row : row + 1]) for row, length in enumerate(lengths.tolist()))
    return sum(step_operations(model, *one) for one in alone)


@contextmanager
def watched(model: nn.Module, count: Callable[[nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Calls `count` with each module that runs, its first input and its output."""

    def look(module: nn.Module, given: tuple[Tensor, ...], y: object) -> None:
        if isinstance(y, Tensor):
            count(module, given[0], y)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    # Counting changes nothing: no random numbers of the step, and running averages only where it trains.
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()

"""What is done to a model's parameters besides training them: initialised, frozen, their gradients clipped."""

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from egret.base.errors import UsageError, first_few
from egret.training.optim_options import OptimOptions

INITIALISERS: dict[str, Any] = {
    "xavier_uniform": nn.init.xavier_uniform_,  # Glorot and Bengio 2010
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": nn.init.kaiming_uniform_,  # He et al. 2015
    "kaiming_normal": nn.init.kaiming_normal_,
}


def initialise(model: nn.Module, options: OptimOptions) -> None:
    """Draw the weights anew as `init` says, in place; biases and norms, the tensors of one dimension, stay."""
    if options.init == "default":
        return
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() <= 1:
                continue
            if options.init == "uniform":
                parameter.uniform_(-options.init_range, options.init_range)
            else:
                INITIALISERS[options.init](parameter)


def freeze(model: nn.Module, patterns: list[str]) -> list[str]:
    """Exempt the parameters whose names match a pattern, such as `encoder.blocks.0.*`, from training; returns
    their names. `set_training_mode` keeps the statistics of batch normalisation among them as they are.

    Raises:
      UsageError: a pattern that no parameter matches, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"--freeze {pattern}: no parameter has such a name; there are {first_few(names)} "
                f"(* stands for any part of a name)"
            )
    frozen = [name for name in names if matches(name, patterns)]
    if frozen == names:
        raise UsageError(f"--freeze {' '.join(patterns)}: nothing is left to train; freeze less")
    for name, parameter in model.named_parameters():
        if matches(name, patterns):
            parameter.requires_grad_(False)
    return frozen


def set_training_mode(model: nn.Module, patterns: list[str]) -> None:
    """Put a model into training mode, but its modules whose parameters are all frozen into evaluation mode: there
    batch normalisation uses its running statistics and leaves them alone, and nothing is dropped out."""
    model.train()
    if not patterns:
        return
    for place, module in model.named_modules():
        names = [f"{place}.{name}" if place else name for name, _ in module.named_parameters()]
        if names and all(matches(name, patterns) for name in names):
            module.eval()
            for layer in module.modules():
                if isinstance(layer, nn.RNNBase):  # whose gradient on a GPU there is in training mode only
                    layer.train()
                    layer.dropout = 0.0


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def clip(parameters: Iterable[nn.Parameter], options: OptimOptions) -> float:
    """Clip gradients by their norm over all parameters (Pascanu, Mikolov and Bengio 2013), then each value.

    Returns the norm before. Where that is not finite the gradients are of no use, clipped or not.
    """
    own = list(parameters)
    norm = float(nn.utils.clip_grad_norm_(own, options.clip_norm or math.inf))
    if options.clip_value:
        nn.utils.clip_grad_value_(own, options.clip_value)
    return norm

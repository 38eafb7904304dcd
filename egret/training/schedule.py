"""Learning rates and optimisers."""

import math
from typing import Any

import torch

from egret.training.optim_options import OptimOptions
from egret.training.scaled_adam import ScaledAdam


def learning_rate(step: int, steps: int, options: OptimOptions, steps_per_epoch: int = 1, factor: float = 1.0) -> float:
    """The learning rate of one step, counted from 0, of so many.

    All schedules rise linearly at first (eden from a half), then they differ. `factor` is what `plateau` says; other
    schedules have 1.
    """
    warmup = max(1, number_of_steps(options.warmup, steps))
    peak = options.lr
    if options.schedule == "noam" and options.model_size:
        peak *= (options.model_size * warmup) ** -0.5
    if options.schedule == "eden":
        return peak * min(1.0, 0.5 + 0.5 * step / warmup) * eden(step, step // steps_per_epoch, options) * factor
    if step < warmup:
        return peak * (step + 1) / warmup * factor
    return peak * after_warmup(step, steps, warmup, options, steps_per_epoch) * factor


def number_of_steps(amount: float, steps: int) -> int:
    """Up to 1 a part of all steps, above 1 a number of steps."""
    return round(amount * steps if amount <= 1 else amount)


def after_warmup(step: int, steps: int, warmup: int, options: OptimOptions, steps_per_epoch: int) -> float:
    """The learning rate of a step behind the warm-up, as a part of the peak."""
    if options.schedule == "cosine":  # Loshchilov and Hutter 2017
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
    if options.schedule == "noam":  # Vaswani et al. 2017, section 5.3
        return math.sqrt(warmup / (step + 1))
    if options.schedule == "tristage":  # Park et al. 2019, section 4.2
        held = warmup + number_of_steps(options.hold, steps)
        done = min(1.0, max(0, step - held) / max(1, steps - held))
        return options.final_lr**done
    if options.schedule == "exponential":
        epochs = max(0, step // steps_per_epoch - options.decay_after)
        return max(options.final_lr, options.decay**epochs)
    return 1.0


def eden(step: int, epoch: int, options: OptimOptions) -> float:
    """The learning rate as a part of the peak (Yao et al. 2024, "Zipformer", section 3.5)."""
    by_step = 1 + (step / options.eden_steps) ** 2
    by_epoch = 1 + (epoch / options.eden_epochs) ** 2
    return (by_step * by_epoch) ** -0.25


def plateau(dev_losses: list[float], options: OptimOptions) -> float:
    """What the learning rate is multiplied by after epochs with these losses on dev, so that it falls when the
    lowest loss has not been undercut for `patience` epochs; 1 for other schedules. A NaN counts as no fall."""
    if options.schedule != "plateau":
        return 1.0
    factor, lowest, waited = 1.0, math.inf, 0
    for loss in dev_losses:
        waited += 1
        if loss < lowest:
            lowest, waited = loss, 0
        elif waited == options.patience:
            factor, waited = factor * options.reduction, 0
    return max(options.final_lr, factor)


def make_optimiser(model: torch.nn.Module, options: OptimOptions) -> torch.optim.Optimizer:
    """The optimiser of the parameters that are not frozen, on the device where they lie.

    Biases and norms, the tensors of one dimension, do not decay. AdamW (Loshchilov and Hutter 2019) takes the decay
    from the weights, all others add it to the gradient.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if options.name == "scaled_adam":
        return ScaledAdam(trained, lr=options.lr, clip_median=options.clip_median, **settings(options))
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    # One kernel for many tensors instead of one for each; on a CPU it is slower (conformer S: 58 ms against 54).
    foreach = any(p.is_cuda for p in trained) or None
    chosen = OPTIMISERS[options.name]
    return chosen(groups, lr=options.lr, foreach=foreach, **settings(options))


OPTIMISERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,  # Kingma and Ba 2015
    "sgd": torch.optim.SGD,  # Sutskever et al. 2013
    "adadelta": torch.optim.Adadelta,  # Zeiler 2012
    "adagrad": torch.optim.Adagrad,  # Duchi, Hazan and Singer 2011
    "radam": torch.optim.RAdam,  # Liu et al. 2020
    "nadam": torch.optim.NAdam,  # Dozat 2016
}


def settings(options: OptimOptions) -> dict[str, Any]:
    """What the chosen optimiser takes besides the learning rate and the weight decay, by PyTorch's names."""
    eps = {"eps": options.eps} if options.eps else {}
    if options.name == "sgd":
        return {"momentum": options.momentum, "nesterov": True}
    if options.name == "adadelta":
        return {"rho": options.beta2, **eps}
    if options.name == "adagrad":
        return eps
    return {"betas": (options.beta1, options.beta2), **eps}

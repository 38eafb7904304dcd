"""Learning rate and weight decay."""

import math

import torch

from egret.training.options import OptimOptions


def learning_rate(step: int, steps: int, options: OptimOptions) -> float:
    """The learning rate of one step, counted from 0, of so many: a linear rise, then half a cosine (Loshchilov
    and Hutter 2017) down to `final_lr` of the peak."""
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return options.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return options.lr * (options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def make_optimiser(model: torch.nn.Module, options: OptimOptions) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019); biases and norms, the tensors of one dimension, do not decay."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, options.beta2))

"""A running average of the weights, which is often better than the weights of any one step (Polyak and Juditsky
1992, "Acceleration of stochastic approximation by averaging")."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RunningAverage:
    """An exponential average of a model's weights; its counters and running statistics are the model's own."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step `step`, from 0: early on the average is shorter, for the first weights are worth nothing."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.model.named_parameters():
            self.weights[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.data, self.weights[name] = self.weights[name], parameter.data

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up the averaged weights of a checkpoint."""
        for name, weight in self.weights.items():
            weight.copy_(tensors[name])

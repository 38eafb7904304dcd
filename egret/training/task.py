"""What the training loop asks of the thing that it trains: an acoustic model on speech, or a language model on text."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from egret.training.plan import Table

B = TypeVar("B", bound="Batch")
B_co = TypeVar("B_co", bound="Batch", covariant=True)


class Batch(Protocol):
    """What the loop needs of a batch.

    Attributes:
      ids: of what it consists of.
      tokens: what losses are divided by.
      amount: how much it is without padding, in what the speed is told in.
      padded: how much it is with padding, in what the option that bounds it counts.
    """

    @property
    def ids(self) -> list[str]: ...

    @property
    def tokens(self) -> int: ...

    @property
    def amount(self) -> float: ...

    @property
    def padded(self) -> float: ...

    def not_finite(self) -> list[str]:
        """The ids of those whose input is at fault where a loss is no finite number."""

    def halves(self: B) -> list[B]:
        """The same as two batches."""

    def packed(self: B) -> B:
        """In a form that goes well from process to process."""

    def unpacked(self: B) -> B:
        """What `packed` was called of."""

    def to(self: B, device: torch.device) -> B: ...

    def pin_memory(self: B) -> B: ...


class Corpus(Protocol[B_co]):
    """Data in batches that are planned by a table."""

    @property
    def table(self) -> Table: ...

    def load(
        self, rows: Sequence[int] | np.ndarray, key: tuple[int, ...] = (), copies: Sequence[int] | np.ndarray = ()
    ) -> B_co:
        """The batch of these rows; with the same key, and number of the copy, always the same."""


class Objective(Protocol):
    """The loss of a batch, summed over its tokens."""

    def __call__(self, batch: Any) -> Tensor:
        """To be made smaller; uses torch's random numbers."""

    def plain(self, batch: Any) -> Tensor:
        """Of the batch as it is, without gradients."""

    def in_epoch(self, epoch: int) -> None:
        """What it does may depend on the epoch, counted from 0."""


class Task(Protocol):
    """What differs between one kind of training and another."""

    def check(self) -> None:
        """Raises EgretError where the files that are given are not what the options ask for."""

    def more_inputs(self) -> dict[str, str]:
        """Fingerprints of what is read besides the inputs among the options."""

    def describe(self) -> dict[str, Any]:
        """The complete configuration: what was asked for, and what the model is."""

    def keep(self) -> None:
        """Leave a copy of what tells the model's units, which may change or be gone later."""

    def model(self, config: dict[str, Any]) -> Any:
        """The model of a configuration, with new weights."""

    def take_weights(self, model: Any) -> None:
        """Begin with the weights of --init-from."""

    def corpora(self, model: Any, config: dict[str, Any]) -> tuple[Corpus[Any], Corpus[Any] | None]:
        """What is trained on, and what training is judged by."""

    def begin(self, model: Any, train: Any, config: dict[str, Any]) -> None:
        """What a new model takes from the training data before the first step."""

    def objective(self, model: Any, device: torch.device) -> Objective: ...

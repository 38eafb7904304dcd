"""Checkpoints: a folder each, made under another name and renamed, so that one that exists is whole.

`checkpoints/epoch-003/` is the state after epoch 3, `checkpoints/step-00001200/` one from within an epoch. A
folder holds `model.safetensors` (the weights to use), `optimiser.safetensors` (its averages) and `state.json`. Where a
running average is kept, that is what is used, and `training.safetensors` has the weights to go on from.
"""

import math
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.files import atomic_path, read_json, temporary, write_json
from egret.models.files import load_weights, save_weights
from egret.training.average import RunningAverage


@dataclass
class Progress:
    """Where training stands: `epoch` and `batch` are the next to do, counted from 0; `step` is how many steps of
    the optimiser are done; `loss_sum` and `tokens` add up this epoch's losses; `dev_losses` are those of all epochs;
    `skipped` steps were left out, `skipped_in_a_row` of them at last; `scale` is that of fp16's gradients."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    tokens: int = 0
    train_loss: float | None = None
    dev_loss: float | None = None
    dev_losses: list[float] = field(default_factory=list)
    skipped: int = 0
    skipped_in_a_row: int = 0
    scale: dict[str, Any] = field(default_factory=dict)

    def end_epoch(self, dev_loss: float | None) -> None:
        """Its batches are done, and with them the dev part if there is one."""
        self.train_loss = self.loss_sum / self.tokens if self.tokens else None
        self.dev_loss = dev_loss
        if dev_loss is not None:
            self.dev_losses.append(dev_loss)
        self.epoch, self.batch, self.loss_sum, self.tokens = self.epoch + 1, 0, 0.0, 0


def save(
    folder: Path,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    average: RunningAverage | None = None,
) -> Path:
    """Write a checkpoint and return its folder."""
    name = f"epoch-{progress.epoch:03d}" if progress.batch == 0 else f"step-{progress.step:08d}"
    with atomic_path(folder / name) as part:
        part.mkdir(parents=True)
        if average:
            save_weights(part / "training.safetensors", model.state_dict())
            with average.in_place():
                save_weights(part / "model.safetensors", model.state_dict())
        else:
            save_weights(part / "model.safetensors", model.state_dict())
        save_weights(part / "optimiser.safetensors", optimiser_tensors(optimiser))
        write_json(part / "state.json", asdict(progress))
    return folder / name


def checkpoints(folder: Path) -> list[tuple[Path, Progress]]:
    """All checkpoints, the furthest first."""
    found = [(path.parent, Progress(**read_json(path))) for path in folder.glob("[a-z]*-*/state.json")]
    return sorted(found, key=lambda item: (item[1].step, item[1].epoch), reverse=True)


def restore(
    path: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: RunningAverage | None = None
) -> None:
    """Take up the weights and the optimiser's state of a checkpoint.

    Raises:
      EgretError: it is truncated or of another model; says how to go on without it.
    """
    before = next((other.name for other, _ in checkpoints(path.parent) if other != path), "")
    advice = f"remove the folder {path} to {f'go on from {before}' if before else 'begin anew'}"
    try:
        kept = load_weights(path / "model.safetensors")
        model.load_state_dict(load_weights(path / "training.safetensors") if average else kept)
        if average:
            average.load(kept)
        tensors = load_weights(path / "optimiser.safetensors")
    except EgretError:
        raise EgretError(f"{path}: not whole; {advice}") from None
    except (RuntimeError, KeyError) as error:
        reason = shorten(str(error), width=300, placeholder=" ...")
        raise EgretError(f"{path}: of another model ({reason}); {advice}") from None
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, kind = name.split(".")
        state.setdefault(int(parameter), {})[kind] = tensor
    # The groups' settings, the learning rate among them, come from the options of this run.
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers of each parameter, as `<number of the parameter>.<name>`."""
    return {
        f"{parameter}.{kind}": torch.as_tensor(value)
        for parameter, remembered in optimiser.state_dict()["state"].items()
        for kind, value in remembered.items()
    }


def prune(folder: Path, keep_last: int, keep_best: int) -> None:
    """Keep the last two checkpoints, and of the epochs the last ones and the best ones on dev."""
    found = checkpoints(folder)
    epochs = [item for item in found if item[1].batch == 0]
    kept = {path for path, _ in found[:2] + epochs[:keep_last] + best(epochs)[:keep_best]}
    for path, _ in found:
        if path not in kept:
            hidden = temporary(path)  # killed in the middle, what is left is not taken for a checkpoint
            path.rename(hidden)
            shutil.rmtree(hidden)


def best(epochs: list[tuple[Path, Progress]]) -> list[tuple[Path, Progress]]:
    """Checkpoints by dev loss, lowest first; those without one, in their order, behind."""
    return sorted(epochs, key=lambda item: judged(item[1].dev_loss))


def judged(loss: float | None) -> float:
    """A loss on dev to compare by: one that is none, or no number, is worse than any other."""
    return math.inf if loss is None or math.isnan(loss) else loss


def average(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of the weights of checkpoints, in double precision."""
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in load_weights(path / "model.safetensors").items():
            total[name] = total.get(name, 0) + tensor.double()
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}

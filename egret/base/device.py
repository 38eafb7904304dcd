"""The device that a process works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from egret.base.errors import EgretError

if TYPE_CHECKING:
    import torch


def choose_device(num_gpus: int, work: str, place: int = 0) -> torch.device:
    """The CPU where no GPUs are asked for, else the GPU at this place of those that this process may see.

    Args:
      work: what a process does on it, for the error: "trains".

    Raises:
      EgretError: more GPUs were asked for than PyTorch sees.
    """
    import torch

    if not num_gpus:
        return torch.device("cpu")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < num_gpus:
        raise EgretError(
            f"--num-gpus {num_gpus}: PyTorch sees {seen or 'no'} GPU{'s' if seen > 1 else ''}; "
            f"utils/doctor.py says what is wrong, --num-gpus {seen} {work} {'on those' if seen else 'on the CPU'}"
        )
    return torch.device("cuda", place)

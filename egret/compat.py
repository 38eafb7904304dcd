"""The few differences between torch 1.13 and 2.x, in one place."""

from pathlib import Path
from typing import Any


def load_state(path: Path) -> Any:
    """Read tensors and plain values written by torch.save; nothing in the file is executed."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)

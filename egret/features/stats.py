"""Global mean and variance of features, gathered in parts that can be added."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from egret.base.errors import EgretError
from egret.base.files import write_tensors

if TYPE_CHECKING:
    import numpy as np

VARIANCE_FLOOR = 1e-8


@dataclass
class Stats:
    """Sums over frames: `total` and `squares` are float64 [C]."""

    frames: int
    total: "np.ndarray"
    squares: "np.ndarray"

    @classmethod
    def zero(cls, features: int) -> "Stats":
        import numpy as np

        return cls(0, np.zeros(features), np.zeros(features))

    def add(self, frames: "np.ndarray") -> None:
        """Count in features [T, C]."""
        import numpy as np

        values = frames.astype(np.float64)
        self.frames += len(values)
        self.total += values.sum(axis=0)
        # Not a matrix product: its library would start a thread for each core, in every job.
        self.squares += np.einsum("tc,tc->c", values, values)

    def __add__(self, other: "Stats") -> "Stats":
        return Stats(self.frames + other.frames, self.total + other.total, self.squares + other.squares)

    def save(self, path: Path) -> None:
        import numpy as np

        frames = np.array([self.frames], dtype=np.int64)
        write_tensors(path, {"frames": frames, "total": self.total, "squares": self.squares})

    @classmethod
    def load(cls, path: Path) -> "Stats":
        """Read what `save` wrote.

        Raises:
          EgretError: the file is not there, truncated or not of statistics.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            sums = load_file(path)
            return cls(int(sums["frames"][0]), sums["total"], sums["squares"])
        except FileNotFoundError:
            raise EgretError(
                f"{path}: no such statistics; they are made by steps/extract_features.py (stage 1)"
            ) from None
        except (SafetensorError, KeyError, IndexError) as error:
            raise EgretError(f"{path}: not whole statistics ({error}); run stage 1 again with --force") from None

    def mean_and_deviation(self) -> tuple["np.ndarray", "np.ndarray"]:
        """float32 [C] each: the mean, and the standard deviation.

        Raises:
          EgretError: there are no frames.
        """
        import numpy as np

        if self.frames == 0:
            raise EgretError("the mean of features: there are no frames; is the manifest of cuts empty?")
        mean = self.total / self.frames
        variance = np.maximum(self.squares / self.frames - mean**2, VARIANCE_FLOOR)
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)

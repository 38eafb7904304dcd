"""Another sampling rate, block by block: band-limited interpolation by a windowed sinc, in NumPy alone (Smith,
"Digital Audio Resampling Home Page", https://ccrma.stanford.edu/~jos/resample/).

egret.features.speed does the same for whole utterances and few speeds; recordings may be hours long and have any rate.
"""

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ZERO_CROSSINGS = 16  # of the sinc on either side
ROLLOFF = 0.95  # the cutoff, as a share of the lower one of both Nyquist frequencies
CHUNK = 1 << 15  # outputs at a time, whose inputs stay in a core's cache


class Resampler:
    """Takes blocks of a mono recording, float32 [S], and gives them at another rate; `finish` gives what is left.

    The n-th output lies at n * rate / to of the input, of which there are ceil(S * to / rate).
    """

    def __init__(self, rate: int, to: int) -> None:
        """From `rate` to `to` samples a second."""
        import numpy as np

        divisor = math.gcd(rate, to)
        self.up, self.down = to // divisor, rate // divisor
        self.filters = _filters(self.up, self.down)
        self.half = self.filters.shape[1] // 2
        self.first = 1 - self.half  # the place in the recording of the first input held
        self.held = np.zeros(self.half - 1, np.float32)
        self.taken = 0
        self.given = 0

    def feed(self, block: "np.ndarray") -> "np.ndarray":
        """What can be said after this block."""
        self.taken += len(block)
        return self._outputs(block, (self.taken - self.half) * self.up)

    def finish(self) -> "np.ndarray":
        """What the last inputs give, with silence behind them."""
        import numpy as np

        return self._outputs(np.zeros(self.half + 1, np.float32), self.taken * self.up)

    def _outputs(self, block: "np.ndarray", end: int) -> "np.ndarray":
        """The outputs that lie before `end`, in 1/up of an input."""
        import numpy as np

        self.held = np.concatenate([self.held, block.astype(np.float32, copy=False)])
        last = max(self.given, -(-end // self.down))
        windows = np.lib.stride_tricks.sliding_window_view(self.held, min(2 * self.half, len(self.held)))
        made = np.empty(last - self.given, np.float32)
        for start in range(self.given, last, CHUNK):
            places = np.arange(start, min(start + CHUNK, last), dtype=np.int64) * self.down
            inputs = places // self.up + (1 - self.half) - self.first
            part = made[start - self.given :][: len(places)]
            np.einsum("nt,nt->n", windows[inputs], self.filters[places % self.up], out=part)
        self.given = last
        unneeded = max(0, last * self.down // self.up + (1 - self.half) - self.first)
        self.held = self.held[unneeded:].copy()
        self.first += unneeded
        return made


@lru_cache
def _filters(up: int, down: int) -> "np.ndarray":
    """Filters float32 [up, W]: of an output that lies f/up behind an input, for W/2 - 1 inputs before that one, it, and
    W/2 behind."""
    import numpy as np

    cutoff = min(1.0, up / down) * ROLLOFF
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    distance = np.arange(1 - half, half + 1)[None, :] - np.arange(up)[:, None] / up
    window = np.where(np.abs(distance) < half, np.cos(np.pi / 2 * distance / half) ** 2, 0.0)
    filters = np.sinc(cutoff * distance) * window
    return (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)

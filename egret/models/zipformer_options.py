"""Options of the zipformer; a part of egret.models.options, without PyTorch like that."""

import math
from dataclasses import dataclass

from egret.base.errors import UsageError
from egret.base.options import option
from egret.models.chunk_options import ChunkOptions


@dataclass(kw_only=True)
class ZipformerOptions(ChunkOptions):
    """A zipformer; the defaults are the paper's size S."""

    dims: list[int] = option([192, 256, 256, 256, 256, 256], "width of the blocks of each stack", minimum=1)
    layers: list[int] = option([2, 2, 2, 2, 2, 2], "blocks of each stack", minimum=1)
    downsampling: list[int] = option(
        [1, 2, 4, 8, 4, 2], "frames, 50 a second, that each stack joins to one of its own", minimum=1
    )
    feed_forward: list[int] = option(
        [512, 768, 768, 768, 768, 768],
        "width inside the second feed-forward module; the first has 3/4 of it, the third 5/4",
        minimum=4,
    )
    heads: list[int] = option([4, 4, 4, 8, 4, 4], "attention heads", minimum=1)
    kernels: list[int] = option([31, 31, 15, 15, 15, 31], "frames that the convolution modules see", minimum=1)
    query_dim: int = option(32, "numbers of a query, and of a key, in each head", minimum=1)
    value_dim: int = option(12, "numbers of a value in each head", minimum=1)
    position_query_dim: int = option(4, "numbers of a query of positions in each head", minimum=1)
    position_dim: int = option(48, "numbers that stand for a distance between frames", minimum=2)
    channels: list[int] = option([8, 32, 128], "of the three convolutions that subsample", minimum=1)
    bypass_warmup: int = option(
        20000, "steps in which at least 0.9 of what a block makes is taken; then at least 0.2", minimum=0
    )
    dropout: float = option(0.1, "probability", minimum=0, maximum=0.99)
    attention_dropout: float = option(0.0, "probability, of attention weights", minimum=0, maximum=0.99)

    def __post_init__(self) -> None:
        lists = (self.layers, self.downsampling, self.feed_forward, self.heads, self.kernels)
        if not self.dims or any(len(each) != len(self.dims) for each in lists):
            raise UsageError("--model.zipformer: dims, layers, downsampling, feed-forward, heads and kernels need one "
                             "number for each stack, and at least one")  # fmt: skip
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise UsageError("--model.zipformer.kernels: odd numbers, so that a frame stands in the middle")
        if self.position_dim % 2:
            raise UsageError("--model.zipformer.position-dim: an even number, of cosines and sines")
        if len(self.channels) != 3:
            raise UsageError(f"--model.zipformer.channels: {len(self.channels)} numbers for three convolutions")
        if any(2 * self.chunk % joined for joined in self.downsampling):
            raise UsageError(
                f"--model.zipformer.chunk {self.chunk}: of twice as many frames (50 a second) each stack makes whole "
                f"ones of its own; take a number whose double divides by {math.lcm(*self.downsampling)}"
            )
        super().__post_init__()

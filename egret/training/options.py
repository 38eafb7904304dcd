"""What can be set in training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import group, infile, option, runtime
from egret.base.program import OutOptions
from egret.graph.topology import Topology
from egret.models.options import ModelOptions


@dataclass(kw_only=True)
class OptimOptions:
    """Optimisation: AdamW, linear warm-up, then a cosine down to a fraction of the peak."""

    lr: float = option(1e-3, "learning rate at its peak", above=0)
    warmup: float = option(0.1, "part of all steps in which the learning rate rises", minimum=0, maximum=1)
    final_lr: float = option(0.05, "the last learning rate, as a part of the peak", minimum=0, maximum=1)
    weight_decay: float = option(1e-2, "of all weights but biases and norms", minimum=0)
    clip_norm: float = option(5.0, "largest norm of the gradient", above=0)
    beta2: float = option(0.98, "decay of the squared gradient's average", above=0, maximum=0.99999)


@dataclass(kw_only=True)
class BatchOptions:
    """How batches are made."""

    max_duration: float = option(120.0, "seconds of speech in a batch, padding included", above=0)
    max_utterances: int = option(1000, "utterances in a batch", minimum=1)
    jitter: float = option(0.1, "how far utterances of other lengths mix in, as a part of a length", minimum=0)


@dataclass(kw_only=True)
class SpecAugmentOptions:
    """SpecAugment, and frequency warp."""

    time_warp: int = option(0, "frames by which time warp moves a point at most; 0: none", minimum=0)
    frequency_warp: float = option(
        0.0, "how far the mel axis is stretched or squeezed at most, as a part of it; 0: not", minimum=0, maximum=0.5
    )
    time_masks: float = option(0.0, "time masks in a second of speech (at 100 frames a second); 0: none", minimum=0)
    time_width: int = option(10, "frames that a time mask hides at most", minimum=0)
    frequency_masks: int = option(0, "frequency masks in an utterance; 0: none", minimum=0)
    frequency_width: int = option(10, "mel bins that a frequency mask hides at most", minimum=0)


@dataclass(kw_only=True)
class TrainOptions(OutOptions):
    cuts: Path = infile("training cuts with features", "steps/extract_features.py (stage 1)")
    stats: Path = infile("sums of the features, for mean and variance", "steps/extract_features.py (stage 1)")
    dev_cuts: Path | None = infile("dev cuts with features; none: checkpoints are not chosen", "stage 1", default=None)
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    loss: Literal["ctc", "ctc_graph"] = option(
        "ctc", "ctc: PyTorch's; ctc_graph: k2's, over every pronunciation and optional silence"
    )
    topology: Topology = option(
        "auto", "of ctc_graph, as of steps/compile_graph.py; auto: modified for more than 500 units"
    )
    intermediate: float = option(
        0.0, "weight of the same loss on the middle of the encoder (conformer only); 0: none", minimum=0, maximum=0.9
    )
    epochs: int = option(
        30,
        "passes over the training part; more than before: it goes on, at the learning rates of the new length",
        minimum=1,
    )
    seed: int = option(1, "of weights, batches and dropout", minimum=0)
    average: int = option(5, "checkpoints whose weights are averaged", minimum=1)
    average_of: Literal["best", "last"] = option(
        "best",
        "best: those with the lowest loss on dev, the last where there is no dev; last: the last, for a loss "
        "that rises while errors still become fewer",
    )
    max_reject_percent: float = option(
        5.0, "of the training part that may be dropped before it stops", minimum=0, maximum=100
    )
    num_gpus: int = runtime(0, "1: train on a GPU; 0: on the CPU", minimum=0, maximum=1)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores", minimum=0)
    log_seconds: float = runtime(10.0, "from one line of progress to the next", above=0)
    save_minutes: float = runtime(10.0, "from one checkpoint within an epoch to the next", above=0)
    model: ModelOptions = group(ModelOptions)
    optim: OptimOptions = group(OptimOptions)
    batch: BatchOptions = group(BatchOptions)
    specaugment: SpecAugmentOptions = group(SpecAugmentOptions)

    def __post_init__(self) -> None:
        if self.intermediate and self.model.encoder != "conformer":
            raise UsageError(f"--intermediate: a {self.model.encoder} has no middle; leave it out")
        if self.topology != "auto" and self.loss != "ctc_graph":
            raise UsageError(f"--topology goes with --loss ctc_graph, not with {self.loss}; leave it out")

"""What can be set of the training loop, whatever is trained."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from egret.base.errors import UsageError
from egret.base.options import as_plain, group, infile, of_kind, option, runtime
from egret.base.program import OutOptions
from egret.training.measure import Measure
from egret.training.optim_options import OptimOptions


@dataclass(kw_only=True)
class PlanOptions:
    """How batches are made, whatever is in them."""

    jitter: float = option(0.1, "how far other lengths mix in, as a part of a length", minimum=0)
    sorted_epochs: int = option(0, "epochs at the beginning whose batches come from short to long", minimum=0)
    weights: list[float] = option(
        [], "how often an epoch has what is in each file: 2.5 is twice, and a random half of it thrice; none given: "
        "all once", minimum=0,
    )  # fmt: skip

    @property
    def limits(self) -> tuple[float, float, float]:
        """The largest length and number of tokens of a batch, padding included, and of what it consists of."""
        raise NotImplementedError

    @property
    def largest(self) -> float:
        """That of the limits which the memory goes by."""
        raise NotImplementedError


@dataclass(kw_only=True)
class LoopOptions(OutOptions):
    """What every training takes.

    Attributes:
      step: the program's name.
      measure: what its batches are measured in.
      report_only: inputs that only the report is about; the model is the same without them.
    """

    step: ClassVar[str]
    measure: ClassVar[Measure]
    report_only: ClassVar[tuple[str, ...]] = ()

    # The two are named in the order of the stages that make them.
    cuts: list[Path] = infile("cuts that are trained on", default=[])
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    init_from: Path | None = infile("a trained model's folder whose weights this one begins with", default=None)
    epochs: int = option(
        30,
        "passes over the training part; more than before: it goes on, at the learning rates of the new length",
        minimum=1,
    )
    patience: int = option(0, "stop when so many epochs in a row have not lowered the loss on dev; 0: never", minimum=0)
    seed: int = option(1, "of weights, batches and dropout", minimum=0)
    average: int = option(5, "checkpoints whose weights are averaged", minimum=1)
    average_of: Literal["best", "last"] = option(
        "best",
        "best: those with the lowest loss on dev, the last where there is no dev; last: the last, for a loss "
        "that rises while errors still become fewer",
    )
    ema: float = option(
        0.0, "decay of a running average of the weights, which is what is judged and kept; 0: none",
        minimum=0, maximum=0.999999,
    )  # fmt: skip
    freeze: list[str] = option(
        [], "patterns of the names of parameters that stay as they are, such as 'encoder.layers.0.*'"
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "of the model's arithmetic; weights, losses and the optimiser stay in fp32"
    )
    accumulate: int = option(1, "batches whose gradients make one step, in each process", minimum=1)
    max_skipped: int = option(
        10, "stop after so many steps in a row without a finite loss and gradient, which are left out", minimum=0
    )
    max_reject_percent: float = option(
        5.0, "of the training part that may be dropped before it stops", minimum=0, maximum=100
    )
    num_gpus: int = runtime(0, "GPUs of each node, a process each; 0: on the CPU", minimum=0)
    num_processes: int = runtime(1, "processes of each node without GPUs", minimum=1)
    num_nodes: int = runtime(1, "machines that train together; each is given the same command", minimum=1)
    node_rank: int = runtime(-1, "which of them this is, from 0; -1: as Slurm says, or 0", minimum=-1)
    rendezvous: str = runtime("", "HOST:PORT of the first of them; empty: as Slurm says")
    workers: int = runtime(0, "processes that load data, for each that trains; 0: it does so itself", minimum=0)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores", minimum=0)
    log_seconds: float = runtime(10.0, "from one line of progress to the next", above=0)
    save_minutes: float = runtime(10.0, "from one checkpoint within an epoch to the next", above=0)
    save_steps: int = runtime(0, "the same in steps; 0: minutes only", minimum=0)
    keep_best: int = runtime(0, "epochs kept, lowest loss on dev; 0: as many as are averaged", minimum=0)
    keep_last: int = runtime(0, "epochs kept, the last ones; 0: as many as are averaged", minimum=0)
    check_batches: bool = runtime(True, "try the largest batches first, and say what would fit")
    wandb: str = runtime("", "project of Weights & Biases to log to; empty: TensorBoard only")
    optim: OptimOptions = group(OptimOptions)
    batch: PlanOptions = group(PlanOptions)

    def __post_init__(self) -> None:
        if self.precision == "fp16" and not self.num_gpus:
            raise UsageError("--precision fp16: not on a CPU, where PyTorch would quietly use fp32; take bf16 or fp32")
        if self.num_gpus and self.num_processes > 1:
            raise UsageError("--num-processes is for CPUs; with --num-gpus there is a process for each GPU")
        if self.num_nodes == 1 and (self.node_rank > 0 or self.rendezvous):
            raise UsageError("--node-rank and --rendezvous go with --num-nodes; say how many machines there are")
        if self.node_rank >= self.num_nodes:
            raise UsageError(f"--node-rank {self.node_rank}: there are {self.num_nodes} machines, counted from 0")
        if self.optim.schedule == "plateau" and not self.has_dev:
            raise UsageError(f"--optim.schedule plateau: without {self.measure.dev} there is no loss to judge by; "
                             f"take another")  # fmt: skip
        kept = "keep_best" if self.has_dev and self.average_of == "best" else "keep_last"
        if 0 < getattr(self, kept) < self.average:
            raise UsageError(f"--{kept.replace('_', '-')} {getattr(self, kept)}: --average {self.average} needs "
                             f"as many of them; lower that too, or leave this one out")  # fmt: skip
        if self.patience and not self.has_dev:
            raise UsageError(f"--patience: without {self.measure.dev} there is no loss to judge by; leave it out")

    @property
    def has_dev(self) -> bool:
        """Whether there is a part to judge by."""
        raise NotImplementedError

    def unused(self) -> tuple[str, ...]:
        """The groups whose options do not matter, by dotted name."""
        raise NotImplementedError

    def of_the_model(self) -> dict[str, Any]:
        """What makes the model what it is, as plain values: all but how the work is done, and groups that do not
        matter."""
        plain = as_plain(self)
        for name in [*of_kind(self, "runtime"), "out"]:
            del plain[name]
        for name in self.unused():
            group_name, part = name.split(".")
            del plain[group_name][part]
        return plain

    @property
    def processes(self) -> int:
        """Training processes of each machine."""
        return self.num_gpus or self.num_processes

    @property
    def node(self) -> int:
        """Which machine this is, from 0."""
        if self.num_nodes == 1:
            return 0
        return self.node_rank if self.node_rank >= 0 else int(os.environ.get("SLURM_NODEID", "0"))

"""A training run: model, data, optimiser and where it stands, made new or taken up from a checkpoint."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egret.base.device import choose_device
from egret.base.errors import EgretError
from egret.base.files import read_jsonl, write_jsonl
from egret.base.log import log
from egret.base.memory import return_memory
from egret.models.model import count_parameters
from egret.training import checkpoints
from egret.training.average import RunningAverage
from egret.training.checkpoints import Progress
from egret.training.distributed import STOP, Ranks
from egret.training.loop_options import LoopOptions
from egret.training.parameters import freeze, initialise
from egret.training.plan import batches as plan_batches
from egret.training.schedule import make_optimiser
from egret.training.signals import Warned
from egret.training.task import Corpus, Objective
from egret.training.tasks import task_of

SKIPPED = "skipped.jsonl"


@dataclass
class Run:
    """Everything that a training run consists of."""

    options: LoopOptions
    ranks: Ranks
    device: torch.device
    model: Any  # a torch module that can `bound` its weights after a step
    objective: Objective
    optimiser: torch.optim.Optimizer
    average: RunningAverage | None
    scaler: Any  # of gradients in fp16, else None
    train: Corpus[Any]
    dev: Corpus[Any] | None
    warned: Warned
    progress: Progress = field(default_factory=Progress)
    steps_per_epoch: int = 0
    saved: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        return self.options.out / "checkpoints"

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.options.epochs

    @property
    def step_batches(self) -> int:
        """Batches of a step, those of all processes together."""
        return self.options.accumulate * self.ranks.size

    @property
    def position(self) -> int:
        """Steps of this size up to where the run stands: not those that were done, where it went on with another
        number of processes. What the learning rate goes by."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.batch // self.step_batches

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def batches(self, epoch: int) -> list[np.ndarray]:
        """All batches of an epoch, the same in every process."""
        return plan_batches(self.train.table, self.options.batch, self.options.seed, epoch)

    def told(self) -> bool:
        """Whether a signal to stop has come to any of the processes; every process calls this."""
        return self.ranks.sum([bool(self.warned)], self.device)[0] > 0

    def save(self) -> None:
        """A checkpoint of where training stands; every process calls this.

        Memory that lies idle is given back then, and not more often: what is needed again must be cleared again.
        """
        return_memory()
        self.ranks.mean_buffers(self.model)
        self.saved = time.monotonic()
        if self.scaler:
            self.progress.scale = self.scaler.state_dict()
        if self.ranks.main:
            options = self.options
            checkpoints.save(self.folder, self.model, self.optimiser, self.progress, self.average)
            checkpoints.prune(self.folder, options.keep_last or options.average, options.keep_best or options.average)
        self.ranks.wait()  # a process that ended before it is written would take the first one with it


def set_up(options: LoopOptions, config: dict, ranks: Ranks) -> Run:
    """Model, data and optimiser, restored from the furthest checkpoint when there is one."""
    device = choose_device(options.num_gpus, "trains", ranks.local)
    warned = Warned(options.out / STOP if ranks.size > 1 else None)
    if ranks.size > 1:  # they stop together, whenever they agree on it; one alone may end at once until it trains
        warned.listen()
    task = task_of(options)
    torch.manual_seed(options.seed)
    model = task.model(config)
    initialise(model, options.optim)
    found = checkpoints.checkpoints(options.out / "checkpoints")
    if options.init_from and not found:
        task.take_weights(model)
    freeze(model, options.freeze)
    log.info("%s", model)
    model.to(device)
    log.info("%d parameters, on %s%s", count_parameters(model), device, f", {ranks.size} of them" * (ranks.size > 1))
    train_part, dev_part = ranks.first_alone(lambda: task.corpora(model, config))
    if not found:  # a checkpoint has what it took
        task.begin(model, train_part, config)
    run = Run(
        options=options,
        ranks=ranks,
        device=device,
        model=model,
        objective=task.objective(model, device),
        optimiser=make_optimiser(model, options.optim),
        average=RunningAverage(model, options.ema) if options.ema else None,
        scaler=make_scaler(device) if options.precision == "fp16" else None,
        train=train_part,
        dev=dev_part,
        warned=warned,
    )
    # Epochs differ by a batch or two, which the learning rate does not mind.
    run.steps_per_epoch = -(-len(run.batches(0)) // run.step_batches)
    go_on(run, found)
    check_agreement(run)
    ranks.share_weights(model)
    return run


def make_scaler(device: torch.device) -> Any:
    """The scaler of fp16's gradients, ready also where a process has no loss in the first step."""
    # PyTorch 2.3 moved it, and warns of the old place since.
    scaler = torch.amp.GradScaler("cuda") if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler()
    scaler.scale(torch.zeros(1, device=device))
    return scaler


def go_on(run: Run, found: list[tuple[Path, Progress]]) -> None:
    """Take up the furthest checkpoint.

    Raises:
      EgretError: it is damaged, or there is none where a model was trained.
    """
    options = run.options
    if not found and (options.out / "final.safetensors").exists():
        raise EgretError(
            f"{run.folder}: gone, so the model in {options.out} cannot be trained further; "
            f"train another one with another --out (run.sh: --tag NAME), or this one anew with --force"
        )
    listed = options.out / SKIPPED
    if not found:
        if run.ranks.main:  # those of a run that was killed before its first checkpoint
            listed.unlink(missing_ok=True)
        return
    path, run.progress = found[0]
    checkpoints.restore(path, run.model, run.optimiser, run.average)
    if run.scaler and run.progress.scale:
        run.scaler.load_state_dict(run.progress.scale)
    if run.ranks.main and listed.exists():  # steps that will be done again would be listed again
        write_jsonl(listed, [row for row in read_jsonl(listed) if row["step"] < run.progress.step])
    log.info("going on from %s: epoch %d, batch %d", path, run.progress.epoch + 1, run.progress.batch)


def check_agreement(run: Run) -> None:
    """See that all processes are about to do the same: otherwise they would wait for each other for ever.

    Raises:
      EgretError: one has other data, or another checkpoint.
    """
    progress, table = run.progress, run.train.table
    stand = f"step {progress.step}, batch {progress.batch} of epoch {progress.epoch + 1}"
    found = run.ranks.gather(
        f"{stand}, {len(table)} {run.options.measure.item}s in {len(run.batches(progress.epoch))} batches"
    )
    if len(set(found)) > 1:
        raise EgretError(f"the processes differ: {'; '.join(dict.fromkeys(found))}; all machines must see the same "
                         f"data and the same --out")  # fmt: skip

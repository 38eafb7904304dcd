"""The training loop: one function per thing that training does.

Randomness is a function of the seed and the step, and batches are a function of the seed and the epoch, so a
run that goes on from a checkpoint does what an uninterrupted one would have done.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.base.log import log
from egret.features.stats import Stats
from egret.lang.lang import Lang
from egret.models.files import build_model, save_weights
from egret.models.losses import Loss, make_loss
from egret.models.model import CtcModel, count_parameters
from egret.training import checkpoints
from egret.training.augment import spec_augment
from egret.training.checkpoints import Progress
from egret.training.data import Batch, Corpus
from egret.training.meter import TrainingMeter
from egret.training.options import TrainOptions
from egret.training.plan import plan
from egret.training.schedule import learning_rate, make_optimiser


@dataclass
class Run:
    """Everything that a training run consists of."""

    options: TrainOptions
    model: CtcModel
    optimiser: torch.optim.Optimizer
    loss: Loss
    train: Corpus
    dev: Corpus | None
    steps_per_epoch: int
    progress: Progress
    device: torch.device

    @property
    def folder(self) -> Path:
        return self.options.out / "checkpoints"

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.options.epochs


def train(options: TrainOptions, config: dict) -> dict:
    """Train a model, or go on with it, and leave `final.safetensors`; returns counts for the closing line."""
    if options.threads:
        torch.set_num_threads(options.threads)
    run = set_up(options, config)
    meter = TrainingMeter(options.out / "tensorboard", options.log_seconds, run.steps, run.progress.step)
    while run.progress.epoch < options.epochs:
        train_epoch(run, meter)
        run.progress.dev_loss = dev_loss(run) if run.dev else None
        meter.epoch(run.progress)
        checkpoints.save(run.folder, run.model, run.optimiser, run.progress)
        checkpoints.prune(run.folder, options.average)
    meter.close()
    used = finish(run)
    return {
        "utterances": len(run.train.table),
        "epochs": options.epochs,
        "steps": run.progress.step,
        "parameters": count_parameters(run.model),
        "train_loss": round(run.progress.train_loss or math.nan, 4),
        **({"dev_loss": round(run.progress.dev_loss, 4)} if run.progress.dev_loss is not None else {}),
        "averaged": ",".join(used),
    }


def set_up(options: TrainOptions, config: dict) -> Run:
    """Model, data and optimiser, restored from the furthest checkpoint when there is one."""
    device = choose_device(options.num_gpus)
    lang = Lang.read(options.lang)
    torch.manual_seed(options.seed)
    model = build_model(config)
    mean, deviation = Stats.load(options.stats).mean_and_deviation()
    model.set_normalisation(torch.from_numpy(mean), torch.from_numpy(deviation))
    log.info("%s", model)
    model.to(device)
    log.info("%d parameters, on %s", count_parameters(model), device)

    def corpus(manifest: Path, part: str, may_reject: float) -> Corpus:
        return Corpus(manifest, lang, model, options.out / f"rejected_{part}.jsonl", may_reject)

    train_part = corpus(options.cuts, "train", options.max_reject_percent)
    # Words that no lexicon has are no fault of the dev part; its loss is that of the others, and scores count all.
    dev_part = corpus(options.dev_cuts, "dev", 100.0) if options.dev_cuts else None
    optimiser = make_optimiser(model, options.optim)
    # Epochs differ by a batch or two, which the learning rate does not mind.
    steps_per_epoch = len(plan(train_part.table, options.batch, options.seed, epoch=0))
    run = Run(
        options,
        model,
        optimiser,
        make_loss(options.loss, lang, options.topology),
        train_part,
        dev_part,
        steps_per_epoch,
        Progress(),
        device,
    )
    found = checkpoints.checkpoints(run.folder)
    if not found and (options.out / "final.safetensors").exists():
        raise EgretError(
            f"{run.folder}: gone, so the model in {options.out} cannot be trained further; "
            f"train another one with --tag NAME, or this one anew with --force"
        )
    if found:
        path, run.progress = found[0]
        checkpoints.restore(path, model, optimiser)
        log.info("going on from %s: epoch %d, batch %d", path, run.progress.epoch + 1, run.progress.batch)
    return run


def choose_device(num_gpus: int) -> torch.device:
    """The device to train on.

    Raises:
      EgretError: a GPU was asked for and PyTorch sees none.
    """
    if num_gpus and not torch.cuda.is_available():
        raise EgretError(
            "--num-gpus 1: PyTorch sees no GPU; utils/doctor.py says what is wrong, --num-gpus 0 trains on the CPU"
        )
    return torch.device("cuda" if num_gpus else "cpu")


def train_epoch(run: Run, meter: TrainingMeter) -> None:
    """Train from where the run stands to the end of its epoch."""
    progress, options = run.progress, run.options
    run.model.train()
    batches = plan(run.train.table, options.batch, options.seed, progress.epoch)
    saved = time.monotonic()
    for rows in batches[progress.batch :]:
        with meter.waiting():
            batch = run.train.load(rows).to(run.device)
        progress.loss_sum += train_step(run, batch, meter) * batch.tokens
        progress.tokens += batch.tokens
        progress.batch += 1
        progress.step += 1
        if time.monotonic() - saved > options.save_minutes * 60:
            checkpoints.save(run.folder, run.model, run.optimiser, progress)
            checkpoints.prune(run.folder, options.average)
            saved = time.monotonic()
    progress.train_loss = progress.loss_sum / progress.tokens
    progress.epoch, progress.batch, progress.loss_sum, progress.tokens = progress.epoch + 1, 0, 0.0, 0


def train_step(run: Run, batch: Batch, meter: TrainingMeter) -> float:
    """One step of the optimiser; returns the loss per token.

    Raises:
      EgretError: the loss is not finite; names the utterances.
    """
    step, optim = run.progress.step, run.options.optim
    torch.manual_seed(hash((run.options.seed, step)) & 0x7FFFFFFF)
    rate = learning_rate(step, run.steps, optim)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    features = spec_augment(batch.features, batch.lengths, run.model.mean, run.options.specaugment)
    loss = loss_of(run, features, batch)
    if not torch.isfinite(loss):
        raise EgretError(
            f"the loss is {loss.item()} at step {step} (epoch {run.progress.epoch + 1}) on {', '.join(batch.ids[:5])}; "
            f"try a lower --optim.lr or a longer --optim.warmup"
        )
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), optim.clip_norm)
    run.optimiser.step()
    meter.step(run.progress, loss.item(), rate, float(norm), batch.seconds)
    return loss.item()


def loss_of(run: Run, features: Tensor, batch: Batch) -> Tensor:
    """The loss per token of a batch whose features are given.

    `intermediate` mixes in the loss on the encoder's middle, which keeps the lower half honest (Lee and Watanabe
    2021, "Intermediate loss regularization for CTC-based speech recognition").
    """
    weight = run.options.intermediate
    if weight:
        log_probs, lengths, middle = run.model.with_middle(features, batch.lengths)
    else:
        log_probs, lengths = run.model(features, batch.lengths)
    check = log_probs.sum()  # NaN or infinite where an output is: k2 would not look at such a batch
    if not torch.isfinite(check):
        return check
    loss = run.loss(log_probs, lengths, batch)
    if weight:
        loss = (1 - weight) * loss + weight * run.loss(middle, lengths, batch)
    return loss / batch.tokens


@torch.no_grad()
def dev_loss(run: Run) -> float:
    """The loss per token over the dev part."""
    assert run.dev is not None
    run.model.eval()
    total, tokens = 0.0, 0
    for rows in plan(run.dev.table, run.options.batch, seed=0, epoch=0):
        batch = run.dev.load(rows).to(run.device)
        log_probs, lengths = run.model(batch.features, batch.lengths)
        total += run.loss(log_probs, lengths, batch).item()
        tokens += batch.tokens
    return total / tokens


def finish(run: Run) -> list[str]:
    """Average the chosen checkpoints into `final.safetensors`; returns their names."""
    epochs = [item for item in checkpoints.checkpoints(run.folder) if item[1].batch == 0]
    if run.dev and run.options.average_of == "best":
        epochs = checkpoints.best(epochs)
    chosen = [path for path, _ in epochs[: run.options.average]]
    if len(chosen) < min(run.options.average, run.options.epochs):
        log.warning(
            "only %d checkpoints are left to average, where --average asks for %d", len(chosen), run.options.average
        )
    save_weights(run.options.out / "final.safetensors", checkpoints.average(chosen))
    return sorted(path.name for path in chosen)

"""The training loop: one function per thing that training does.

Randomness is a function of the seed and the step, and batches are a function of the seed and the epoch, so a
run that goes on from a checkpoint does what an uninterrupted one would have done.
"""

import json
import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from egret.base.errors import EgretError
from egret.base.log import log
from egret.base.memory import keep_memory, return_memory
from egret.base.options import as_plain
from egret.models.files import save_weights
from egret.models.model import count_parameters
from egret.training import checkpoints, guards
from egret.training.data import Batch, Corpus
from egret.training.distributed import joined
from egret.training.loader import load_batches
from egret.training.meter import TrainingMeter
from egret.training.options import TrainOptions
from egret.training.parameters import clip, set_training_mode
from egret.training.plan import batches as plan_batches
from egret.training.run import SKIPPED, Run, set_up
from egret.training.schedule import learning_rate, plateau
from egret.training.signals import Interrupted

TIDY_SECONDS = 10


def train(options: TrainOptions, config: dict) -> dict:
    """Train a model, or go on with it, and leave `final.safetensors`; returns counts for the closing line.

    Raises:
      Interrupted: a signal came; what there was is saved.
      EgretError: what a user can mend.
    """
    keep_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    with joined(options) as ranks:
        run = set_up(options, config, ranks)
        try:
            return fit(run)
        finally:
            run.warned.ignore()


def fit(run: Run) -> dict:
    """Train to the last epoch, or until patience ends; returns counts for the closing line."""
    options, progress = run.options, run.progress
    if options.check_batches and progress.epoch < options.epochs:
        check_memory(run)
    meter = TrainingMeter(
        options.out / "tensorboard", options.log_seconds, progress.step + run.steps - run.position, progress.step,
        wandb=options.wandb, main=run.ranks.main, config=as_plain(options),
    )  # fmt: skip
    while progress.epoch < options.epochs and not out_of_patience(run):
        train_epoch(run, meter)
        progress.dev_loss = dev_loss(run) if run.dev else None
        if progress.dev_loss is not None:
            progress.dev_losses.append(progress.dev_loss)
        meter.epoch(progress)
        run.save()
    meter.close()
    used = finish(run) if run.ranks.main else []
    return {
        "utterances": len(run.train.table),
        "epochs": progress.epoch,
        "steps": progress.step,
        **({"skipped": progress.skipped} if progress.skipped else {}),
        "parameters": count_parameters(run.model),
        "train_loss": round(progress.train_loss or math.nan, 4),
        **({"dev_loss": round(progress.dev_loss, 4)} if progress.dev_loss is not None else {}),
        "averaged": ",".join(used),
    }


def out_of_patience(run: Run) -> bool:
    """Whether the last epochs have not lowered the loss on dev."""
    losses, patience = [checkpoints.judged(loss) for loss in run.progress.dev_losses], run.options.patience
    if not patience or len(losses) <= patience or min(losses[-patience:]) < min(losses[:-patience]):
        return False
    log.info("the loss on dev has not fallen for %d epochs: training ends after %d", patience, run.progress.epoch)
    return True


def check_memory(run: Run) -> None:
    """Try the largest batches of the next epoch before hours are spent; nothing of them stays.

    Raises:
      EgretError: one does not fit.
    """
    rows = guards.largest(run.batches(run.progress.epoch), run.train.table)
    tried = list(load_batches(run.train, rows, (run.options.seed, run.progress.epoch), workers=0))
    buffers = guards.Buffers.of(run.model)

    def compute(batch: Batch) -> None:
        (run.objective(batch) / max(1, batch.tokens)).backward()
        run.optimiser.zero_grad(set_to_none=True)

    # Most optimisers keep two numbers for each weight, which are not there yet.
    later = 0 if run.optimiser.state else 8 * sum(parameter.numel() for parameter in run.trained)
    set_training_mode(run.model, run.options.freeze)
    guards.MemoryCheck(run.device, compute, later, run.options.processes)(tried, run.options.batch.max_duration)
    buffers.put_back()


def train_epoch(run: Run, meter: TrainingMeter) -> None:
    """Train from where the run stands to the end of its epoch.

    Raises:
      Interrupted: a signal came; what there was is saved.
    """
    progress, options, ranks = run.progress, run.options, run.ranks
    set_training_mode(run.model, options.freeze)
    batches = run.batches(progress.epoch)[progress.batch :]
    steps = [batches[first : first + run.step_batches] for first in range(0, len(batches), run.step_batches)]
    own = [rows for step in steps for rows in step[ranks.rank :: ranks.size]]
    loading = load_batches(run.train, own, (options.seed, progress.epoch), options.workers)
    tidied = time.monotonic()
    with closing(loading) as loaded:
        for step in steps:
            with meter.waiting():
                mine = list(islice(loaded, len(step[ranks.rank :: ranks.size])))
            stop, save = train_step(run, mine, tokens_of(run.train, step), meter)
            progress.batch += len(step)
            progress.step += 1
            if time.monotonic() - tidied > TIDY_SECONDS:
                return_memory()
                tidied = time.monotonic()
            if stop or save:  # a run that goes on from there has the curves up to it
                meter.flush()
            if stop:
                run.save()
                raise Interrupted(f"told to stop ({run.warned.name or 'a signal'}); saved after step {progress.step}; "
                                  f"the same command goes on")  # fmt: skip
            if save:
                run.save()
    progress.train_loss = progress.loss_sum / progress.tokens if progress.tokens else None
    progress.epoch, progress.batch, progress.loss_sum, progress.tokens = progress.epoch + 1, 0, 0.0, 0


def tokens_of(corpus: Corpus, step: Sequence[np.ndarray]) -> int:
    """Tokens of all batches of a step, those of other processes too: what its loss is divided by."""
    return int(sum(corpus.table.tokens[rows].sum() for rows in step))


def train_step(run: Run, batches: list[Batch], tokens: int, meter: TrainingMeter) -> tuple[bool, bool]:
    """One step of the optimiser from this process's batches; returns whether to stop after it, and whether to save.

    A step whose loss or gradient is not finite is left out and its utterances are listed.

    Raises:
      EgretError: too many such steps in a row.
    """
    progress, options, ranks = run.progress, run.options, run.ranks
    rate = learning_rate(run.position, run.steps, options.optim, run.steps_per_epoch,
                         plateau(progress.dev_losses, options.optim))  # fmt: skip
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    buffers = guards.Buffers.of(run.model)
    own = gradients(run, batches, tokens, buffers)
    ranks.sum_gradients(run.trained)
    due = ranks.main and (
        time.monotonic() - run.saved > options.save_minutes * 60
        or (options.save_steps > 0 and (progress.step + 1) % options.save_steps == 0)
    )
    speech = sum(batch.seconds for batch in batches)
    loss, speech, stop, save = ranks.sum([own, speech, bool(run.warned), due], run.device)
    if run.scaler:
        run.scaler.unscale_(run.optimiser)
    norm = clip(run.trained, options.optim)
    if math.isfinite(loss) and math.isfinite(norm):
        make_step(run)
        progress.loss_sum += loss * tokens
        progress.tokens += tokens
        progress.skipped_in_a_row = 0
    else:
        make_step(run, skip=True)
        buffers.put_back()
        skip(run, batches, loss, norm)
    run.optimiser.zero_grad(set_to_none=True)
    meter.step(progress, loss, rate, norm, speech)
    return stop > 0, save > 0


def make_step(run: Run, skip: bool = False) -> None:
    """Change the weights; a skipped step makes only the scale of fp16 smaller."""
    if run.scaler and skip:  # it may have seen no gradient at all, or a finite part of one
        run.scaler.update(run.scaler.get_scale() * run.scaler.get_backoff_factor())
    elif run.scaler:
        run.scaler.step(run.optimiser)
        run.scaler.update()
    elif not skip:
        run.optimiser.step()
    if run.average and not skip:
        run.average.update(run.progress.step)


def skip(run: Run, batches: list[Batch], loss: float, norm: float) -> None:
    """List the utterances of a step that is left out.

    Raises:
      EgretError: too many in a row.
    """
    progress, options = run.progress, run.options
    progress.skipped += 1
    progress.skipped_in_a_row += 1
    ids = [name for some in run.ranks.gather([name for batch in batches for name in batch.ids]) for name in some]
    listed = options.out / SKIPPED
    if run.ranks.main:
        row = {"epoch": progress.epoch + 1, "step": progress.step, "loss": str(loss), "norm": str(norm), "ids": ids}
        with open(listed, "a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        log.warning(
            "step %d left out: loss %s, gradient norm %s, on %s", progress.step, loss, norm, guards.describe(ids)
        )
    if progress.skipped_in_a_row > options.max_skipped:
        raise EgretError(
            f"{progress.skipped_in_a_row} steps in a row without a finite loss and gradient, the last on "
            f"{guards.describe(ids)} (all in {listed}); try a lower --optim.lr or a longer --optim.warmup"
            + (", or --precision bf16" if options.precision == "fp16" else "")
        )


def gradients(run: Run, batches: list[Batch], tokens: int, buffers: guards.Buffers) -> float:
    """Add up the gradients of batches; returns their part of the loss per token of the whole step.

    A batch for which the memory is too small is divided once, and the step begun again with the running statistics
    that it began with, `buffers`.

    Raises:
      EgretError: the memory is too small for half a batch.
    """
    divided: set[int] = set()
    while True:
        place = 0
        try:
            loss = 0.0
            for place, batch in enumerate(batches):
                loss += backward(run, batch, tokens, place, halve=place in divided)
            return loss
        except RuntimeError as error:
            if not guards.out_of_memory(error):
                raise
            batch = batches[place]
            if place in divided or len(batch.ids) == 1:
                raise EgretError(
                    f"memory is too small even for half of a batch, {guards.describe(batch.ids)}; "
                    f"lower --batch.max-duration"
                ) from None
            log.warning("out of memory on %s: divided in two", guards.describe(batch.ids))
            divided.add(place)
        run.optimiser.zero_grad(set_to_none=True)
        buffers.put_back()
        if run.device.type == "cuda":
            torch.cuda.empty_cache()


def backward(run: Run, batch: Batch, tokens: int, place: int, halve: bool) -> float:
    """Add the gradient of a batch, whole or in two halves, to those that are there; returns its part of the loss."""
    number = run.ranks.rank + place * run.ranks.size  # of the batch in the step, however it is divided over processes
    torch.manual_seed(hash((run.options.seed, run.progress.step, number)) & 0x7FFFFFFF)
    total = 0.0
    for part in guards.halves(batch) if halve else [batch]:
        loss = run.objective(part.to(run.device)) / tokens
        value = float(loss.detach())
        if math.isfinite(value):  # otherwise the step is left out anyhow, and some losses have no gradient then
            (run.scaler.scale(loss) if run.scaler else loss).backward()
        total += value
    return total


def dev_loss(run: Run) -> float:
    """The loss per token over the dev part, with the weights that are kept."""
    assert run.dev is not None
    run.ranks.mean_buffers(run.model)
    if run.average:
        with run.average.in_place():
            return _dev_loss(run, run.dev)
    return _dev_loss(run, run.dev)


def _dev_loss(run: Run, dev: Corpus) -> float:
    run.model.eval()
    chosen = replace(run.options.batch, weights=[])  # which are those of the training parts
    batches = plan_batches(dev.table, chosen, seed=0, epoch=chosen.sorted_epochs)
    own = batches[run.ranks.rank :: run.ranks.size]
    total, tokens = 0.0, 0.0
    with closing(load_batches(dev, own, (), run.options.workers)) as loaded:
        for batch in loaded:
            total += plain_loss(run, batch)
            tokens += batch.tokens
    total, tokens = run.ranks.sum([total, tokens], run.device)
    return total / tokens


def plain_loss(run: Run, batch: Batch) -> float:
    """The summed loss of a batch as it is; in two halves where the memory is too small for it.

    Raises:
      EgretError: it is too small for a half as well.
    """
    try:
        return float(run.objective.plain(batch.to(run.device)))
    except RuntimeError as error:
        if not guards.out_of_memory(error):
            raise
        if len(batch.ids) == 1:
            raise EgretError(
                f"memory is too small for {guards.describe(batch.ids)} of --dev-cuts; leave it out"
            ) from None
    return sum(plain_loss(run, half) for half in guards.halves(batch))


def finish(run: Run) -> list[str]:
    """Average the chosen checkpoints into `final.safetensors`; returns their names."""
    epochs = [item for item in checkpoints.checkpoints(run.folder) if item[1].batch == 0]
    if run.dev and run.options.average_of == "best":
        epochs = checkpoints.best(epochs)
    chosen = [path for path, _ in epochs[: run.options.average]]
    if len(chosen) < min(run.options.average, run.progress.epoch):
        log.warning(
            "only %d checkpoints are left to average, where --average asks for %d", len(chosen), run.options.average
        )
    save_weights(run.options.out / "final.safetensors", checkpoints.average(chosen))
    return sorted(path.name for path in chosen)

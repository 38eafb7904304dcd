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
from typing import Any, NoReturn

import numpy as np
import torch

from egret.base.errors import EgretError, counted
from egret.base.log import log
from egret.base.memory import keep_memory, out_of_memory
from egret.base.options import as_plain
from egret.models.files import save_weights
from egret.models.model import count_parameters
from egret.training import checkpoints, guards
from egret.training.distributed import joined
from egret.training.loader import load_batches
from egret.training.loop_options import LoopOptions
from egret.training.meter import TrainingMeter
from egret.training.parameters import clip, set_training_mode
from egret.training.plan import batches as plan_batches
from egret.training.plan import copies
from egret.training.run import SKIPPED, Run, set_up
from egret.training.schedule import learning_rate, plateau
from egret.training.signals import GOES_ON, told
from egret.training.task import Batch, Corpus


def train(options: LoopOptions, config: dict) -> dict:
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
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise EgretError(f"memory ran out, and not on a batch ({guards.first_line(error)}); "
                             f"lower {options.measure.limit}, or leave more of it free") from None  # fmt: skip
        finally:
            run.warned.ignore()


def fit(run: Run) -> dict:
    """Train to the last epoch, or until patience ends; returns counts for the closing line."""
    options, progress = run.options, run.progress
    if options.check_batches and progress.epoch < options.epochs:
        check_memory(run)
    run.warned.listen()
    meter = TrainingMeter(
        options.out / "tensorboard", options.log_seconds, progress.step + run.steps - run.position, progress.step,
        wandb=options.wandb, main=run.ranks.main, config=as_plain(options), measure=options.measure,
    )  # fmt: skip
    while progress.epoch < options.epochs and not out_of_patience(run):
        train_epoch(run, meter)
        loss = dev_loss(run) if run.dev else None
        if run.dev and loss is None:
            stop(run, meter)  # what is saved lies behind the epoch's last batch and before the dev part
        progress.end_epoch(loss)
        meter.epoch(progress)
        run.save()
    meter.close()
    run.warned.ignore()  # nothing is left to save
    used = finish(run) if run.ranks.main else []
    return {
        f"{options.measure.item}s": len(run.train.table),
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
    """Try the largest batches of the next epoch, and of the dev part, before hours are spent; nothing of them stays.

    Raises:
      EgretError: one does not fit.
      Interrupted: a signal came.
    """
    run.objective.in_epoch(run.options.epochs)  # scheduled sampling takes more memory than the truth
    rows = guards.largest(run.batches(run.progress.epoch), run.train.table)
    tried = list(load_batches(run.train, rows, (run.options.seed, run.progress.epoch), workers=0))
    buffers = guards.Buffers.of(run.model)

    def compute(batch: Batch) -> None:
        (run.objective(batch) / max(1, batch.tokens)).backward()
        run.optimiser.zero_grad(set_to_none=True)
        if run.told():
            raise told(run.warned.name)

    # Most optimisers keep two numbers for each weight, which are not there yet.
    later = 0 if run.optimiser.state else 8 * sum(parameter.numel() for parameter in run.trained)
    set_training_mode(run.model, run.options.freeze)
    check = guards.MemoryCheck(run.device, compute, later, run.options.measure, run.options.processes)
    check(tried, run.options.batch.largest)
    if run.dev:
        run.model.eval()
        for batch in load_batches(run.dev, guards.largest(dev_batches(run, run.dev), run.dev.table)):
            plain_loss(run, batch)
    buffers.put_back()


def train_epoch(run: Run, meter: TrainingMeter) -> None:
    """Train from where the run stands to the last batch of its epoch.

    Raises:
      Interrupted: a signal came; what there was is saved.
    """
    progress, options, ranks = run.progress, run.options, run.ranks
    set_training_mode(run.model, options.freeze)
    run.objective.in_epoch(progress.epoch)
    batches = run.batches(progress.epoch)
    before = copies(batches)
    places = range(progress.batch, len(batches))
    steps = [places[first : first + run.step_batches] for first in range(0, len(places), run.step_batches)]
    own = [place for step in steps for place in step[ranks.rank :: ranks.size]]
    loading = load_batches(run.train, [batches[place] for place in own], (options.seed, progress.epoch),
                           options.workers, [before[place] for place in own])  # fmt: skip
    with closing(loading) as loaded:
        for step in steps:
            with meter.waiting():
                mine = list(islice(loaded, len(step[ranks.rank :: ranks.size])))
            must_stop, save = train_step(run, mine, tokens_of(run.train, [batches[place] for place in step]), meter)
            progress.batch += len(step)
            progress.step += 1
            if must_stop:
                stop(run, meter)
            if save:
                meter.flush()  # a run that goes on from there has the curves up to it
                run.save()


def stop(run: Run, meter: TrainingMeter) -> NoReturn:
    """Save where training stands, and end.

    Raises:
      Interrupted: always.
    """
    meter.flush()
    run.save()
    raise told(run.warned.name, f"saved after step {run.progress.step}; {GOES_ON}")


def tokens_of(corpus: Corpus[Any], step: Sequence[np.ndarray]) -> int:
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
    amount = sum(batch.amount for batch in batches)
    loss, amount, stop, save = ranks.sum([own, amount, bool(run.warned), due], run.device)
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
    meter.step(progress, loss, rate, norm, amount)
    return stop > 0, save > 0


def make_step(run: Run, skip: bool = False) -> None:
    """Change the weights; a skipped step makes only the scale of fp16 smaller.

    Raises:
      EgretError: the memory is too small for the optimiser.
    """
    if run.scaler and skip:  # it may have seen no gradient at all, or a finite part of one
        run.scaler.update(run.scaler.get_scale() * run.scaler.get_backoff_factor())
    elif not skip:
        try:
            run.scaler.step(run.optimiser) if run.scaler else run.optimiser.step()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EgretError(
                f"memory is too small for the step of --optim.name {run.options.optim.name}, which may keep numbers of "
                f"its own for each weight; lower {run.options.measure.limit}, or take sgd, which keeps one"
            ) from None
        if run.scaler:
            run.scaler.update()
        run.model.bound(math.inf if run.options.init_from else run.progress.step + 1)  # it has warmed up
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
    found = run.ranks.gather(([name for batch in batches for name in batch.ids], guards.blamed(batches)))
    ids, blamed = [name for some, _ in found for name in some], "".join(each for _, each in found)
    listed = options.out / SKIPPED
    if run.ranks.main:
        row = {"epoch": progress.epoch + 1, "step": progress.step, "loss": str(loss), "norm": str(norm), "ids": ids}
        with open(listed, "a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        log.warning(
            "step %d left out: loss %s, gradient norm %s, on %s%s",
            progress.step, loss, norm, guards.describe(ids, options.measure), blamed,
        )  # fmt: skip
    if progress.skipped_in_a_row > options.max_skipped:
        raise EgretError(
            f"{counted(progress.skipped_in_a_row, 'step')} in a row without a finite loss and gradient, the last on "
            f"{guards.describe(ids, options.measure)} (all in {listed}); try a lower --optim.lr or a longer "
            f"--optim.warmup" + (", or --precision bf16" if options.precision == "fp16" else "") + blamed
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
            if not out_of_memory(error):
                raise
            batch, measure = batches[place], run.options.measure
            described = guards.describe(batch.ids, measure)
            if place in divided or len(batch.ids) == 1:
                raise EgretError(
                    f"memory is too small even for half of a batch, {described}; lower {measure.limit}"
                ) from None
            log.warning("out of memory on %s: divided in two", described)
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
    for part in batch.halves() if halve else [batch]:
        loss = run.objective(part.to(run.device)) / tokens
        value = float(loss.detach())
        if math.isfinite(value):  # otherwise the step is left out anyhow, and some losses have no gradient then
            (run.scaler.scale(loss) if run.scaler else loss).backward()
        total += value
    return total


def dev_loss(run: Run) -> float | None:
    """The loss per token over the dev part, with the weights that are kept; None: a signal came meanwhile."""
    assert run.dev is not None
    run.ranks.mean_buffers(run.model)
    if run.average:
        with run.average.in_place():
            return _dev_loss(run, run.dev)
    return _dev_loss(run, run.dev)


def _dev_loss(run: Run, dev: Corpus[Any]) -> float | None:
    run.model.eval()
    batches = dev_batches(run, dev)
    own = batches[run.ranks.rank :: run.ranks.size]
    total, tokens = 0.0, 0.0
    with closing(load_batches(dev, own, (), run.options.workers)) as loaded:
        for _ in range(0, len(batches), run.ranks.size):
            if run.told():
                return None
            for batch in islice(loaded, 1):  # the last processes may have one less
                loss = plain_loss(run, batch)
                if not math.isfinite(loss):
                    of = guards.describe(batch.ids, run.options.measure)
                    log.warning("the loss on dev is %s: this epoch counts as the worst, because of %s%s",
                                loss, of, guards.blamed([batch]))  # fmt: skip
                total += loss
                tokens += batch.tokens
    total, tokens = run.ranks.sum([total, tokens], run.device)
    return total / tokens


def dev_batches(run: Run, dev: Corpus[Any]) -> list[np.ndarray]:
    """The batches of the dev part, the same in every epoch and process."""
    chosen = replace(run.options.batch, weights=[])  # which are those of the training parts
    return plan_batches(dev.table, chosen, seed=0, epoch=chosen.sorted_epochs)


def plain_loss(run: Run, batch: Batch) -> float:
    """The summed loss of a batch as it is; in two halves where the memory is too small for it.

    Raises:
      EgretError: it is too small for a half as well.
    """
    try:
        return float(run.objective.plain(batch.to(run.device)))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        if len(batch.ids) == 1:
            raise EgretError(
                f"memory is too small for {guards.describe(batch.ids, run.options.measure)} of "
                f"{run.options.measure.dev}; leave it out"
            ) from None
    return sum(plain_loss(run, half) for half in batch.halves())


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

"""The training utterances by their loss under the trained model: the worst ones often have a wrong transcript."""

import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egret.base.errors import EgretError
from egret.base.files import atomic_open
from egret.base.log import log, progress
from egret.features.batching import Inputs
from egret.features.normalise import make_normaliser
from egret.lang.lang import Lang
from egret.models.files import build_model, load_weights
from egret.models.greedy import greedy
from egret.training.data import Corpus
from egret.training.loader import load_batches
from egret.training.objective import Objective
from egret.training.options import TrainOptions
from egret.training.plan import batches

COLUMNS = ["id", "loss per token", "tokens", "seconds", "transcript", "greedy hypothesis"]
SHOWN = 10


def list_losses(options: TrainOptions, config: dict[str, Any], weights: Path) -> Path:
    """Write `losses.tsv` into the experiment's folder, the highest loss first, and say which ten are the worst.

    Every utterance that was trained on once, in evaluation mode and without augmentation, whatever the weights of the
    parts.

    Args:
      config: of the model, as in its config.yaml.
      weights: the model's, such as final.safetensors.

    Raises:
      EgretError: weights, features or the lang folder cannot be read.
    """
    device = torch.device("cuda" if options.num_gpus else "cpu")
    lang = Lang.read(options.lang)
    model = build_model(config)
    model.load_state_dict(load_weights(weights))
    model.eval()
    # What was trained with: an experiment of an older version has no such entry.
    normaliser = make_normaliser(
        config.get("normalise", "global"), options.cuts, model.mean.numpy(), model.deviation.numpy()
    )
    model.to(device)
    inputs = Inputs(options.inputs, options.features, normalise=normaliser)
    rejected = options.out / "rejected_train.jsonl"
    corpus = Corpus(options.cuts, lang, model.token_room, rejected, options.max_reject_percent, inputs, again=True)
    path = options.out / "losses.tsv"
    losses, worst = write_sorted(path, rows(corpus, Objective(options, lang, model, device), options))
    log.info("the %d utterances of %d with the highest loss per token (median %.3f), the first of %s:",
             len(worst), len(losses), float(np.median(losses)), path)  # fmt: skip
    for name, loss, _, _, said, heard in worst:
        log.info("%8s  %s\n%18s said   %s\n%18s heard  %s", loss, name, "", said, "", heard or "(nothing)")
    return path


@torch.no_grad()
def rows(corpus: Corpus, objective: Objective, options: TrainOptions) -> Iterator[tuple[float, list[str]]]:
    """(loss per token, the cells below COLUMNS) of every utterance of a corpus."""
    model = objective.model
    device = model.mean.device
    chosen = batches(corpus.table, replace(options.batch, weights=[], sorted_epochs=1), seed=0, epoch=0)
    loaded = load_batches(corpus, chosen, workers=options.workers)
    for numbers, batch in zip(progress(chosen, len(chosen), "losses: batches"), loaded, strict=True):
        batch = batch.to(device)
        with objective.precision():
            x, lengths, _ = model.encode(batch.features, batch.lengths)
        values = objective.of_encoded(x, lengths, batch).tolist()
        if not np.isfinite(values).all():
            raise EgretError(f"the model's outputs are not numbers on {batch.ids[0]}; train again")
        for place, (tokens, _) in enumerate(greedy(model, x.float(), lengths, batch.lengths)):
            count = len(batch.targets[place])
            value = values[place] / count
            seconds, heard = corpus.table.lengths[numbers[place]], " ".join(corpus.lang.decode(tokens))
            said = batch.texts[place]
            yield value, [batch.ids[place], f"{value:.4f}", str(count), f"{seconds:.2f}", said, heard]


def write_sorted(path: Path, found: Iterator[tuple[float, list[str]]]) -> tuple[array, list[list[str]]]:
    """Write rows by their number, the highest first; returns the numbers, not sorted, and the first few rows.

    Only numbers are kept in memory, for a corpus may have millions of utterances.
    """
    numbers, ends = array("d"), array("q", [0])
    with tempfile.TemporaryFile(dir=path.parent) as spool, atomic_open(path) as out:
        for number, cells in found:
            spool.write(("\t".join(" ".join(cell.split()) for cell in cells) + "\n").encode())
            numbers.append(number)
            ends.append(spool.tell())
        out.write("\t".join(COLUMNS) + "\n")
        worst: list[list[str]] = []
        for row in np.argsort(-np.array(numbers), kind="stable"):
            spool.seek(ends[row])
            line = spool.read(ends[row + 1] - ends[row]).decode()
            out.write(line)
            if len(worst) < SHOWN:
                worst.append(line.rstrip("\n").split("\t"))
    return numbers, worst

"""To begin with the weights of another model."""

from pathlib import Path

import torch
from torch import Tensor

from egret.base.errors import EgretError, first_few
from egret.base.log import log
from egret.lang.symbols import read_symbols
from egret.models.files import load_config, load_weights
from egret.models.model import STATISTICS, JointModel

HEAD = "head."


def take_weights(model: JointModel, source: Path, units: list[str]) -> None:
    """Give a model the weights of a trained one; `units` are the model's tokens, in the order of their numbers.

    The mean and deviation of the features are not taken: they are those of the new data. The output layer of other
    units takes over the rows of the units that both have; its others stay as they were initialised.

    Raises:
      EgretError: the source is no trained model, or one with another encoder.
    """
    config = load_config(source / "config.yaml")
    theirs = load_weights(source / "final.safetensors")
    ours = model.state_dict()
    names = [name for name in ours if name not in STATISTICS and not name.startswith(HEAD)]
    others = [name for name in theirs if name not in STATISTICS and not name.startswith(HEAD)]
    if unlike := [name for name in names if name not in theirs or theirs[name].shape != ours[name].shape]:
        raise EgretError(f"--init-from {source}: its encoder is another ({first_few(unlike, 3)} differ); "
                         f"give the options of model.{config['model']['encoder']} in its config.yaml")  # fmt: skip
    if more := set(others) - set(names):
        raise EgretError(f"--init-from {source}: its encoder has more than this one ({first_few(sorted(more), 3)})")
    heads, kept = output_layer(ours, theirs, units, tokens_of(source, config))
    model.load_state_dict({**ours, **{name: theirs[name] for name in names}, **heads})
    log.info("weights of %s; of the output layer those of %d of %d units", source, kept, len(units))


def output_layer(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], units: list[str], others: list[str]
) -> tuple[dict[str, Tensor], int]:
    """Our output layer with the rows of the units that both have, and how many these are."""
    place = {unit: row for row, unit in enumerate(others)}
    pairs = [(row, place[unit]) for row, unit in enumerate(units) if unit in place]
    heads = {name: tensor.clone() for name, tensor in ours.items() if name.startswith(HEAD)}
    if pairs:
        to, of = (torch.tensor(rows) for rows in zip(*pairs, strict=True))
        for name, tensor in heads.items():
            tensor[to] = theirs[name][of]
    return heads, len(pairs)


def tokens_of(source: Path, config: dict) -> list[str]:
    """The units of a trained model, in the order of their numbers; none where nothing tells."""
    for path in (source / "tokens.txt", Path(config["lang"]) / "tokens.txt"):
        if path.exists():
            units = list(read_symbols(path))[: config["tokens"]]
            if len(units) == config["tokens"]:
                return units
    log.warning("%s: nothing says which units it has; the output layer begins anew", source)
    return []

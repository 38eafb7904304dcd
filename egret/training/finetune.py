"""To begin with the weights of another model."""

from pathlib import Path

import torch
from torch import Tensor

from egret.base.errors import EgretError, first_few
from egret.base.log import log
from egret.lang.symbols import read_symbols
from egret.models.files import load_config, load_weights
from egret.models.model import JointModel

# Of these a row belongs to a unit: rows of units that both models have are taken over, the others begin anew.
BY_UNIT = ("head.", "decoder.embedding.", "decoder.output.")


def take_weights(model: JointModel, source: Path, units: list[str]) -> None:
    """Give a model the weights of a trained one; `units` are the model's tokens, in the order of their numbers.

    The mean and deviation of the features are not taken: they are those of the new data. Layers with a row for each
    unit take over those of the units that both have. A CTC head or a decoder that the other one does not have, or a
    decoder of another kind or size, stays as it was initialised, and the log says so.

    Raises:
      EgretError: the source is no trained model, or one with another encoder.
    """
    config = load_config(source / "config.yaml")
    theirs = load_weights(source / "final.safetensors")
    ours = model.state_dict()
    if unlike := differing(ours, theirs, "encoder."):
        raise EgretError(f"--init-from {source}: its encoder is another ({first_few(unlike, 3)} differ); "
                         f"give the options of model.{config['model']['encoder']} in its config.yaml")  # fmt: skip
    if more := {name for name in theirs if name.startswith("encoder.")} - ours.keys():
        raise EgretError(f"--init-from {source}: its encoder has more than this one ({first_few(sorted(more), 3)})")
    parts = ["encoder."]
    for part in ("head.", "decoder."):
        if not any(name.startswith(part) for name in ours):
            continue
        if differing(ours, theirs, part):
            log.info("%s: has no such %s; this one begins anew", source, part.removesuffix("."))
        else:
            parts.append(part)
    names = [name for name in ours if name.startswith(tuple(parts))]
    whole = {name: theirs[name] for name in names if not name.startswith(BY_UNIT)}
    rows = {name: ours[name] for name in names if name.startswith(BY_UNIT)}
    rows, kept = rows_of_units(rows, theirs, units, tokens_of(source, config))
    model.load_state_dict({**ours, **whole, **rows})
    log.info("weights of %s%s", source,
             f"; of the output layer those of {kept} of {len(units)} units" if rows else "")  # fmt: skip


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor], part: str) -> list[str]:
    """The names of a part of ours that theirs lacks, or has in another shape, the number of units aside."""

    def shape(name: str, tensor: Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape[1:] if name.startswith(BY_UNIT) else tensor.shape)

    return [name for name, tensor in ours.items() if name.startswith(part)
            and (name not in theirs or shape(name, tensor) != shape(name, theirs[name]))]  # fmt: skip


def rows_of_units(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], units: list[str], others: list[str]
) -> tuple[dict[str, Tensor], int]:
    """Ours with the rows of the units that both have, and how many these are."""
    place = {unit: row for row, unit in enumerate(others)}
    pairs = [(row, place[unit]) for row, unit in enumerate(units) if unit in place]
    found = {name: tensor.clone() for name, tensor in ours.items()}
    if pairs:
        to, of = (torch.tensor(rows) for rows in zip(*pairs, strict=True))
        for name, tensor in found.items():
            tensor[to] = theirs[name][of]
    return found, len(pairs)


def tokens_of(source: Path, config: dict) -> list[str]:
    """The units of a trained model, in the order of their numbers; none where nothing tells."""
    for path in (source / "tokens.txt", Path(config["lang"]) / "tokens.txt"):
        if path.exists():
            units = list(read_symbols(path))[: config["tokens"]]
            if len(units) == config["tokens"]:
                return units
    log.warning("%s: nothing says which units it has; the output layer begins anew", source)
    return []

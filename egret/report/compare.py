"""Two experiments beside each other: what was set, how training went, how they score, and whether that is chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from egret.base import options
from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import read_json
from egret.base.options import as_plain
from egret.base.stamps import read_stamp
from egret.report.curves import Points, read_curves
from egret.scoring.paired import LETTERS, Test, paired_tests
from egret.scoring.results import Score, read_scores
from egret.training.options import TrainOptions

# What makes losses per token those of different things.
KIND_OF_LOSS = ("loss", "topology", "intermediate", "consistency", "units")


@dataclass(frozen=True)
class Experiment:
    """What an experiment's folder says.

    Attributes:
      folder: as it was given.
      config: config.yaml by dotted name; options that there were none of then have what is their default now.
      inputs: fingerprints of what it was trained on.
      software: revision of Egret and versions of packages.
      training: counts and seconds of the training, as far as it is finished.
      curves: (step, value) by name; empty where there are none, and `notes` says why.
      scores: of all decodings, those of the best method first; empty where there are none, and `notes` says why.
      best: best.json; empty without scores.
    """

    folder: Path
    config: dict[str, Any]
    inputs: dict[str, str]
    software: dict[str, str]
    training: dict[str, str]
    curves: dict[str, Points]
    scores: list[Score]
    best: dict[str, Any]
    notes: list[str]


class Epoch(NamedTuple):
    """The losses per token of both experiments in an epoch; None where there is none."""

    number: int
    train: tuple[float | None, float | None]
    dev: tuple[float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """Two experiments and what differs between them; `config`, `software` and `training` are (name, A's, B's)."""

    experiments: tuple[Experiment, Experiment]
    config: list[tuple[str, str, str]]
    software: list[tuple[str, str, str]]
    training: list[tuple[str, str, str]]
    epochs: list[Epoch]
    tests: list[Test]
    notes: list[str]

    def as_plain(self) -> dict[str, Any]:
        """For JSON, A's before B's everywhere."""
        return {
            "experiments": [str(experiment.folder) for experiment in self.experiments],
            "config": {name: [first, second] for name, first, second in self.config},
            "software": {name: [first, second] for name, first, second in self.software},
            "training": {name: [first, second] for name, first, second in self.training},
            "epochs": [epoch._asdict() for epoch in self.epochs],
            "scores": [
                [{key: score[key] for key in ("part", "method", "wer", "cer", "ci95", "normaliser")}
                 for score in experiment.scores]
                for experiment in self.experiments
            ],
            "best": [experiment.best.get("method") for experiment in self.experiments],
            "tests": [test.as_plain() for test in self.tests],
            "notes": self.notes,
        }  # fmt: skip


def compare(first: Path, second: Path) -> Comparison:
    """Put two experiments beside each other.

    Raises:
      EgretError: one is no experiment, or a file of it is damaged.
      UsageError: both are the same.
    """
    experiments = a, b = read_experiment(first), read_experiment(second)
    if a.folder.resolve() == b.folder.resolve():
        raise UsageError(f"{first} and {second} are the same experiment; give two")
    notes = [f"{letter}: {note}" for letter, each in zip(LETTERS, experiments, strict=True) for note in each.notes]
    other_losses = [name for name in KIND_OF_LOSS if shown(a.config.get(name)) != shown(b.config.get(name))]
    if other_losses and a.curves and b.curves:
        notes.append(f"Losses are not of one kind, for they differ in {first_few(other_losses)}.")
    contents = [
        (f"{name} (content)", *(each.inputs[name].removeprefix("sha256:")[:8] for each in experiments))
        for name in a.inputs.keys() & b.inputs.keys()
        if a.inputs[name] != b.inputs[name] and shown(a.config.get(name)) == shown(b.config.get(name))
    ]
    return Comparison(
        experiments=experiments,
        config=sorted([*differences(a.config, b.config), *contents]),  # type: ignore[list-item]
        software=differences(a.software, b.software),
        training=[(name, a.training.get(name, "-"), b.training.get(name, "-"))
                  for name in [*a.training, *(b.training.keys() - a.training.keys())]],
        epochs=by_epoch(a.curves, b.curves),
        tests=list(paired_tests((a.scores, b.scores), (a.best, b.best))),
        notes=notes,
    )  # fmt: skip


def read_experiment(folder: Path) -> Experiment:
    """Read what training, decoding and scoring have left.

    Raises:
      EgretError: the folder is none of an experiment, or a file of it is damaged.
    """
    notes: list[str] = []
    config = {**defaults(), **dict(dotted(read_config(folder)))}
    env = read_json(folder / "env.json") if (folder / "env.json").exists() else {}
    begun = read_json(folder / ".begun.json") if (folder / ".begun.json").exists() else {}
    scores: list[Score] = []
    best: dict[str, Any] = {}
    curves: dict[str, Points] = {}
    try:
        curves = read_curves(folder / "tensorboard")
    except EgretError as error:
        notes.append(f"no curves: {error}")
    try:
        scores, best = read_scores(folder)
    except EgretError as error:
        notes.append(f"not compared in its scores: {error}")
    packages = {name: version for name, version in (env.get("packages") or {}).items() if version}
    software = {"Egret": env.get("git") or "?", "python": env.get("python") or "?", **packages} if env else {}
    return Experiment(
        folder, config, begun.get("inputs", {}), software, trained(folder), curves, scores, best, notes
    )  # fmt: skip


def defaults() -> dict[str, Any]:
    """What training's options are when nobody sets them, but for the models': of those only the chosen one's count."""
    usual = options.defaults(TrainOptions, "option")
    return as_plain({name: value for name, value in usual.items() if not name.startswith("model.")})


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.yaml, read without PyTorch.

    Raises:
      EgretError: there is none, or it cannot be read.
    """
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        if not folder.is_dir():
            raise EgretError(f"{folder}: no such folder; give one of an experiment, exp/<name>")
        inside = sorted(found.parent.name for found in folder.glob("*/config.yaml"))
        hint = f"it holds {first_few(inside)}" if inside else "give one that steps/train.py left (stage 4)"
        raise EgretError(f"{folder}: no experiment, it has no config.yaml; {hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise EgretError(f"{path}: not valid YAML ({' '.join(str(error).split())}); train again") from None
    if not isinstance(content, dict):
        raise EgretError(f"{path}: does not describe a trained model; train again")
    return content


def dotted(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as `optim.lr` and its value."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value


def shown(value: Any) -> str:
    """A value on one line; a digest is shortened."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:8] if is_digest else text


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, first value, second value) of what is not the same in both; `-` where one has no such thing."""
    names = sorted(first.keys() | second.keys())
    rows = [(name, *(shown(values[name]) if name in values else "-" for values in (first, second))) for name in names]
    return [(name, one, other) for name, one, other in rows if one != other]


def trained(folder: Path) -> dict[str, str]:
    """Counts and time of a training that is finished; else what is known of it."""
    stamp = read_stamp(folder, "train")
    if not stamp:
        return {"state": "not finished"}
    counts = {name: str(value) for name, value in stamp.get("counts", {}).items()}
    return {**counts, "seconds of the last run": f"{stamp['seconds']:.0f}", "finished": stamp["finished"]}


def by_epoch(first: dict[str, Points], second: dict[str, Points]) -> list[Epoch]:
    rows = list(zip_longest(losses(first), losses(second), fillvalue=(None, None)))
    return [Epoch(number, (one[0], other[0]), (one[1], other[1])) for number, (one, other) in enumerate(rows, 1)]


def losses(curves: dict[str, Points]) -> list[tuple[float | None, float | None]]:
    """(training loss, dev loss) of each epoch; both are recorded at the epoch's last step."""
    train, dev = dict(curves.get("train/epoch_loss", [])), dict(curves.get("dev/loss", []))
    return [(train.get(step), dev.get(step)) for step in sorted(train.keys() | dev.keys())]

"""Training can be stopped anywhere, moved, and gone on with: what comes out is the same."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from egret.training.signals import Interrupted
from tiny_training import SMALL_CONFORMER, Train

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = [
    *("--model.encoder", "conformer", *SMALL_CONFORMER, "--ema", "0.9", "--accumulate", "2"),
    *("--specaugment.time-masks", "1", "--specaugment.frequency-masks", "1", "--consistency", "0.2"),
]


def same_weights(one: Path, two: Path) -> bool:
    both = [load_file(folder / "final.safetensors") for folder in (one, two)]
    return both[0].keys() == both[1].keys() and all(torch.equal(both[0][name], both[1][name]) for name in both[0])


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], EVERYTHING], ids=["plain", "everything"])
def test_killed_at_ten_random_steps_it_ends_as_if_it_had_not_been(
    train: Train, training_arguments: list[str], tmp_path: Path, options: list[str]
) -> None:
    common = ["--epochs", "12", "--save-steps", "1", *options]
    train("whole", *common)
    last = max(json.loads(path.read_text())["step"] for path in (tmp_path / "whole").rglob("state.json"))
    kills = sorted(random.Random(1).sample(range(1, last - 1), 10))
    command = [sys.executable, ROOT / "steps/train.py", *training_arguments, "--out", "killed", *common]
    for step in kills:
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        while process.poll() is None and furthest(tmp_path / "killed") < step:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed/final.safetensors").exists()
    train("killed", *common)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")


def furthest(folder: Path) -> int:
    """The step of the last checkpoint, by its name."""
    names = [path.parent.name for path in folder.glob("checkpoints/*/state.json")]
    steps = [int(name.split("-")[1]) for name in names if name.startswith("step-")]
    return max(steps, default=0)


def test_a_folder_that_was_copied_goes_on_elsewhere(train: Train, run_step: Callable[..., str], tmp_path: Path) -> None:
    train("whole", "--epochs", "4")
    train("part", "--epochs", "4")
    for path in [".stamp.train.json", "final.safetensors"]:
        (tmp_path / "part" / path).unlink()
    for epoch in (3, 4):
        shutil.rmtree(tmp_path / f"part/checkpoints/epoch-00{epoch}")
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("part", "fbank", "lang"):
        shutil.copytree(tmp_path / name, other / name)
    shutil.rmtree(tmp_path / "part")
    from tiny_training import SMALL

    where = [f"--{name}={other}/{path}" for name, path in [("cuts", "fbank/train.jsonl"), ("lang", "lang")]]
    where += [f"--stats={other}/fbank/train.stats.safetensors", f"--dev-cuts={other}/fbank/dev.jsonl"]
    said = run_step("train", other, *where, "--out", "part", *SMALL, "--epochs", "4")
    assert "going on from part/checkpoints/epoch-002" in said and same_weights(tmp_path / "whole", other / "part")


def test_the_utterances_that_follow_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    from egret.training import trainer
    from egret.training.distributed import Ranks
    from egret.training.experiment import begin
    from tiny_training import small_options

    def seen(out: str, stop: int | None) -> list[list[str]]:
        options = small_options(tmp_path, out, epochs=2, save_steps=1)
        run = trainer.set_up(options, begin(options, 1), Ranks())
        batches: list[list[str]] = []
        plain = trainer.train_step

        def spied(run: trainer.Run, some: list, tokens: int, meter: object) -> tuple[bool, bool]:
            batches.append([name for batch in some for name in batch.ids])
            outcome = plain(run, some, tokens, meter)  # type: ignore[arg-type]
            return (len(batches) == stop, outcome[1])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "train_step", spied)
            with contextlib.suppress(Interrupted):
                trainer.fit(run)
        return batches

    whole = seen("whole", None)
    assert seen("part", 5) + seen("part", None) == whole


def test_checkpoints_come_every_so_many_steps(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1", "--save-steps", "3")
    steps = [int(path.name[-8:]) for path in (tmp_path / "exp/checkpoints").glob("step-*")]
    assert steps and all(step % 3 == 0 for step in steps)


def test_the_best_and_the_last_are_kept(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "6", "--keep-last", "3", "--keep-best", "1", "--average", "1")
    names = sorted(path.name for path in (tmp_path / "exp/checkpoints").iterdir())
    assert names[-3:] == ["epoch-004", "epoch-005", "epoch-006"] and len(names) <= 4


def test_fewer_kept_than_are_averaged_is_refused(train: Train) -> None:
    assert "--keep-best 1: --average 5 needs as many" in train("exp", "--epochs", "6", "--keep-best", "1", code=2)


def test_a_dev_loss_that_is_no_number_is_the_worst(tmp_path: Path) -> None:
    from egret.training.checkpoints import Progress, best

    epochs = [(tmp_path / str(loss), Progress(dev_loss=loss)) for loss in (3.0, float("nan"), 1.0)]
    assert [path.name for path, _ in best(epochs)] == ["1.0", "3.0", "nan"]


def test_weights_of_the_training_parts_are_none_of_the_dev_part(tmp_path: Path) -> None:
    from egret.training import trainer
    from egret.training.distributed import Ranks
    from egret.training.experiment import begin
    from tiny_training import small_options

    losses = []
    for out, weights in (("all", []), ("half", ["0.5"])):
        options = small_options(tmp_path, out, **({"batch.weights": weights} if weights else {}))
        losses.append(trainer.dev_loss(trainer.set_up(options, begin(options, 1), Ranks())))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_running_average_is_what_is_kept(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "3", "--ema", "0.9", "--average", "1", "--average-of", "last")
    checkpoint = tmp_path / "exp/checkpoints/epoch-003"
    used, raw = (load_file(checkpoint / f"{name}.safetensors") for name in ("model", "training"))
    final = load_file(tmp_path / "exp/final.safetensors")
    assert all(torch.equal(final[name], used[name]) for name in used)
    assert not torch.equal(used["head.weight"], raw["head.weight"])


def test_the_running_average_is_that_of_its_definition() -> None:
    from egret.training.average import RunningAverage

    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
        average = RunningAverage(model, 0.5)
        for step, value in enumerate([1.0, 2.0, 4.0]):
            model.weight.fill_(value)
            average.update(step)
    # decays 0.1, 2/11, 3/12
    expected = 0.25 * (2 / 11 * (0.9 * 1.0) + 9 / 11 * 2.0) + 0.75 * 4.0
    assert float(average.weights["weight"]) == pytest.approx(expected)


def test_training_ends_when_patience_does(train: Train, tmp_path: Path) -> None:
    said = train("exp", "--epochs", "50", "--patience", "2", "--optim.lr", "1e-9")
    losses = [json.loads(path.read_text()) for path in (tmp_path / "exp/checkpoints").glob("epoch-*/state.json")]
    epochs = max(state["epoch"] for state in losses)
    assert f"has not fallen for 2 epochs: training ends after {epochs}" in said and epochs < 50


def test_patience_needs_a_dev_part(train: Train, training_arguments: list[str]) -> None:
    place = training_arguments.index("--dev-cuts")
    del training_arguments[place : place + 2]
    assert "--patience: without --dev-cuts" in train("exp", "--epochs", "1", "--patience", "2", code=2)


def test_bf16_follows_fp32(train: Train, tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        train(precision, "--epochs", "3", "--precision", precision)
        state = json.loads((tmp_path / precision / "checkpoints/epoch-003/state.json").read_text())
        losses.append(state["train_loss"])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)


def test_accumulated_batches_equal_one_large_one(train: Train, tmp_path: Path) -> None:
    still = ["--model.tdnn.dropout", "0", "--epochs", "1", "--batch.jitter", "0"]
    train("two", *still, "--batch.max-utterances", "12", "--batch.max-duration", "100", "--accumulate", "2")
    train("one", *still, "--batch.max-utterances", "24", "--batch.max-duration", "100")
    one, two = (load_file(tmp_path / name / "final.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_where_nothing_was_trained_mended_options_are_begun(train: Train, tmp_path: Path) -> None:
    train("exp", "--epochs", "1", "--init-from", "lang", code=1)  # no trained model
    assert "but nothing came of it: begun anew" in train("exp", "--epochs", "1")


def test_where_an_epoch_goes_on_copies_are_counted_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from egret.training import trainer
    from egret.training.distributed import Ranks
    from egret.training.experiment import begin
    from tiny_training import small_options

    asked: list[list[list[int]]] = []
    load = trainer.load_batches

    def spied(*given: Any) -> Any:
        asked.extend([[each.tolist() for each in given[4]]] if len(given) > 4 else [])
        return load(*given)

    monkeypatch.setattr(trainer, "load_batches", spied)
    for out, first in (("whole", 0), ("part", 3)):
        options = small_options(tmp_path, out, epochs=1, check_batches=False, **{"batch.weights": 3})
        run = trainer.set_up(options, begin(options, 1), Ranks())
        run.progress.batch = first
        trainer.fit(run)
    assert asked[1] == asked[0][3:] and max(map(max, asked[1])) == 2

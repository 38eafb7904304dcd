#!/usr/bin/env python3
"""Time whole training steps of the presets in conf/models: hours of speech an hour, and the share of the matrix rate.

    bench/train_throughput.py [--preset conformer_m ...] [--config FILE ...] [--threads 2] [--seconds 120] [--bars]

A step is the trainer's: SpecAugment, forward, CTC loss, backward, clipping and the optimiser, on features of noise in
batches of the batch plan, from utterances of 2 to 16 seconds. Its operations are those of the products and convolutions
on real frames, forward and backward; what padding costs counts as waste. The matrix rate is that of the best of several
single-precision products of 1024 and 2048 square, on as many threads, measured before and after each step, for a
machine is not the same in every minute. `share` is the median over the steps of operations a second over the matrix
rate: by the clock, and by CPU time, which depends less on what else the machine does (and with several threads does not
see them wait). On a GPU there is only the clock. With --bars it fails where the conformer of 256, conformer_m, reaches
0.35 by neither, or zipformer_m 0.2.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from recipe import ROOT

sys.path.insert(0, str(ROOT))

from bench.flops import step_operations, useful_operations
from egret.base.memory import keep_memory
from egret.base.options import parse
from egret.models.model import JointModel, count_parameters
from egret.training.data import Batch
from egret.training.objective import Objective
from egret.training.options import TrainOptions
from egret.training.parameters import clip
from egret.training.plan import Table, batches
from egret.training.schedule import make_optimiser

BARS = {"conformer_m": 0.35, "zipformer_m": 0.2}
PRESETS = ROOT / "conf" / "models"
FEATURES, TOKENS, FRAMES_PER_TOKEN = 80, 500, 25
SPECAUGMENT = ["--specaugment.time-warp", "10", "--specaugment.time-masks", "1", "--specaugment.frequency-masks", "2"]


@dataclass
class Seconds:
    """What something took by the clock and of CPU time, and the best matrix rate beside it by each."""

    clock: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], object], device: torch.device) -> "Seconds":
        synchronise(device)
        began, worked = time.perf_counter(), time.process_time()
        work()
        synchronise(device)
        return cls(time.perf_counter() - began, time.process_time() - worked)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, times: int = 5) -> Seconds:
    """Operations a second of the best single-precision product, by the clock and by CPU time."""
    rates = []
    for size in (1024, 2048):
        a, b = torch.randn(2, size, size, device=device)
        for _ in range(times):
            took = Seconds.of(lambda a=a, b=b: torch.mm(a, b), device)  # type: ignore[misc]
            rates.append(Seconds(2 * size**3 / took.clock, 2 * size**3 / max(took.cpu, 1e-9)))
    return Seconds(max(rate.clock for rate in rates), max(rate.cpu for rate in rates))


def made_up(options: TrainOptions, count: int, seed: int) -> list[Batch]:
    """Batches as the plan makes them of a corpus of utterances of 2 to 16 seconds, most of them long."""
    random = np.random.default_rng(seed)
    frames = (200 + 1400 * random.beta(3, 1.5, 2000)).astype(int)
    rows = [(str(row), each / 100, each // FRAMES_PER_TOKEN, row) for row, each in enumerate(frames.tolist())]
    found = []
    for chosen in batches(Table.of(rows), options.batch, seed, epoch=0)[:count]:
        lengths = torch.from_numpy(frames[chosen])
        features = torch.zeros(len(chosen), int(lengths.max()), FEATURES)
        for row, length in zip(features, lengths.tolist(), strict=True):
            row[:length] = torch.randn(length, FEATURES)
        targets = [random.integers(3, TOKENS, length // FRAMES_PER_TOKEN).tolist() for length in lengths.tolist()]
        none = [""] * len(chosen)
        found.append(Batch(none, features, lengths, targets, none, none, seconds=float(lengths.sum()) / 100))
    return found


def options_of(config: Path, seconds: float, device: str, precision: str) -> TrainOptions:
    """The options of a training with a configuration, its data made up."""
    words = ["--cuts", "none", "--stats", "none", "--lang", "none", "--out", "none", "--config", str(config)]
    words += ["--batch.max-duration", str(seconds), "--precision", precision, "--num-gpus", str(int(device == "cuda"))]
    return parse(TrainOptions, [*SPECAUGMENT, *words, "--loss", "ctc"], "train.py", "")


def measure(config: Path, options: TrainOptions, device: torch.device, steps: int) -> tuple[float, float]:
    """Print the line of a configuration; returns its shares by the clock and by CPU time."""
    torch.manual_seed(1)
    model = JointModel(FEATURES, TOKENS, options.model).to(device).train()
    objective = Objective(options, None, model, device)  # type: ignore[arg-type]  # CTC asks nothing of a lang
    optimiser = make_optimiser(model, options.optim)
    scaler = torch.cuda.amp.GradScaler() if options.precision == "fp16" else None

    def step(batch: Batch) -> None:
        loss = objective(batch.to(device)) / batch.tokens
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.unscale_(optimiser)
        clip(model.parameters(), options.optim)
        if scaler:
            scaler.step(optimiser)
            scaler.update()
        else:
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    data = made_up(options, steps + 1, seed=1)
    step(data[0])  # memory is got and kernels are chosen
    before = matrix_rate(device)
    speeds, shares, waste = [], [], []
    for batch in data[1:]:
        sent = batch.to(device)
        useful = useful_operations(model, sent.features, sent.lengths)
        waste.append(1 - useful / step_operations(model, sent.features, sent.lengths))
        took = Seconds.of(lambda batch=batch: step(batch), device)  # type: ignore[misc]
        after = matrix_rate(device)
        rate = Seconds(max(before.clock, after.clock), max(before.cpu, after.cpu))
        before = after
        speeds.append(Seconds(batch.seconds / took.clock, batch.seconds / max(took.cpu, 1e-9)))
        shares.append(Seconds(useful / took.clock / rate.clock, useful / max(took.cpu, 1e-9) / rate.cpu))
        work = useful / batch.seconds / 1e9
    share = Seconds(median(each.clock for each in shares), median(each.cpu for each in shares))
    speed = Seconds(median(each.clock for each in speeds), median(each.cpu for each in speeds))
    by_cpu = f"{speed.cpu:10,.1f} {share.cpu:8.2f}" if device.type == "cpu" else ""
    print(f"{config.stem:18} {count_parameters(model) / 1e6:8.1f} {work:10.1f} {median(waste):8.0%} "
          f"{rate.clock / 1e9:8.0f} {speed.clock:10,.1f} {share.clock:8.2f} {by_cpu}", flush=True)  # fmt: skip
    return share.clock, share.cpu if device.type == "cpu" else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="*", default=[], help="names in conf/models; all of them if none is given")
    parser.add_argument("--config", nargs="*", type=Path, default=[], help="other configurations of steps/train.py")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: all cores")
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="of speech in a batch, padding included; 120 as in training"
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--bars", action="store_true", help="exit 1 where the bar is not reached")
    options = parser.parse_args()
    known = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
    if unknown := [name for name in options.preset if name not in known]:
        parser.error(f"--preset {' '.join(unknown)}: conf/models has {', '.join(known)}")
    chosen = [known[name] for name in options.preset] + options.config or list(known.values())
    if options.bars and not any(path.stem in BARS for path in chosen):
        parser.error(f"--bars is about {' and '.join(BARS)}, which are not among the presets chosen")
    keep_memory()  # as the trainer does
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{on}, {options.precision}, PyTorch {torch.__version__}; load at the start: {os.getloadavg()[0]:.2f} on "
          f"{os.cpu_count()} cores; batches of {options.seconds:g} s")  # fmt: skip
    print(f"{'':18} {'million':>8} {'GFLOP per':>10} {'padding':>8} {'GFLOP/s':>8} {'h of speech':>10} {'share':>8}"
          + f"{'  by CPU:':>10} {'share':>8}" * (device.type == "cpu"))  # fmt: skip
    print(f"{'':18} {'weights':>8} {'second':>10} {'':>8} {'matrix':>8} {'per hour':>10}")
    reached = {}
    for config in chosen:
        of_it = options_of(config, options.seconds, options.device, options.precision)
        reached[config.stem] = max(measure(config, of_it, device, options.steps))
    missed = [f"{name} {bar} of the matrix rate" for name, bar in BARS.items() if reached.get(name, bar) < bar]
    if options.bars and missed:
        sys.exit(f"a bar was not reached: {', '.join(missed)}")


if __name__ == "__main__":
    main()

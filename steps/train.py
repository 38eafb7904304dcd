#!/usr/bin/env python3
"""Train an acoustic model on cuts with features; interrupted, it goes on where it was."""

from egret.base.program import Outcome, Step, main
from egret.features.waveform import input_fingerprints
from egret.training.options import TrainOptions
from egret.training.signals import ending_at_once


def run(options: TrainOptions) -> Outcome:
    with ending_at_once():  # but where the training loop, or the processes that were started, save first
        return train_or_help(options)


def train_or_help(options: TrainOptions) -> Outcome:
    """Train, or do one machine's part of it."""
    from egret.training.start import train_here

    counts = train_here(options, STEP.version)
    if options.node > 0:
        return Outcome([], counts)
    outputs = [options.out / "final.safetensors", options.out / "config.yaml"]
    if options.list_losses:
        from egret.models.files import load_config
        from egret.training.losses_list import list_losses

        list_losses(options, load_config(outputs[1]), outputs[0])
    return Outcome(outputs, counts)


STEP = Step(
    name="train",
    version=1,
    options=TrainOptions,
    run=run,
    more_inputs=lambda options: input_fingerprints(options.augment),
    again=lambda options: options.list_losses,
    helps=lambda options: options.node > 0,
    description=__doc__ or "",
    example="steps/train.py --cuts data/fbank/train.jsonl --stats data/fbank/train.stats.safetensors "
    "--lang data/lang_phone --out exp/tdnn_phone --optim.lr 3e-3",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Train an acoustic model on cuts with features; interrupted, it goes on where it was."""

from egret.base.program import Outcome, Step, main
from egret.training.options import TrainOptions


def run(options: TrainOptions) -> Outcome:
    from egret.training.experiment import begin
    from egret.training.trainer import train

    counts = train(options, begin(options, STEP.version))
    return Outcome([options.out / "final.safetensors", options.out / "config.yaml"], counts)


STEP = Step(
    name="train",
    version=1,
    options=TrainOptions,
    run=run,
    description=__doc__ or "",
    example="steps/train.py --cuts data/fbank/train.jsonl --stats data/fbank/train.stats.safetensors "
    "--lang data/lang_phone --out exp/tdnn_phone --optim.lr 3e-3",
)

if __name__ == "__main__":
    main(STEP)

"""Begin an experiment, or go on with it, and train, in this process or in several."""

from typing import Any

from egret.training.distributed import start
from egret.training.experiment import begin
from egret.training.loop_options import LoopOptions


def train_here(options: LoopOptions, version: int) -> dict[str, Any]:
    """Train, or do one machine's part of it; returns counts for the closing line. `version` is that of the step.

    Raises:
      EgretError: what a user can mend.
      Interrupted: a signal came; what there was is saved.
    """
    if options.node > 0:
        return start(options)
    config = begin(options, version)
    if options.processes * options.num_nodes > 1:
        return start(options)
    from egret.training.trainer import train

    return train(options, config)

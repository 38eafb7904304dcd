"""Which task options are for."""

from egret.training.lm_options import LmOptions
from egret.training.loop_options import LoopOptions
from egret.training.options import TrainOptions
from egret.training.task import Task


def task_of(options: LoopOptions) -> Task:
    """What these options train."""
    if isinstance(options, TrainOptions):
        from egret.training.speech import Speech

        return Speech(options)
    from egret.training.text import Text

    assert isinstance(options, LmOptions)
    return Text(options)

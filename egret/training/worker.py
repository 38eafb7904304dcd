"""One of the processes that train a model together: what torchrun starts, with the options of the step named first."""

import os
import sys
import threading

from egret.base.errors import EgretError
from egret.base.files import write_json
from egret.base.log import set_up_logging
from egret.base.options import parse
from egret.base.program import system_message
from egret.models.files import read_config
from egret.training.distributed import RESULT
from egret.training.lm_options import LmOptions
from egret.training.options import TrainOptions
from egret.training.trainer import train

STEPS = {kind.step: kind for kind in (TrainOptions, LmOptions)}


def main() -> None:
    step, *words = sys.argv[1:]
    options = parse(STEPS[step], words, f"{step}.py", "")
    first = os.environ.get("RANK", "0") == "0"
    result = options.out / RESULT.format(node=options.node)
    set_up_logging(options.log_level if first else "warning")
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        counts = train(options, read_config(options.out / "config.yaml"))
    except EgretError as error:
        # They end together where all raise it; where one alone does, torchrun ends the others.
        write_json(result, {"error": str(error), "code": error.exit_code})
        sys.exit(error.exit_code)
    except OSError as error:
        message = system_message(error, options)
        if message is None:
            raise
        write_json(result, {"error": message, "code": 1})
        sys.exit(1)
    if first:
        write_json(result, {"counts": counts})


def _end_with_launcher() -> None:
    """Standard input, into which nobody writes, closes when steps/train.py was killed: the next one that goes on in
    the folder must not meet this process."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()

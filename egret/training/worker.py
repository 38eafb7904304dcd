"""One of the processes that train a model together: what torchrun starts, with the options of steps/train.py."""

import os
import sys

from egret.base.errors import EgretError
from egret.base.files import write_json
from egret.base.log import set_up_logging
from egret.base.options import parse
from egret.models.files import load_config
from egret.training.distributed import RESULT
from egret.training.options import TrainOptions
from egret.training.trainer import train


def main() -> None:
    options = parse(TrainOptions, sys.argv[1:], "train.py", "")
    first = os.environ.get("RANK", "0") == "0"
    result = options.out / RESULT.format(node=options.node)
    set_up_logging(options.log_level if first else "error")
    try:
        counts = train(options, load_config(options.out / "config.yaml"))
    except EgretError as error:
        # They end together where all raise it; where one alone does, torchrun ends the others.
        write_json(result, {"error": str(error), "code": error.exit_code})
        sys.exit(error.exit_code)
    if first:
        write_json(result, {"counts": counts})


if __name__ == "__main__":
    main()

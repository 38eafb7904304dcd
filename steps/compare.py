#!/usr/bin/env python3
"""Two experiments beside each other: what differs in their configurations, losses by epoch, scores, and whether the
difference in errors may be chance. With --out also as compare.html, with the curves drawn, and compare.json."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError
from egret.base.files import write_json, write_text
from egret.base.log import log, set_up_logging
from egret.base.options import option, parse, positional, runtime

EXAMPLE = "steps/compare.py exp/tdnn_phone exp/conformer_phone --out exp/tdnn_or_conformer"


@dataclass(kw_only=True)
class Options:
    first: Path = positional("an experiment's folder, exp/<name>: A")
    second: Path = positional("another one: B")
    out: Path | None = option(None, "folder for compare.html and compare.json; none: on the screen only")
    log_level: Literal["debug", "info", "warning", "error"] = runtime("info", "the least that is shown")


def run(options: Options) -> None:
    from egret.report.compare import compare
    from egret.report.compare_page import make_page
    from egret.report.compare_text import as_text

    found = compare(options.first, options.second)
    print(as_text(found), end="", flush=True)
    if options.out:
        write_text(options.out / "compare.html", make_page(found))
        write_json(options.out / "compare.json", found.as_plain())
        log.info("%s: open it in a browser", options.out / "compare.html")


def start(argv: Sequence[str]) -> int:
    """The program; returns the exit code. It has no stamp, for it takes a moment and nothing depends on it."""
    try:
        options = parse(Options, argv, "compare.py", __doc__ or "", EXAMPLE)
        set_up_logging(options.log_level)
        run(options)
    except EgretError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"compare: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))

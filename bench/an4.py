#!/usr/bin/env python3
"""Run the AN4 recipe as a whole, with phones in HLG and with characters without a language model.

    bench/an4.py --corpus DIR [--unit phone] [--set epochs=5] [--bars]

Takes hours. CPU time is that of all stages, user and system. With --bars it fails above 12 % with phones by HLG
1-best, above 20 % with characters by greedy decoding, and above 100 minutes of CPU time for either.
"""

import argparse
import os
import sys
from pathlib import Path

from recipe import clean, copy_of, run, scores, stages

BARS = {"phone": ("hlg_1best", 12.0), "char": ("ctc_greedy", 20.0)}
CPU_MINUTES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder that holds an4, or is it")
    parser.add_argument("--unit", nargs="+", choices=BARS, default=list(BARS))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as run.sh takes it")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    changes = [word for value in options.set for word in ("--set", value)]
    reached = True
    with copy_of("an4") as folder:
        for unit in options.unit:
            clean(folder)
            seconds, cpu, said = run(folder, ["--corpus", str(options.corpus.resolve()), "--unit", unit, *changes])
            method, bar = BARS[unit]
            wers = scores(folder, method)
            print(
                f"{unit}, {method}: test WER {wers['test']:.2f} %, dev {wers['dev']:.2f} %; {cpu / 60:.1f} minutes of "
                f"CPU time, {seconds / 60:.1f} by the clock  ({stages(said)})",
                flush=True,
            )
            reached &= wers["test"] <= bar and cpu <= 60 * CPU_MINUTES
    if options.bars and not reached:
        sys.exit("a bar was not reached: " + ", ".join(f"{unit} {bar:g} %" for unit, (_, bar) in BARS.items()))


if __name__ == "__main__":
    main()

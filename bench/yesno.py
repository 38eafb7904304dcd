#!/usr/bin/env python3
"""Time the yesno recipe as a whole: from nothing to the word error rate, and again when all is up to date.

    bench/yesno.py --corpus DIR [--seeds 1 2 3] [--mini] [--bars]

Runs in a copy of the recipe, so that nothing of yours is touched. With --bars it fails beyond those for two cores:
20 s, 4 s and 0.42 % with every seed.
"""

import argparse
import os
import sys
from pathlib import Path

from recipe import clean, copy_of, run, scores, stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="folder that holds waves_yesno")
    parser.add_argument("--mini", action="store_true", help="on synthetic speech instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    if not options.mini and options.corpus is None:
        parser.error("give --corpus DIR or --mini")
    source = ["--mini"] if options.mini else ["--corpus", str(options.corpus.resolve())]
    print(f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    reached = True
    with copy_of("yesno") as folder:
        for seed in options.seeds:
            clean(folder)
            first, _, said = run(folder, [*source, "--seed", str(seed)])
            again, _, _ = run(folder, [*source, "--seed", str(seed)])
            wer = scores(folder, "hlg_1best")["test"]
            print(f"seed {seed}: {first:.1f} s, again {again:.1f} s, WER {wer} %  ({stages(said)})", flush=True)
            reached &= first <= 20 and again <= 4 and wer <= 0.42
    if options.bars and not reached:
        sys.exit("a bar was not reached: 20 s, again 4 s, 0.42 %")


if __name__ == "__main__":
    main()

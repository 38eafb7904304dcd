#!/usr/bin/env python3
"""What of dev and test the training part has never heard: a floor under the error rates of a model without other data.

Counted are characters (Latin words as one) and toned syllables. A character that no training transcript has can only
be recognised where a lexicon or a text brings it in, a syllable that none has hardly at all.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egret.base.files import write_json
from egret.base.log import log
from egret.base.options import infile
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import part_name, read_cuts, spoken_of, text_of

KINDS = ("characters", "syllables")
LISTED = 50  # of the unseen ones, the most frequent


@dataclass(kw_only=True)
class Options(OutOptions):
    train_cuts: Path = infile("training cuts", "local/prepare.py (stage 0)")
    cuts: list[Path] = infile("cuts of the other parts", "local/prepare.py (stage 0)")


def count(path: Path) -> dict[str, Counter]:
    """How often each character and each syllable stands in a part."""
    counts: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    for cut in read_cuts(path):
        counts["characters"].update(text_of(cut).split())
        counts["syllables"].update(spoken_of(cut, "syllables").split())
    return counts


def run(options: Options) -> Outcome:
    train = count(options.train_cuts)
    report: dict[str, Any] = {"train": {kind: {"different": len(train[kind])} for kind in KINDS}}
    shares = {}
    for path in options.cuts:
        part = part_name(path)
        report[part] = {}
        for kind, counts in count(path).items():
            unseen = Counter({name: number for name, number in counts.items() if name not in train[kind]})
            percent = round(100 * unseen.total() / max(1, counts.total()), 2)
            report[part][kind] = {
                "all": counts.total(),
                "different": len(counts),
                "unseen": unseen.total(),
                "unseen_different": len(unseen),
                "unseen_percent": percent,
                "most_frequent": dict(unseen.most_common(LISTED)),
            }
            shares[f"{part} {kind} %"] = percent
            log.info("%s: %.2f %% of %d %s were never seen in training (%d of %d different ones)",
                     part, percent, counts.total(), kind, len(unseen), len(counts))  # fmt: skip
    write_json(options.out / "report.json", report)
    return Outcome([options.out / "report.json"], shares)


STEP = Step(
    name="unseen",
    version=1,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="local/unseen.py --train-cuts data/cuts/train.jsonl --cuts data/cuts/dev.jsonl --out data/unseen",
)

if __name__ == "__main__":
    main(STEP)

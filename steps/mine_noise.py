#!/usr/bin/env python3
"""Find the silent parts of recordings of speech and write them as a folder of noise, to be mixed into training speech.

Silent is what is --top-db below the loudest frame of its utterance for at least --min-seconds.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from egret.base.errors import EgretError, UsageError
from egret.base.files import atomic_path, write_json
from egret.base.log import log, progress
from egret.base.options import infile, option
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import read_cuts
from egret.features.mining import Found, file_name, mine, write
from egret.training.signals import ending_at_once


@dataclass(kw_only=True)
class Options(OutOptions):
    cuts: Path = infile("manifest of cuts", "stage 0 (local/prepare.py)")
    top_db: float = option(30.0, "dB below an utterance's loudest frame from which on it is silent", above=0)
    min_seconds: float = option(0.3, "that silence lasts at least", above=0)

    def __post_init__(self) -> None:
        if self.top_db > 100:
            raise UsageError(f"--top-db {self.top_db:g}: 16 bits do not reach that far; take 20 to 60")


def run(options: Options) -> Outcome:
    with ending_at_once("nothing is left half done; the same command begins anew"):
        return mine_all(options)


def mine_all(options: Options) -> Outcome:
    """Write the silence of all cuts as a folder of noise."""
    found = Found()
    cuts = list(read_cuts(options.cuts))
    wav = options.out / "wav"
    with atomic_path(wav) as folder:
        folder.mkdir()
        names = []
        for name, noise, rate in mine(progress(cuts, len(cuts), "silence"), options.top_db, options.min_seconds, found):
            names.append(file_name(name))
            write(folder / names[-1], noise, rate)
        if not names:
            digital = f", but for {found.digital:.1f} s without any noise in them" if found.digital else ""
            raise EgretError(
                f"{options.cuts}: no silence in {found.utterances} utterances{digital}: nothing lasts "
                f"{options.min_seconds:g} s at {options.top_db:g} dB below the loudest frame; lower --top-db or "
                f"--min-seconds, or take a corpus of noise (docs/augmentation.md)"
            )
    report = {**asdict(found), "seconds": round(found.seconds, 2), "digital": round(found.digital, 2)}
    write_json(options.out / "report.json", report)
    log.info(
        "%s: %.1f minutes of silence in %d stretches, from %d of %d utterances; %d files; %d recordings have none",
        options.cuts, found.seconds / 60, found.stretches, found.with_silence, found.utterances, found.recordings,
        len(found.recordings_without),
    )  # fmt: skip
    if found.digital:
        log.info("left out %.1f s of silence without any noise in it (no louder than one bit of 16)", found.digital)
    counts = {"utterances": found.utterances, "with silence": found.with_silence, "files": found.recordings}
    return Outcome([*(wav / name for name in names), options.out / "report.json"], counts)


STEP = Step(
    name="mine_noise",
    version=1,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/mine_noise.py --cuts data/cuts/train.jsonl --out data/noise",
)

if __name__ == "__main__":
    main(STEP)

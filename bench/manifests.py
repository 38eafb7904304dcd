#!/usr/bin/env python3
"""Time what is done with manifests alone: stage 0 without reading audio, the split into jobs, the plan of batches.

    bench/manifests.py [--utterances 100000] [--jobs 50] [--bars]

It makes a corpus in the layout of LibriSpeech, a folder of FLAC files and a list of transcripts for each of its
chapters, in a temporary folder; the files are hard links of a hundred. Seconds are by wall clock and of CPU time, user
and system; memory is the largest resident set of the process that does it. `split` is what all jobs of stage 1 do with
the manifest, one after the other. `batches` is what training does before its first batch: the index of the manifest,
the table of utterances (their length in tokens too) and the plan of an epoch. With --bars it fails where all
together take more than 2 minutes of CPU time, which they come to on a machine that does nothing else, or one of them
more than 2 GB.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

from recipe import ROOT, measured

sys.path.insert(0, str(ROOT))

from egret.base.files import write_jsonl, write_text
from egret.base.program import main as run_step
from egret.corpus.cuts import read_cuts, share_of
from egret.corpus.prepare import Parts, PrepareOptions, Utterance, prepare_step

SECONDS, GIGABYTES = 120, 2.0
RATE = 16000
RECORDINGS = 100
IN_CHAPTER = 50
WORDS = [f"{first}{middle}{last}" for first in "BDFGKLMNPS" for middle in "AEIOU" for last in "BDFGKLMNPSTVWXZJHRQC"]


def make_corpus(folder: Path, utterances: int) -> None:
    """Chapters of fifty utterances of 1 to 16 seconds and as many words as are spoken in them."""
    import numpy as np
    import soundfile

    chance = random.Random(1)
    lengths = [chance.uniform(1, 16) for _ in range(RECORDINGS)]
    for number, seconds in enumerate(lengths):
        (folder / "flac").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "flac" / f"{number}.flac", np.zeros(round(seconds * RATE), np.int16), RATE)
    for first in range(0, utterances, IN_CHAPTER):
        name = f"{first // (4 * IN_CHAPTER)}-{first}"
        chapter = folder / "train" / name.replace("-", "/")
        chapter.mkdir(parents=True)
        lines = []
        for number in range(first, min(first + IN_CHAPTER, utterances)):
            recording = chance.randrange(RECORDINGS)
            os.link(folder / "flac" / f"{recording}.flac", chapter / f"{name}-{number:06d}.flac")
            words = chance.choices(WORDS, k=round(2.7 * lengths[recording]))
            lines.append(f"{name}-{number:06d} {' '.join(words)}\n")
        (chapter / f"{name}.trans.txt").write_text("".join(lines))


def list_parts(options: PrepareOptions) -> Parts:
    found = []
    for path in sorted(Path(options.corpus, "train").glob("*/*/*.trans.txt")):
        for line in path.read_text().splitlines():
            name, _, text = line.partition(" ")
            found.append(Utterance(name, path.parent / f"{name}.flac", text, name.split("-")[0], language="English"))
    return {"train": found}


STAGE_0 = prepare_step("prepare", 1, PrepareOptions, list_parts, "Stage 0 of the corpus made up here.", "")


def give_features(given: Path, manifest: Path) -> None:
    """The manifest that stage 1 would leave; its archive is not there."""

    def place(cut: dict) -> dict:
        frames = round(cut["duration"] * 100)
        about = {"type": "kaldifeat-fbank", "num_frames": frames, "num_features": 80, "frame_shift": 0.01,
                 "sampling_rate": RATE, "start": 0.0, "duration": cut["duration"], "storage_type": "numpy_hdf5",
                 "storage_path": "data/fbank/split50/1/train.h5", "storage_key": f"float16-{frames:015d}",
                 "recording_id": cut["id"], "channels": 0}  # fmt: skip
        return {**cut, "features": about}

    write_jsonl(manifest, (place(cut) for cut in read_cuts(given)))


def split(manifest: Path, jobs: int) -> None:
    shares = [len(share_of(manifest, job, jobs)) for job in range(1, jobs + 1)]
    print(f"{sum(shares)} utterances in {len(shares)} shares of {min(shares)} to {max(shares)}")


def plan_batches(manifest: Path, lang: Path) -> None:
    from egret.lang.lang import Lang
    from egret.training.data import Corpus
    from egret.training.options import BatchOptions
    from egret.training.plan import batches

    rejected = manifest.with_name("rejected.jsonl")
    corpus = Corpus([manifest], Lang.read(lang), lambda frames: (frames + 3) // 4, rejected, 5.0)
    made = batches(corpus.table, BatchOptions(), seed=1, epoch=1)
    print(f"{len(corpus.table)} utterances in {len(made)} batches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=50, help="of stage 1")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    print(f"{options.utterances} utterances; load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as house:
        corpus, cuts, lang = (Path(house, name) for name in ("corpus", "cuts", "lang"))
        make_corpus(corpus, options.utterances)
        write_text(Path(house, "lexicon.txt"), "".join(f"{word} {' '.join(word)}\n" for word in WORDS))
        measured(ROOT / "steps/prepare_lang.py", "--kind", "phone", "--lexicon", Path(house, "lexicon.txt"),
                 "--out", lang)  # fmt: skip
        prepare = [__file__, "prepare", "--corpus", corpus, "--out", cuts, "--check_audio", "header"]
        rows = {"stage 0": measured(*prepare)[1:], "stage 0, up to date": measured(*prepare)[1:]}
        rows[f"split into {options.jobs}"] = measured(__file__, "split", cuts / "train.jsonl", options.jobs)[1:]
        give_features(cuts / "train.jsonl", Path(house, "fbank.jsonl"))
        rows["batches"] = measured(__file__, "batches", Path(house, "fbank.jsonl"), lang)[1:]
    rows["all"] = (sum(row[0] for row in rows.values()), sum(row[1] for row in rows.values()),
                   max(row[2] for row in rows.values()))  # fmt: skip
    print(f"{'':20} {'seconds':>10} {'CPU seconds':>12} {'GB':>6}")
    for name, (seconds, cpu, memory) in rows.items():
        print(f"{name:20} {seconds:10.1f} {cpu:12.1f} {memory:6.2f}")
    if options.bars and (rows["all"][1] > SECONDS or rows["all"][2] > GIGABYTES):
        sys.exit(f"a bar was not reached: {SECONDS} seconds of CPU time and {GIGABYTES:g} GB")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", *rest]:
            run_step(STAGE_0, rest)
        case ["split", manifest, jobs]:
            split(Path(manifest), int(jobs))
        case ["batches", manifest, lang]:
            plan_batches(Path(manifest), Path(lang))
        case _:
            main()

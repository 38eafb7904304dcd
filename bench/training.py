#!/usr/bin/env python3
"""Measure what training costs beside training: starting, going on in the middle of an epoch, and memory.

    bench/training.py [--utterances 200000] [--steps 2000] [--bars]

It makes features of noise and manifests that name them again and again in a temporary folder, and a small conformer on
them. `start` is a process that starts training and ends at its first batch; the first time it looks at
every utterance and keeps what it found, the second time it reads that. `batch N` is the same when it goes on from a
checkpoint at that batch of an epoch. Memory is the largest resident set, for these utterances and for a tenth of them;
then that of a training of so many steps, which begin to count when a thousand have filled what PyTorch keeps for each
shape. With --bars it fails where going on takes 2 seconds longer than a start, ten times the utterances take more than
1.2 times the memory, or memory has grown by more than 1 %.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from recipe import ROOT, measured

sys.path.insert(0, str(ROOT))

from egret.base.files import write_json, write_text
from egret.base.options import parse
from egret.training.options import TrainOptions

MEL_BINS, KINDS = 40, 200
WORDS = ["one", "two", "three"]
SECONDS, MEMORY, GROWTH = 2.0, 1.2, 1.01
PLACES = (10, 10_000)
WARM_UP = 1000


def make_lang(folder: Path) -> None:
    from egret.graph import arcs
    from egret.graph.lexicon_graph import lexicon_graph
    from egret.lang.lexicon import word_lexicon, write_lexicon
    from egret.lang.symbols import format_symbols, token_table, word_table

    lexicon, tokens, words = word_lexicon(WORDS), token_table(WORDS, 0), word_table(WORDS)
    folder.mkdir()
    write_text(folder / "tokens.txt", format_symbols(tokens))
    write_text(folder / "words.txt", format_symbols(words))
    write_text(folder / "lexicon.txt", write_lexicon(lexicon))
    arcs.save(folder / "L.safetensors", lexicon_graph(lexicon, tokens, words))
    about = {"kind": "word", "silence": None, "oov": "", "normaliser": {"name": "plain", "version": 1}}
    write_json(folder / "unit.json", about)


def make_features(house: Path, utterances: int) -> Path:
    """Utterances of 1 to 4 seconds, as many as are asked for out of a few hundred of features."""
    import numpy as np

    from egret.corpus.cuts import write_cuts
    from egret.features.options import FeatureOptions
    from egret.features.stats import Stats
    from egret.features.store import Float16Archive

    random = np.random.default_rng(1)
    options, stats, kinds = FeatureOptions(num_mel_bins=MEL_BINS), Stats.zero(MEL_BINS), []
    with open(house / "train.h5", "wb") as file:
        archive = Float16Archive(file, house / "train.h5", options, "made-up")
        for number in range(KINDS):
            frames = random.normal(size=(int(random.integers(100, 400)), MEL_BINS)).astype(np.float32)
            stats.add(frames)
            text = " ".join(random.choice(WORDS, int(random.integers(1, 5))))
            name, seconds = str(number), len(frames) * options.frame_shift
            cut = {"id": name, "start": 0.0, "duration": seconds, "channel": 0, "recording": {"id": name}}
            kinds.append(archive.add({**cut, "supervisions": [{"id": name, "start": 0.0, "text": text}]}, frames))
        archive.finish()
    stats.save(house / "stats.safetensors")
    manifest = house / f"train{utterances}.jsonl"
    write_cuts(manifest, ({**kinds[number % KINDS], "id": f"utterance-{number:07d}"} for number in range(utterances)))
    return manifest


def options_of(house: Path, manifest: Path, out: str, *more: str) -> TrainOptions:
    words = ["--cuts", str(manifest), "--stats", str(house / "stats.safetensors"), "--lang", str(house / "lang")]
    words += ["--out", str(house / out), "--threads", "1", "--batch.max-duration", "40", "--check-batches", "false"]
    words += ["--model.encoder", "conformer", "--model.conformer.dim", "16", "--model.conformer.layers", "2"]
    words += ["--model.conformer.channels", "4", "--model.conformer.kernel", "7", "--log-seconds", "1000"]
    return parse(TrainOptions, [*words, *more], "train.py", "")


def begin(house: Path, manifest: Path, out: str) -> None:
    """Start training, or go on, up to the first batch of all; says how long that took and how much memory."""
    from egret.training import trainer
    from egret.training.distributed import Ranks
    from egret.training.experiment import begin as open_experiment
    from egret.training.loader import load_batches

    options = options_of(house, manifest, out)
    run = trainer.set_up(options, open_experiment(options, 1), Ranks())
    batches = run.batches(run.progress.epoch)
    next(load_batches(run.train, batches[run.progress.batch :], (1, 0)))
    if not run.progress.step:
        run.progress.step = run.progress.batch = 1
        run.save()
    print(json.dumps({"batches": len(batches), "batch": run.progress.batch}))


def train(house: Path, manifest: Path, steps: int) -> None:
    """Train for so many steps after the first thousand; says what memory there was before and behind them."""
    from egret.base.memory import keep_memory, resident, return_memory
    from egret.training import trainer
    from egret.training.distributed import Ranks
    from egret.training.experiment import begin as open_experiment
    from egret.training.signals import Interrupted

    keep_memory()
    options = options_of(house, manifest, "long", "--epochs", "1", "--specaugment.time-masks", "1")
    run = trainer.set_up(options, open_experiment(options, 1), Ranks())
    held: list[int] = []
    plain = trainer.train_step

    def counted(*arguments: object) -> tuple[bool, bool]:
        outcome = plain(*arguments)  # type: ignore[arg-type]
        if run.progress.step in (WARM_UP, WARM_UP + steps):
            return_memory()
            held.append(resident("VmRSS"))
        return run.progress.step >= WARM_UP + steps, outcome[1]

    trainer.train_step = counted  # type: ignore[assignment]
    try:
        trainer.fit(run)
    except Interrupted:
        print(json.dumps({"before": held[0], "behind": held[1]}))


def child(*words: object) -> tuple[dict, float]:
    """What this program says in a process of its own and the seconds it took, and its largest resident set in MB."""
    said, seconds, _, gigabytes = measured(__file__, *words)
    return {**json.loads(said.splitlines()[-1]), "seconds": seconds}, gigabytes * 1024


def move(house: Path, batch: int) -> str:
    """The experiment as it would be at a batch of its first epoch; returns its name."""
    name = f"exp{batch}"
    shutil.copytree(house / "exp", house / name)
    [state] = (house / name / "checkpoints").glob("*/state.json")
    write_json(state, {**json.loads(state.read_text()), "batch": batch, "step": batch})
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=200_000)
    parser.add_argument("--steps", type=int, default=2000, help="of the long training")
    parser.add_argument("--bars", action="store_true", help="exit 1 where a bar is not reached")
    options = parser.parse_args()
    print(f"{options.utterances} utterances; load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    failed = []
    with tempfile.TemporaryDirectory() as place:
        house = Path(place)
        make_lang(house / "lang")
        few, many = (make_features(house, number) for number in (options.utterances // 10, options.utterances))
        first, _ = child("begin", house, many, "exp")
        print(f"start, the first time: {first['seconds']:.1f} s, {first['batches']} batches in an epoch")
        shutil.copytree(house / "exp", house / "again")
        shutil.rmtree(house / "again/checkpoints")
        start, large = child("begin", house, many, "again")
        print(f"start: {start['seconds']:.1f} s")
        for batch in (min(batch, first["batches"] - 1) for batch in PLACES):
            there, _ = child("begin", house, many, move(house, batch))
            assert there["batch"] == batch
            print(f"batch {batch}: {there['seconds']:.1f} s")
            if there["seconds"] > start["seconds"] + SECONDS:
                failed.append(f"batch {batch}")
        child("begin", house, few, "few")
        shutil.rmtree(house / "few/checkpoints")
        _, small = child("begin", house, few, "few")
        print(f"memory: {large:.0f} MB, {small:.0f} MB with a tenth of the utterances, ratio {large / small:.2f}")
        if large > MEMORY * small:
            failed.append("memory")
        long, _ = child("train", house, many, options.steps)
        ratio = long["behind"] / long["before"]
        print(
            f"after {options.steps} steps more: {long['behind'] / 1e6:.0f} MB, {ratio:.4f} of what it was before them"
        )
        if ratio > GROWTH:
            failed.append("a long training")
    if options.bars and failed:
        sys.exit(f"a bar was not reached: {', '.join(failed)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin", house, manifest, out]:
            begin(Path(house), Path(manifest), out)
        case ["train", house, manifest, steps]:
            train(Path(house), Path(manifest), int(steps))
        case _:
            main()

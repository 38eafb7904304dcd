#!/usr/bin/env python3
"""Extract log mel filter banks of cuts, divided over jobs, and their global mean and variance.

Training cuts are taken at several speeds where --speeds says so; each copy stands beside its cut in the manifest.
"""

import shutil
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from egret.base.errors import EgretError, UsageError
from egret.base.files import atomic_open, atomic_path, open_text, read_json, read_jsonl, write_json, write_jsonl
from egret.base.log import log, progress
from egret.base.options import group, infile, option
from egret.base.program import Outcome, ParallelOptions, ParallelStep, main, share_folder
from egret.corpus.cuts import Cut, part_name, read_cuts
from egret.features.extractor import FbankOptions, make_extractor
from egret.features.speed import check_speeds
from egret.features.stats import Stats
from egret.features.store import Archive, batches


@dataclass(kw_only=True)
class Options(ParallelOptions):
    cuts: list[Path] = infile("manifests of cuts, one for each part", "stage 0 (local/prepare.py)", default=[])
    train_cuts: list[Path] = infile("the same, taken at all of --speeds", "stage 0 (local/prepare.py)", default=[])
    speeds: list[float] = option([1.0], "speeds of the training cuts: 0.9 is slower", minimum=0.5, maximum=2)
    fbank: FbankOptions = group(FbankOptions)

    def __post_init__(self) -> None:
        """See that the options go together.

        Raises:
          UsageError: no manifest, two of one name, or speeds without training cuts.
        """
        parts = [part_name(manifest) for manifest, _ in self.manifests()]
        if not parts:
            raise UsageError("give manifests of cuts: --train-cuts, --cuts or both")
        if len(set(parts)) < len(parts):
            raise UsageError(f"--cuts: two manifests have the same name among {', '.join(parts)}; rename one")
        check_speeds(self.speeds)
        if self.speeds != [1.0] and not self.train_cuts:
            raise UsageError("--speeds: only the cuts of --train-cuts are perturbed, and there are none")

    def manifests(self) -> list[tuple[Path, list[float]]]:
        """Each manifest with the speeds at which to take its cuts."""
        return [(path, self.speeds) for path in self.train_cuts] + [(path, [1.0]) for path in self.cuts]


def share_of(manifest: Path, job: int, jobs: int) -> list[Cut]:
    """The job's share of a manifest: consecutive cuts, shares differing by at most one cut."""
    if manifest.suffix == ".gz":
        total = sum(1 for _ in read_cuts(manifest))
    else:  # without parsing what other jobs will
        with open(manifest, "rb") as lines:
            total = sum(1 for _ in lines)
    return list(islice(read_cuts(manifest), total * (job - 1) // jobs, total * job // jobs))


def extract_share(options: Options) -> Outcome:
    import torch

    torch.set_num_threads(1)  # the jobs share the cores; threads of theirs would wait for each other
    folder = share_folder(options)
    name, extract = make_extractor(options.fbank)
    outputs = []
    count = 0
    for manifest, speeds in options.manifests():
        part = part_name(manifest)
        cuts = share_of(manifest, options.job, options.nj)
        stats = Stats.zero(options.fbank.num_mel_bins)
        placed = []
        with atomic_path(folder / f"{part}.lca") as hidden, open(hidden, "wb") as file:
            archive = Archive(file, folder / f"{part}.lca", options.fbank, name)
            pairs = (zip(some, extract(waves), strict=True) for some, waves in batches(cuts, options.fbank, speeds))
            for cut, features in progress(chain.from_iterable(pairs), len(cuts) * len(speeds), f"features of {part}"):
                placed.append(archive.add(cut, features))
                stats.add(features)
        write_jsonl(folder / f"{part}.jsonl", placed)
        stats.save(folder / f"{part}.stats.safetensors")
        write_json(folder / "extractor.json", {"extractor": name})
        outputs += [folder / f"{part}{ending}" for ending in (".lca", ".jsonl", ".stats.safetensors")]
        count += len(placed)
    return Outcome(outputs, {"extractor": name, "utterances": count})


def combine(options: Options) -> Outcome:
    """Join the shares: one manifest and one set of sums for each part."""
    out = options.out
    shares = [share_folder(options, job) for job in range(1, options.nj + 1)]
    extractors = sorted({read_json(share / "extractor.json")["extractor"] for share in shares})
    if len(extractors) > 1:
        raise EgretError(
            "the jobs used different extractors, for kaldifeat is not installed on every machine; "
            "choose one with --fbank.extractor"
        )
    report: dict = {"extractor": extractors[0], "parts": {}}
    outputs = [share / f"{part_name(manifest)}.lca" for manifest, _ in options.manifests() for share in shares]
    for manifest, speeds in options.manifests():
        part = part_name(manifest)
        with atomic_open(out / f"{part}.jsonl") as joined:
            for share in shares:
                with open_text(share / f"{part}.jsonl") as lines:
                    shutil.copyfileobj(lines, joined)
        stats = Stats.zero(options.fbank.num_mel_bins)
        for share in shares:
            stats += Stats.load(share / f"{part}.stats.safetensors")
        stats.save(out / f"{part}.stats.safetensors")
        durations = [cut["duration"] for cut in read_jsonl(out / f"{part}.jsonl")]
        rows, hours = len(durations), sum(durations) / 3600
        report["parts"][part] = {"utterances": rows, "hours": round(hours, 4), "frames": stats.frames}
        copies = "" if speeds == [1.0] else f" of {rows // len(speeds)} at speeds {', '.join(map(str, speeds))}"
        log.info("%s: %d utterances in and out%s, %.3f hours, %d frames", part, rows, copies, hours, stats.frames)
        outputs += [out / f"{part}.jsonl", out / f"{part}.stats.safetensors"]
    write_json(out / "report.json", report)
    for other in out.glob("split[0-9]*"):  # shares of an earlier run with another number of jobs
        if other.is_dir() and other != shares[0].parent:
            shutil.rmtree(other)
    counts = {
        "extractor": report["extractor"],
        "utterances": sum(p["utterances"] for p in report["parts"].values()),
    }
    return Outcome([*outputs, out / "report.json"], counts)


STEP = ParallelStep(
    name="extract_features",
    version=3,
    options=Options,
    run=extract_share,
    combine=combine,
    description=__doc__ or "",
    example="steps/extract_features.py --train-cuts data/cuts/train.jsonl --speeds 0.9 1.0 1.1 "
    "--cuts data/cuts/dev.jsonl data/cuts/test.jsonl --out data/fbank --nj 2",
)

if __name__ == "__main__":
    main(STEP)

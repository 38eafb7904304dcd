#!/usr/bin/env python3
"""Extract features of cuts (log mel filter banks, cepstra or spectrograms), divided over jobs, and their global mean
and variance.

A model's preset may say which features it wants: --features conf/models/NAME.yaml takes that from it.

Training cuts are taken at several speeds where --speeds says so, and with --copies augmented besides, as --augment says
(docs/augmentation.md); each copy stands beside its cut in the manifest.
"""

import shutil
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, UsageError
from egret.base.files import atomic_open, atomic_path, open_text, read_json, write_json, write_jsonl
from egret.base.log import log, progress
from egret.base.options import as_plain, group, infile, option
from egret.base.program import Outcome, ParallelOptions, ParallelStep, main, share_folder
from egret.base.shares import remove_shares
from egret.base.stamps import Request
from egret.corpus.cuts import part_name, share_of
from egret.features.copies import as_stored, with_copies
from egret.features.extractor import make_extractor
from egret.features.normalise import SpeakerStats, speakers_path
from egret.features.options import FeatureOptions
from egret.features.speed import check_speeds
from egret.features.stats import Stats
from egret.features.store import ARCHIVES, batches
from egret.features.waveform import Augmenter, WaveformOptions, input_fingerprints

LEFT = (".jsonl", ".stats.safetensors", ".speakers.safetensors")  # of each part, besides archives


@dataclass(kw_only=True)
class Options(ParallelOptions):
    cuts: list[Path] = infile("manifests of cuts, one for each part", "stage 0 (local/prepare.py)", default=[])
    train_cuts: list[Path] = infile("the same, taken at all of --speeds", "stage 0 (local/prepare.py)", default=[])
    speeds: list[float] = option([1.0], "speeds of the training cuts: 0.9 is slower", minimum=0.5, maximum=2)
    copies: int = option(0, "augmented copies of each training cut at each speed, besides it as it is", minimum=0)
    seed: int = option(1, "of the augmented copies", minimum=0)
    storage: Literal["lilcom", "float16"] = option(
        "lilcom", "of the features: float16 takes 1.7 times the disk, less time to write and read, and is more exact"
    )
    features: FeatureOptions = group(FeatureOptions)
    augment: WaveformOptions = group(WaveformOptions)

    def __post_init__(self) -> None:
        """See that the options go together.

        Raises:
          UsageError: no manifest, two of one name, speeds or copies without training cuts, or copies that would be
            like what they are copied from.
        """
        parts = [part_name(manifest) for manifest, *_ in self.manifests()]
        if not parts:
            raise UsageError("give manifests of cuts: --train-cuts, --cuts or both")
        if len(set(parts)) < len(parts):
            raise UsageError(f"--cuts: two manifests have the same name among {', '.join(parts)}; rename one")
        check_speeds(self.speeds)
        if self.speeds != [1.0] and not self.train_cuts:
            raise UsageError("--speeds: only the cuts of --train-cuts are perturbed, and there are none")
        if self.copies and not self.train_cuts:
            raise UsageError("--copies: only the cuts of --train-cuts are augmented, and there are none")
        if self.copies and not self.augment.wanted():
            raise UsageError("--copies: they would all be the same; say by --augment.noise and the like what to change")
        if not self.copies and (self.augment.wanted() or self.seed != Options.seed):
            raise UsageError("--augment and --seed are for augmented copies; say how many by --copies")

    def manifests(self) -> list[tuple[Path, list[float], int]]:
        """Each manifest with the speeds at which to take its cuts, and the number of augmented copies of each."""
        return [(path, self.speeds, self.copies) for path in self.train_cuts] + [(path, [1.0], 0) for path in self.cuts]


def extract_share(options: Options) -> Outcome:
    import torch

    torch.set_num_threads(1)  # the jobs share the cores; threads of theirs would wait for each other
    folder = share_folder(options)
    archive_of = ARCHIVES[options.storage]
    name, extract = make_extractor(options.features)
    augmenter = Augmenter(options.augment) if options.copies else None
    outputs = []
    about: dict = {"extractor": name, "parts": {}}
    for manifest, speeds, copies in options.manifests():
        part = part_name(manifest)
        cuts = share_of(manifest, options.job, options.nj)
        stats, speakers = Stats.zero(options.features.dim), SpeakerStats()
        placed = []
        path = folder / f"{part}{archive_of.ending}"
        with atomic_path(path) as hidden, open(hidden, "wb") as file:
            archive = archive_of(file, path, options.features, name)
            taken = batches(cuts, options.features, speeds)
            if augmenter and copies:
                taken = with_copies(taken, augmenter, copies, options.seed)
            pairs = (zip(some, extract(waves), strict=True) for some, waves in taken)
            total = len(cuts) * len(speeds) * (1 + copies)
            for cut, features in progress(chain.from_iterable(pairs), total, f"features of {part}"):
                placed.append(as_stored(archive.add(cut, features)))
                stats.add(features)
                speakers.count(cut, features)
            archive.finish()
        write_jsonl(folder / f"{part}.jsonl", placed)
        stats.save(folder / f"{part}.stats.safetensors")
        speakers.save(speakers_path(folder / f"{part}.jsonl"))
        outputs += [path, *(folder / f"{part}{ending}" for ending in LEFT)]
        about["parts"][part] = {"utterances": len(placed), "seconds": sum(cut["duration"] for cut in placed)}
    for ending in {kind.ending for kind in ARCHIVES.values()} - {archive_of.ending}:
        for path in folder.glob(f"*{ending}"):  # of an earlier run with the other storage
            path.unlink()
    write_json(folder / "extractor.json", about)
    return Outcome(outputs, {"extractor": name, "utterances": sum(p["utterances"] for p in about["parts"].values())})


def combine(options: Options) -> Outcome:
    """Join the shares: one manifest and one set of sums for each part."""
    out = options.out
    shares = [share_folder(options, job) for job in range(1, options.nj + 1)]
    left = [read_json(share / "extractor.json") for share in shares]
    extractors = sorted({each["extractor"] for each in left})
    if len(extractors) > 1:
        raise EgretError(
            "the jobs used different extractors, for kaldifeat is not installed on every machine; "
            "choose one with --features.extractor"
        )
    report: dict = {"extractor": extractors[0], "parts": {}}
    ending = ARCHIVES[options.storage].ending
    outputs = [share / f"{part_name(manifest)}{ending}" for manifest, *_ in options.manifests() for share in shares]
    for manifest, speeds, copies in options.manifests():
        part = part_name(manifest)
        with atomic_open(out / f"{part}.jsonl") as joined:
            for share in shares:
                with open_text(share / f"{part}.jsonl") as lines:
                    shutil.copyfileobj(lines, joined)
        stats, speakers = Stats.zero(options.features.dim), SpeakerStats()
        for share in shares:
            stats += Stats.load(share / f"{part}.stats.safetensors")
            speakers.merge(SpeakerStats.load(speakers_path(share / f"{part}.jsonl")))
        stats.save(out / f"{part}.stats.safetensors")
        speakers.save(speakers_path(out / f"{part}.jsonl"))
        rows, seconds = (sum(each["parts"][part][what] for each in left) for what in ("utterances", "seconds"))
        hours = seconds / 3600
        report["parts"][part] = {"utterances": rows, "hours": round(hours, 4), "frames": stats.frames}
        given = rows // len(speeds) // (1 + copies)
        how = "" if speeds == [1.0] else f" at speeds {', '.join(map(str, speeds))}"
        how += f", each with {copies} augmented copies" if copies else ""
        how = f" of {given}{how}" if how else ""
        log.info("%s: %d utterances in and out%s, %.3f hours, %d frames", part, rows, how, hours, stats.frames)
        outputs += [out / f"{part}{ending}" for ending in LEFT]
    report["features"] = as_plain(options.features)
    write_json(out / "report.json", report)
    remove_shares(out, STEP.name, kept=options.shares)  # those of an earlier run with another number of jobs
    counts = {
        "extractor": report["extractor"],
        "utterances": sum(p["utterances"] for p in report["parts"].values()),
    }
    return Outcome([*outputs, out / "report.json"], counts)


def more_inputs(options: Options) -> dict[str, str]:
    """What noises and rooms there are; that something is wrong with them is found before any job is submitted."""
    return input_fingerprints(options.augment)


class ExtractStep(ParallelStep):
    def request(self, options: Options) -> Request:
        """What is asked for. Without copies their options, which then can only be the defaults, are not in it: what was
        made before there were any is still up to date."""
        request = super().request(options)
        if options.copies:
            return request
        kept = {
            name: value
            for name, value in request.options.items()
            if name not in ("copies", "seed") and not name.startswith("augment.")
        }
        return replace(request, options=kept)


STEP = ExtractStep(
    name="extract_features",
    version=4,
    options=Options,
    run=extract_share,
    combine=combine,
    more_inputs=more_inputs,
    description=__doc__ or "",
    example="steps/extract_features.py --train-cuts data/cuts/train.jsonl --speeds 0.9 1.0 1.1 "
    "--cuts data/cuts/dev.jsonl data/cuts/test.jsonl --out data/fbank --nj 2",
)

if __name__ == "__main__":
    main(STEP)

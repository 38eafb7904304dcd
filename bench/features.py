#!/usr/bin/env python3
"""Time stage 1, from recordings to stored features, beside the bare extractors of filter banks.

    bench/features.py --corpus DIR [--hours 6] [--jobs 2] [--storage float16] [--kind fbank] [--bars]

DIR is any folder with recordings below it (WAV, FLAC, SPHERE); they are listed as often as it takes to come to the
hours, for the start of a process counts little on a corpus of some size. Rates are hours of speech per core-hour. The
step counts by CPU time, user and system, of all that it starts, and by wall clock, all its jobs' cores from start to
end, which says little on a busy machine; `without start-up` is what the last five sixths of the list took beyond the
first. The bare extractors have waves in memory and one thread. With --bars it fails where the step by CPU time is
below 1,500.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from recipe import ROOT, children

sys.path.insert(0, str(ROOT))

from egret.corpus.cuts import write_cuts
from egret.features.extractor import make_extractor
from egret.features.options import FeatureOptions
from egret.features.store import ARCHIVES, load_samples

BAR = 1500
IN_MEMORY = 900.0  # seconds of speech for the bare extractors


def cuts_of(corpus: Path) -> list[dict[str, Any]]:
    """A cut for each recording below a folder."""
    import soundfile

    found = []
    for path in sorted(corpus.rglob("*")):
        if path.suffix.lower() in (".wav", ".flac", ".sph"):
            about = soundfile.info(path)
            sound = {"sampling_rate": about.samplerate, "num_samples": about.frames, "duration": about.duration}
            source = {"type": "file", "channels": [0], "source": str(path.resolve())}
            recording = {"id": path.stem, "sources": [source], "channel_ids": [0], **sound}
            cut = {"id": path.stem, "start": 0.0, "duration": about.duration, "channel": 0, "supervisions": []}
            found.append({**cut, "recording": recording, "type": "MonoCut"})
    return found


def step(
    folder: Path, cuts: list[dict[str, Any]], options: FeatureOptions, jobs: int, storage: str
) -> tuple[float, float]:
    """Seconds of wall clock and of CPU time that the step took on cuts."""
    write_cuts(folder / "cuts.jsonl", cuts)
    command: list[str | Path] = [ROOT / "steps" / "extract_features.py", "--cmd", ROOT / "utils" / "run.py", "--force"]
    command += ["--cuts", folder / "cuts.jsonl", "--out", folder / "fbank", "--nj", str(jobs), "--storage", storage]
    command += ["--features.kind", options.kind, "--features.sampling-rate", str(options.sampling_rate)]
    command += ["--features.num-mel-bins", str(options.num_mel_bins)]
    spent, began = children(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began, children() - spent


def cpu_seconds(work: Callable[[], object], times: int = 5) -> float:
    """The least that the work took."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def bare_rates(cuts: list[dict[str, Any]], options: FeatureOptions) -> dict[str, float]:
    """Seconds of speech a second of CPU time by kaldifeat, by Lhotse and by what the step uses."""
    import lhotse
    import torch

    torch.set_num_threads(1)
    seconds, waves = 0.0, []
    for cut in cuts:
        waves.append(load_samples(cut, options))
        seconds += cut["duration"]
        if seconds > IN_MEMORY:
            break
    rate, bins = options.sampling_rate, options.num_mel_bins
    lhotses = lhotse.Fbank(lhotse.FbankConfig(sampling_rate=rate, num_filters=bins))
    name, ours = make_extractor(options)
    works: dict[str, Callable[[], object]] = {
        "Lhotse's own extractor": lambda: [lhotses.extract(wave, rate) for wave in waves],
        f"the step's, {options.kind} by {name}": lambda: ours(waves),
    }
    if name == "kaldifeat":
        import kaldifeat

        settings = kaldifeat.FbankOptions()
        settings.frame_opts.samp_freq = rate
        settings.frame_opts.dither = 0
        settings.frame_opts.snip_edges = False
        settings.mel_opts.num_bins = bins
        fbank = kaldifeat.Fbank(settings)
        works = {"bare kaldifeat": lambda: [fbank(torch.from_numpy(wave)) for wave in waves], **works}
    return {name: seconds / cpu_seconds(work) for name, work in works.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with recordings of one sampling rate")
    parser.add_argument("--hours", type=float, default=6.0, help="of speech, recordings taken several times if need be")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", default="fbank", choices=["fbank", "mfcc", "spectrogram"], help="of features")
    parser.add_argument("--num-mel-bins", type=int, default=80, help="of filter banks and cepstra")
    parser.add_argument("--storage", default="float16", choices=list(ARCHIVES), help="float16, as in AN4's recipe")
    parser.add_argument("--bars", action="store_true", help="exit 1 where the bar is not reached")
    options = parser.parse_args()
    recordings = cuts_of(options.corpus)
    if not recordings:
        parser.error(f"{options.corpus}: no .wav, .flac or .sph below it")
    rate = recordings[0]["recording"]["sampling_rate"]
    features = FeatureOptions(kind=options.kind, sampling_rate=rate, num_mel_bins=options.num_mel_bins)
    mean = sum(cut["duration"] for cut in recordings) / len(recordings)
    count = max(6, round(options.hours * 3600 / mean))
    cuts = [{**cut, "id": f"{cut['id']}-{number}"} for number, cut in enumerate(islice(cycle(recordings), count))]
    few = cuts[: count // 6]
    hours, first = (sum(cut["duration"] for cut in part) / 3600 for part in (cuts, few))
    print(f"{hours:.2f} hours in {count} cuts of {len(recordings)} recordings of {mean:.1f} s on average; "
          f"load at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")  # fmt: skip
    rates = bare_rates(recordings, features)
    with tempfile.TemporaryDirectory() as house:
        wall_few, cpu_few = step(Path(house), few, features, options.jobs, options.storage)
        wall, cpu = step(Path(house), cuts, features, options.jobs, options.storage)
    by_cpu = hours * 3600 / cpu
    rates |= {
        f"the step, {options.jobs} jobs, wall clock": hours * 3600 / (wall * options.jobs),
        "    without start-up": (hours - first) * 3600 / ((wall - wall_few) * options.jobs),
        f"the step, {options.jobs} jobs, CPU time": by_cpu,
        "    without start-up ": (hours - first) * 3600 / (cpu - cpu_few),
    }
    bare = next(iter(rates.values()))
    print(f"{'':40} {'h per core-h':>12} {'share of bare':>14}")
    for name, rate in rates.items():
        print(f"{name:40} {rate:12,.0f} {rate / bare:14.0%}")
    print(f"the step took {wall:.1f} s of wall clock and {cpu:.1f} s of CPU time")
    if options.bars and by_cpu < BAR:
        sys.exit(f"the bar was not reached: {BAR} hours of speech per core-hour, by CPU time")


if __name__ == "__main__":
    main()

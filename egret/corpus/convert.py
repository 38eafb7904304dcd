"""Recordings of any sampling rate and number of channels become mono recordings of one rate, in stage 0.

They are written as FLAC into a folder of their own and the cuts are of those: features, the sound in the report,
alignments, batches made from samples, and programs of others that read the cuts, all find one rate and one channel, and
none of them needs to know how it came about. To resample at each reading instead would save the disk space (some
55 MB an hour of speech) but would have to be done in every one of those places, each time, and in the same way. The
recordings of the user stay as they are; one that has the rate and a channel to be had by itself is used where it lies.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from egret.base.errors import UsageError, counted
from egret.base.files import atomic_path, digest, read_jsonl, write_jsonl
from egret.base.log import log, progress
from egret.corpus.audio import LOUDEST, BadAudio, blocks, header, scan
from egret.corpus.resample import Resampler
from egret.corpus.validate import Parts, Utterance

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
VERSION = 1  # raised when the same recording would be converted to another one
LIST = "converted.jsonl"
MIX = "mix"
FULL_SCALE = 1 << 15


@dataclass(frozen=True)
class Target:
    """What recordings are to be: their rate, and the channel (from 0) of those with several, or `mix`: the mean."""

    sampling_rate: int
    channel: str
    folder: Path
    workers: int

    def __post_init__(self) -> None:
        """Raises:
        UsageError: the channel is neither `mix` nor a number.
        """
        if self.channel != MIX and not self.channel.isdecimal():
            raise UsageError(f"--channel {self.channel}: expected mix, or the number of a channel, from 0")


@dataclass(frozen=True)
class Job:
    """One recording to convert; `channel` None: it is the mean of all."""

    source: Path
    sampling_rate: int
    channels: int
    channel: int | None

    def path(self, target: Target) -> Path:
        """Where it goes: another content, rate or channel has another name, so one that is there is the right one."""
        state = self.source.stat()
        made_of = [str(self.source), state.st_size, state.st_mtime_ns, self.channel, target.sampling_rate, VERSION]
        return target.folder / f"{'_'.join(self.source.stem.split())}-{digest(made_of)[:16]}.flac"


def convert(parts: Parts, target: Target, out: Path) -> Parts:
    """The same utterances in recordings that all have the rate and one channel for each of them.

    A recording that cannot be read is left to `validate.check`; one that cannot be converted becomes an objection.
    What was converted from what is listed in `converted.jsonl` of the folder `out`.
    """
    used = dict.fromkeys(each.audio for listed in parts.values() for each in listed if not each.problem)
    headers = dict(_threads(_header, used, target.workers, "looking at recordings"))
    _warn_of_channel(parts, headers, target)
    planned = {
        part: [_plan(each, headers.get(each.audio), target) for each in listed] for part, listed in parts.items()
    }
    jobs = dict.fromkeys(job for listed in planned.values() for _, job in listed if job)
    made = dict(_threads(lambda job: _convert(job, target), jobs, target.workers, "converting recordings"))
    _say(headers.values(), jobs, target)
    rows = [
        {"audio": str(path), "source": str(job.source), "sampling_rate": job.sampling_rate, "channels": job.channels,
         "channel": MIX if job.channel is None else job.channel}
        for job, path in made.items() if isinstance(path, Path)
    ]  # fmt: skip
    write_jsonl(out / LIST, rows)
    return {
        part: [_replaced(each, made[job]) if job else each for each, job in listed] for part, listed in planned.items()
    }


def lost(out: Path) -> int:
    """How many of the recordings listed in `converted.jsonl` are no longer there."""
    if not (out / LIST).is_file():
        return 0
    return sum(not Path(row["audio"]).is_file() for row in read_jsonl(out / LIST))


def _plan(utterance: Utterance, found: tuple[int, int] | None, target: Target) -> tuple[Utterance, Job | None]:
    """The utterance, perhaps with a channel chosen, and the conversion that its recording needs."""
    if found is None:
        return utterance, None
    rate, channels = found
    channel = utterance.channel
    if channel is None and channels > 1 and target.channel != MIX:
        channel = int(target.channel)
        utterance = replace(utterance, channel=channel)
    if channel is not None and channel >= channels:
        detail = f"{utterance.audio}: channel {channel} of a recording with {channels}, counted from 0"
        return replace(utterance, problem=detail, reason="channels"), None
    if rate == target.sampling_rate and (channels == 1 or channel is not None):
        return utterance, None
    return utterance, Job(utterance.audio, rate, channels, 0 if channels == 1 else channel)


def _replaced(utterance: Utterance, made: Path | BadAudio) -> Utterance:
    if isinstance(made, BadAudio):
        return replace(utterance, problem=made.detail, reason=made.reason)
    return replace(utterance, audio=made, channel=None)


def _header(path: Path) -> tuple[int, int] | None:
    try:
        return header(path)
    except BadAudio:
        return None


def _convert(job: Job, target: Target) -> Path | BadAudio:
    import soundfile

    path = job.path(target)
    if path.is_file():
        return path
    try:
        scan(job.source, [])  # a file that was cut off would pass for a shorter one afterwards
        with atomic_path(path) as part, open(part, "wb") as raw:
            form = {"samplerate": target.sampling_rate, "channels": 1, "format": "FLAC", "subtype": "PCM_16"}
            with soundfile.SoundFile(raw.fileno(), "w", closefd=False, **form) as flac:
                for block in _converted(job, target.sampling_rate):
                    flac.write(block)
    except BadAudio as bad:
        return bad
    return path


def _converted(job: Job, rate: int) -> "Iterator[np.ndarray]":
    """Blocks int16 [S]."""
    import numpy as np

    resampler = Resampler(job.sampling_rate, rate) if job.sampling_rate != rate else None
    for block in blocks(job.source):
        mono = block.mean(axis=1) if job.channel is None else block[:, job.channel]
        peak = float(np.abs(mono).max())
        if not np.isfinite(peak):
            raise BadAudio("NaN or Inf", f"{job.source}: has samples that are no numbers")
        if peak > min(LOUDEST, 2):
            detail = f"{job.source}: floating-point samples up to {peak:g} where 1 is full scale; scale it"
            raise BadAudio("out of range", detail)
        yield _integers(resampler.feed(mono) if resampler else mono)
    if resampler:
        yield _integers(resampler.finish())


def _integers(samples: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _threads(work: Any, items: Iterable[T], workers: int, title: str) -> Iterator[tuple[T, Any]]:
    """(item, what `work` makes of it); NumPy and libsndfile let go of the interpreter, so threads use every core."""
    waiting = list(items)

    def results(pool: ThreadPoolExecutor) -> Iterator[tuple[T, Any]]:
        rest = iter(waiting)  # in batches, so that Ctrl-C need not wait for all
        while batch := list(islice(rest, 32 * workers)):
            yield from zip(batch, pool.map(work, batch), strict=True)

    with ThreadPoolExecutor(workers) as pool:
        yield from progress(results(pool), len(waiting), title)


def _warn_of_channel(parts: Parts, headers: dict[Path, tuple[int, int] | None], target: Target) -> None:
    """A number of a channel that no recording has is most likely a mistake, though those with one need none."""
    asked = {each.audio for listed in parts.values() for each in listed if not each.problem and each.channel is None}
    counts = {found[1] for audio in asked if (found := headers.get(audio))}
    if target.channel != MIX and counts and max(counts) <= int(target.channel):
        log.warning(
            "--channel %s: no recording has it, they have at most %d, counted from 0; of those with one it is taken",
            target.channel, max(counts),
        )  # fmt: skip


def _say(headers: Iterable[tuple[int, int] | None], jobs: Iterable[Job], target: Target) -> None:
    """What there was, and what was made of it."""
    rates = Counter(found for found in headers if found)
    for (rate, channels), count in sorted(rates.items()):
        log.info("%s of %d Hz with %s", counted(count, "recording"), rate, counted(channels, "channel"))
    kinds = Counter((job.sampling_rate, job.channels, job.channel) for job in jobs)
    for (rate, channels, channel), count in sorted(kinds.items(), key=str):
        steps = []
        if channels > 1:
            steps.append("the mean of all channels" if channel is None else f"channel {channel}")
        if rate != target.sampling_rate:
            steps.append(f"resampled to {target.sampling_rate} Hz")
        log.info("  %d of %d Hz with %d: %s, in %s", count, rate, channels, ", ".join(steps), target.folder)
    below = sum(count for (rate, _), count in rates.items() if rate < target.sampling_rate)
    if 2 * below > rates.total():
        commonest = min(rates, key=lambda found: (-rates[found], found))[0]
        log.warning(
            "most recordings have a lower rate than %d Hz, and resampling brings back no high frequencies; "
            "--sampling-rate %d would save work", target.sampling_rate, commonest,
        )  # fmt: skip

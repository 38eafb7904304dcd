"""Which utterances of a corpus can be used: the listing is checked, every recording is read to its end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from egret.base.log import progress
from egret.corpus.audio import EXTENT, BadAudio, Recording, measure, scan
from egret.corpus.cuts import Cut
from egret.lang.normalise import normalise

# A segment that ends this many seconds behind its recording is cut to it: transcribers' tools round.
OVERHANG = 0.05


@dataclass(frozen=True)
class Utterance:
    """One utterance as a corpus lists it.

    A recording of several channels needs `channel` (from 0). `problem` is an objection of the listing itself,
    such as a file name that means nothing: the utterance is rejected with that detail and counted under `reason`.
    `custom` is what else the corpus says of it, such as its syllables, as texts by name.
    """

    id: str
    audio: Path
    text: str
    speaker: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    language: str | None = None
    problem: str = ""
    reason: str = "listing"
    custom: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """It is its recording from end to end, as far as the listing knows."""
        return self.start == 0 and self.end is None


Parts = dict[str, list[Utterance]]


@dataclass(frozen=True)
class Limits:
    """Seconds an utterance may last, and the sampling rate asked for; None: the corpus's commonest."""

    min_duration: float
    max_duration: float
    sampling_rate: int | None


@dataclass(frozen=True)
class Rejected:
    part: str
    utterance: Utterance
    reason: str
    detail: str

    def row(self) -> dict[str, str]:
        about = self.utterance
        row = {
            "id": about.id,
            "part": self.part,
            "audio": str(about.audio),
            "reason": self.reason,
            "detail": self.detail,
        }
        return {name: _writable(value) for name, value in row.items()}


def _writable(text: str) -> str:
    """Text with the bytes of a file name or list that are not UTF-8 (Python keeps them as surrogates) as `\\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Checked:
    """The usable utterances of each part as cuts, in listing order, and the others with their reasons."""

    cuts: dict[str, list[Cut]]
    rejected: list[Rejected]


def check(parts: Parts, normaliser: str, limits: Limits, workers: int, full: bool = True) -> Checked:
    """Judge every utterance, by its recording's header alone where it is not to be read in full; the same corpus gives
    the same result whatever the number of workers."""
    listed = list(_check_listing(parts, normaliser))
    files: dict[Path, list[Utterance]] = {}
    for _, utterance, _, fault in listed:
        if fault is None:
            files.setdefault(utterance.audio, []).append(utterance)
    heard = _read_all(files, workers, scan if full else measure)
    rate = limits.sampling_rate or commonest_rate(heard.values())
    extents = {id(utterance): place for group in files.values() for place, utterance in enumerate(group)}

    cuts: dict[str, list[Cut]] = {part: [] for part in parts}
    rejected = []
    for part, utterance, text, fault in listed:
        try:
            if fault is not None:
                raise fault
            result = heard[utterance.audio]
            if isinstance(result, BadAudio):
                raise result
            cut = _judge(utterance, text, result, result.faults[extents[id(utterance)]], rate, limits)
            cuts[part].append(cut)
        except BadAudio as bad:
            rejected.append(Rejected(part, utterance, bad.reason, bad.detail))
    return Checked(cuts, rejected)


def _check_listing(parts: Parts, normaliser: str) -> Iterator[tuple[str, Utterance, str, BadAudio | None]]:
    """(part, utterance, normalised text, what is wrong with it before its audio is looked at)."""
    first: dict[str, Utterance] = {}
    for part, utterances in parts.items():
        whole: dict[Path, str] = {}
        for utterance in utterances:
            text = normalise(utterance.text, normaliser)
            fault = None
            names = (str(utterance.audio), utterance.id, text, utterance.speaker, *utterance.custom.values())
            foreign = [name for name in names if name != _writable(name)]
            if utterance.problem:
                fault = BadAudio(utterance.reason or "listing", utterance.problem)
            elif foreign:
                fault = BadAudio("not UTF-8", f"{_writable(foreign[0])!r} has bytes that are not; rename or convert it")
            elif not utterance.id or len(utterance.id.split()) != 1 or not utterance.id.isprintable():
                fault = BadAudio("bad id", f"the id {utterance.id!r} is empty or has white space in it")
            elif utterance.id in first:
                detail = f"{first[utterance.id].audio} and {utterance.audio} have the same id; the first is kept"
                fault = BadAudio("duplicate id", detail)
            elif not text:
                fault = BadAudio("empty text", f"no words in {utterance.text!r}")
            elif utterance.whole and utterance.channel is None and utterance.audio in whole:
                detail = f"the whole file is the utterance {whole[utterance.audio]} of {part} already"
                fault = BadAudio("duplicate audio", detail)
            if fault is None and utterance.whole:
                whole.setdefault(utterance.audio, utterance.id)
            if not utterance.problem:
                first.setdefault(utterance.id, utterance)
            yield part, utterance, text, fault


def _read_all(
    files: dict[Path, list[Utterance]], workers: int, look: Callable[[Path, Sequence[EXTENT]], Recording]
) -> dict[Path, Recording | BadAudio]:
    # libsndfile and numpy let go of the interpreter while they work, so threads use every core and, unlike
    # processes, cost nothing to start.
    def read(item: tuple[Path, Sequence[Utterance]]) -> Recording | BadAudio:
        path, group = item
        try:
            return look(path, [(each.start, each.end, each.channel or 0) for each in group])
        except BadAudio as bad:
            return bad

    def results(pool: ThreadPoolExecutor) -> Iterator[tuple[Path, Recording | BadAudio]]:
        # In batches, so that Ctrl-C need not wait for a hundred thousand recordings in the queue.
        waiting = iter(files.items())
        while batch := list(islice(waiting, 32 * workers)):
            yield from zip((path for path, _ in batch), pool.map(read, batch), strict=True)

    with ThreadPoolExecutor(workers) as pool:
        return dict(progress(results(pool), len(files), "reading recordings"))


def commonest_rate(results: Iterable[Recording | BadAudio]) -> int:
    """The sampling rate that most recordings have; of two equally common ones the lower."""
    rates = Counter(result.sampling_rate for result in results if isinstance(result, Recording))
    return min(rates, key=lambda rate: (-rates[rate], rate), default=0)


def _judge(utterance: Utterance, text: str, heard: Recording, fault: str | None, rate: int, limits: Limits) -> Cut:
    """The cut of an utterance whose recording could be read.

    Raises:
      BadAudio: it cannot be used.
    """
    if heard.sampling_rate != rate:
        detail = f"{heard.sampling_rate} Hz where {rate} Hz is expected; resample it, or give --sampling-rate"
        raise BadAudio("sampling rate", detail)
    if utterance.channel is None and heard.channels > 1:
        raise BadAudio("channels", f"{heard.channels} channels and the listing does not say which")
    channel = utterance.channel or 0
    if channel >= heard.channels:
        raise BadAudio("channels", f"channel {channel} of a recording with {heard.channels}, counted from 0")
    end = heard.duration if utterance.end is None else utterance.end
    if not 0 <= utterance.start < end or end > heard.duration + OVERHANG:
        extent = f"{utterance.start} to {end} s of a recording of {heard.duration:.3f} s"
        raise BadAudio("outside the recording", extent)
    duration = round(min(end, heard.duration) - utterance.start, 8)
    if duration < limits.min_duration:
        raise BadAudio("too short", f"{duration:.3f} s, less than --min-duration {limits.min_duration:g}")
    if duration > limits.max_duration:
        raise BadAudio("too long", f"{duration:.3f} s, more than --max-duration {limits.max_duration:g}")
    if fault:
        raise BadAudio(fault, "a damaged or empty recording")
    return make_cut(utterance, text, heard, channel, duration)


def make_cut(utterance: Utterance, text: str, heard: Recording, channel: int, duration: float) -> Cut:
    """What `lhotse.MonoCut.to_dict()` gives for this utterance (duration in seconds)."""
    recording_id = utterance.id if utterance.whole else str(utterance.audio.with_suffix(""))
    supervision = {
        "id": utterance.id,
        "recording_id": recording_id,
        "start": 0.0,
        "duration": duration,
        "channel": channel,
        "text": text,
        "language": utterance.language,
        "speaker": utterance.speaker,
        "custom": utterance.custom or None,
    }
    channels = list(range(heard.channels))
    return {
        "id": utterance.id,
        "start": utterance.start,
        "duration": duration,
        "channel": channel,
        "supervisions": [{name: value for name, value in supervision.items() if value is not None}],
        "recording": {
            "id": recording_id,
            "sources": [{"type": "file", "channels": channels, "source": str(utterance.audio)}],
            "sampling_rate": heard.sampling_rate,
            "num_samples": heard.frames,
            "duration": heard.duration,
            "channel_ids": channels,
        },
        # Other samples make another manifest, even where their number is the same: features are then made anew.
        "custom": heard.mark,
        "type": "MonoCut",
    }

"""A planned corpus and the making of its files: clips of synthetic speech, and texts, in folders."""

import gzip
import multiprocessing
import shutil
import signal
import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from egret.base.files import atomic_path
from egret.base.log import progress
from mini.espeak import Speaker, say
from mini.sound import flac_bytes, resample, sphere_bytes, wav_bytes, with_noise

if TYPE_CHECKING:
    import numpy as np

WRITERS = {".sph": sphere_bytes, ".flac": flac_bytes}


@dataclass(frozen=True)
class Shape:
    """How large a corpus is planned; `snr` in decibels, None: no noise. `test_speakers` are those of each part that is
    not trained on."""

    seed: int = 1
    snr: float | None = 40.0
    speakers: int = 24
    test_speakers: int = 6
    utterances: int = 13


@dataclass(frozen=True)
class Clip:
    """A recording to make: pieces of text are said one after the other with silence around and between them.

    Silences are in seconds, `snr` in decibels (None: no noise). Names in `.sph` become NIST SPHERE, in `.flac` FLAC,
    others WAV.
    """

    path: str
    speaker: Speaker
    pieces: list[str]
    rate: int
    seed: int
    lead: float = 0.2
    tail: float = 0.2
    gap: tuple[float, float] = (0.1, 0.2)
    snr: float | None = None
    channels: int = 1


@dataclass
class Corpus:
    """Everything in it by its path within the corpus: sounds grouped by who speaks, and texts.

    `archives` are gzipped tar files, and the folder that each has in place of the corpus, in which names begin where
    the archive lies: `wav/A.tar.gz` of `wav/train/A` holds `train/A/...`. `links` are symbolic ones,
    and what each says.
    """

    speakers: list[list[Clip]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    archives: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def make(corpus: Corpus, out: Path, workers: int) -> list[Path]:
    """Write a corpus into `out`; its top folders and files appear when they are whole. Returns all its files."""
    clips = [clip for group in corpus.speakers for clip in group]
    names = [*corpus.texts, *(clip.path for clip in clips), *corpus.links]
    tops = sorted({Path(name).parts[0] for name in names})
    with atomic_path(out / ".making") as part:
        part.mkdir()
        for name, text in corpus.texts.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        _record_all(corpus.speakers, len(clips), part, workers)
        for name, target in corpus.links.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).symlink_to(target)
        for archive, folder in corpus.archives.items():
            _pack(part / archive, part / folder)
        for top in tops:
            with atomic_path(out / top) as new:
                (part / top).rename(new)
    (out / ".making").rmdir()
    packed = tuple(f"{folder}/" for folder in corpus.archives.values())
    return [out / name for name in [*corpus.archives, *(name for name in names if not name.startswith(packed))]]


def _pack(archive: Path, folder: Path) -> None:
    """Move a folder into a gzipped tar file whose bytes depend on nothing but names and contents."""
    with (
        open(archive, "wb") as file,
        # Neither its time nor a name in the header; sound packs little better at higher levels.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(str(path.relative_to(archive.parent)))
            member.size, member.mode = path.stat().st_size, 0o644
            with open(path, "rb") as content:
                tar.addfile(member, content)
    shutil.rmtree(folder)
    with suppress(OSError):  # what held it alone goes too
        folder.parent.rmdir()


def _record_all(speakers: list[list[Clip]], clips: int, folder: Path, workers: int) -> None:
    # A fresh process for each speaker: what espeak-ng says depends on what it has said before. Forked, because
    # this process has loaded nothing yet that a fork could hurt.
    with multiprocessing.get_context("fork").Pool(workers, _quiet, maxtasksperchild=1) as pool:
        tasks = [(group, folder) for group in speakers]
        done = (count for count in pool.imap_unordered(_record, tasks) for _ in range(count))
        for _ in progress(done, clips, "speaking"):
            pass


def _quiet() -> None:
    """Ctrl-C is for the parent, which ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _record(task: tuple[list[Clip], Path]) -> int:
    clips, folder = task
    for clip in clips:
        samples = in_channels(speak(clip), clip)
        data = WRITERS.get(Path(clip.path).suffix, wav_bytes)(samples, clip.rate)
        (folder / clip.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / clip.path).write_bytes(data)
    return len(clips)


def speak(clip: Clip) -> "np.ndarray":
    """The samples of a clip, every piece a little slower or faster, higher or lower than the last."""
    import numpy as np

    random = Random(clip.seed)
    parts = [np.zeros(round(clip.lead * clip.rate), np.int16)]
    for place, text in enumerate(clip.pieces):
        if place:
            parts.append(np.zeros(round(random.uniform(*clip.gap) * clip.rate), np.int16))
        speaker = Speaker(
            clip.speaker.voice,
            round(clip.speaker.rate * random.uniform(0.9, 1.1)),
            max(0, min(99, clip.speaker.pitch + random.randint(-6, 6))),
        )
        samples, rate = say(text, speaker, random.randrange(1, 1 << 31))
        parts.append(resample(trimmed(samples), rate, clip.rate))
    parts.append(np.zeros(round(clip.tail * clip.rate), np.int16))
    samples = np.concatenate(parts)
    return samples if clip.snr is None else with_noise(samples, clip.snr, random.randrange(1 << 32))


def in_channels(samples: "np.ndarray", clip: Clip) -> "np.ndarray":
    """With further channels, int16 [S, channels], each fainter and a sixteenth of a millisecond later than the last."""
    import numpy as np

    if clip.channels == 1:
        return samples
    late = [np.roll(samples, place * clip.rate // 16000) // (place + 1) for place in range(clip.channels)]
    return np.stack(late, axis=1)


def trimmed(samples: "np.ndarray", threshold: int = 100) -> "np.ndarray":
    """Without the silence that espeak-ng puts before and after."""
    import numpy as np

    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > threshold)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples

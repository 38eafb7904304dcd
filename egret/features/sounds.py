"""Noises and room impulse responses from folders, to be mixed into speech.

Any folder of recordings will do. In two published layouts it is known what is what: MUSAN (Snyder et al. 2015,
OpenSLR 17) is noise throughout; RIRS_NOISES (Ko et al. 2017, OpenSLR 28) has impulse responses and noises, of which
each is taken for what it is.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from egret.base.errors import EgretError, first_few
from egret.base.files import digest
from egret.base.log import log
from egret.corpus import audio
from egret.corpus.resample import Resampler

if TYPE_CHECKING:
    import numpy as np

ENDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".sph"}
WHOLE = 30.0  # seconds: of a longer recording only what is needed is read
CACHE = 64 << 20  # bytes of recordings held by each process
Kind = Literal["noise", "response"]


def list_sounds(folder: Path, kind: Kind, option: str) -> list[tuple[str, int]]:
    """The recordings of a folder, its subfolders and links included: their names below it, sorted, and sizes in bytes.

    Args:
      option: by which the user gave the folder, for errors.

    Raises:
      EgretError: no such folder, or nothing of that kind in it.
    """
    if not folder.is_dir():
        raise EgretError(
            f"{option} {folder}: no such folder; check the path (docs/augmentation.md says where to get it)"
        )
    found = sorted(_walk(folder))
    kept = [(name, size) for name, size in found if _kind(folder, name) in (None, kind)]
    if not kept:
        what = "only recordings of the other kind (noises, impulse responses)" if found else "no recording"
        raise EgretError(
            f"{option} {folder}: {what} in it or below; expected files such as {', '.join(sorted(ENDINGS))}"
        )
    return kept


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for place, below, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads in a circle
            below.clear()
            continue
        seen.add(real)
        below.sort()
        for file in files:
            if Path(file).suffix.lower() in ENDINGS and not file.startswith("."):
                path = Path(place, file)
                yield path.relative_to(folder).as_posix(), path.stat().st_size


def _kind(folder: Path, name: str) -> Kind | None:
    """What a recording is by its place in RIRS_NOISES; None: it does not say."""
    *places, file = folder.name, *name.split("/")
    if "pointsource_noises" in places:
        return "noise"
    if "real_rirs_isotropic_noises" in places:
        return "noise" if "_noise_" in file else "response"
    return "response" if "simulated_rirs" in places else None


def sounds_fingerprint(folders: Iterable[Path], kind: Kind, option: str) -> dict[str, str]:
    """What stands for the folders in a stamp: names and sizes of their recordings, the same on every machine.

    Raises:
      EgretError: as `list_sounds`.
    """
    return {f"{option} {folder}": digest(list_sounds(folder, kind, option)) for folder in folders}


class Sounds:
    """The recordings of folders by number, mono, at any sampling rate. In the same order on every machine.

    Raises:
      EgretError: a folder without recordings, or recordings that cannot be read; names them.
    """

    def __init__(self, folders: Iterable[Path], kind: Kind, option: str) -> None:
        self.option, self.kind = option, kind
        self.paths: list[Path] = []
        self.names: list[str] = []  # with the folder's own: musan/noise/free-sound/noise-free-sound-0000.wav
        self.lengths: list[tuple[int, int]] = []  # samples, and how many a second
        self._held: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        bad = []
        for folder in folders:
            for name, _ in list_sounds(folder, kind, option):
                path = folder / name
                try:
                    about = audio.measure(path, [])
                except audio.BadAudio as error:
                    bad.append(f"{path}: {error}")
                    continue
                self.paths.append(path)
                self.names.append(f"{folder.name}/{name}")
                self.lengths.append((about.frames, about.sampling_rate))
        if bad:
            raise EgretError(f"{option}: {len(bad)} recordings cannot be used: {first_few(bad, 3)}; remove them")
        hours = sum(frames / rate for frames, rate in self.lengths) / 3600
        log.info("%s: %d recordings, %.2f hours", option, len(self), hours)

    def __len__(self) -> int:
        return len(self.paths)

    def length(self, number: int, rate: int) -> int:
        """Samples of a recording at a sampling rate."""
        frames, own = self.lengths[number]
        return -(-frames * rate // own)

    def part(self, number: int, rate: int, first: int, count: int) -> "np.ndarray":
        """Samples float32 [S] from `first` on, `count` of them or as many as there are."""
        frames, own = self.lengths[number]
        if frames <= WHOLE * own:
            return self.whole(number, rate)[first : first + count]
        start = first * own // rate
        return self._read(number, rate, start, -(-count * own // rate) + 1)[:count]

    def whole(self, number: int, rate: int) -> "np.ndarray":
        """All samples float32 [S] of a recording; the latest ones stay in memory. Not to be written to."""
        key = number, rate
        samples = self._held.pop(key, None)
        if samples is None:
            samples = self._read(number, rate, 0, self.lengths[number][0])
            samples.flags.writeable = False
        self._held[key] = samples
        while sum(each.nbytes for each in self._held.values()) > CACHE and len(self._held) > 1:
            self._held.popitem(last=False)
        return samples

    def _read(self, number: int, rate: int, first: int, count: int) -> "np.ndarray":
        import numpy as np

        path = self.paths[number]
        try:
            # Channels of a room's response differ in their delays: their mean would be another room.
            samples, own = audio.read(path, first, count, 0 if self.kind == "response" else None)
        except audio.BadAudio as error:
            raise EgretError(f"{self.option} {path}: {error}; it was whole when the program began") from None
        if not len(samples):
            raise EgretError(f"{self.option} {path}: has changed since the program began; run it again")
        if samples.ndim == 2:
            samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        if own != rate:
            resampler = Resampler(own, rate)
            samples = np.concatenate([resampler.feed(samples), resampler.finish()])
        return np.ascontiguousarray(samples, np.float32)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_held": OrderedDict()}

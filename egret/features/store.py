"""Features on disk: an archive per part and job, beside the manifest that points into it.

Lhotse reads the archives, and the archives of others are read through Lhotse; those of our own without, whose import
takes half a second. There are two kinds: `lilcom`, in which values are off by at most 1/64 (tick power -5: a step of
1/32), and `float16` in HDF5, off by at most 1/256 below 16 and 1/128 below 32, which log energies stay under. The
second is 1.7 times as large; writing takes a tenth of the time, reading a third.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from egret.base.errors import EgretError
from egret.corpus import audio, shar
from egret.features import hdf5
from egret.features.options import FeatureOptions, num_frames, shortest
from egret.features.speed import perturb, perturb_cut

if TYPE_CHECKING:
    import numpy as np

TICK_POWER = -5
CHUNK_FRAMES = 500  # what Lhotse's LilcomChunkyReader takes for granted
Batch = tuple[list[dict[str, Any]], list["np.ndarray"]]


def check_recording(cut: dict[str, Any], options: FeatureOptions) -> None:
    """See that features of a cut can be computed, as far as the cut itself says.

    Raises:
      EgretError: it has no recording, one of another sampling rate than the features are to be made of, or one of
        Lhotse's that are transformed as they are read.
    """
    if "recording" not in cut:
        raise EgretError(f"{cut['id']}: an augmented copy has features only, no recording; give the cuts of stage 0")
    rate = cut["recording"]["sampling_rate"]
    if cut["recording"].get("transforms"):
        raise EgretError(f"{cut['id']}: its recording is to be transformed as it is read; give the cuts of stage 0")
    if rate != options.sampling_rate:
        raise EgretError(
            f"{cut['id']}: {rate} samples a second where --features.sampling-rate is {options.sampling_rate}; "
            f"give the corpus' own"
        )


def load_samples(cut: dict[str, Any], options: FeatureOptions) -> "np.ndarray":
    """Samples float32 [S] of a cut.

    Raises:
      EgretError: as `check_recording`; or the recording is gone or has changed since stage 0 read it, or too short.
    """
    check_recording(cut, options)
    try:
        samples, _ = audio.load(cut)
    except audio.BadAudio as error:
        source = cut["recording"]["sources"][0]["source"]
        # Where stage 0 looked at the header only, it would find nothing wrong again.
        how = "" if "crc32" in (cut.get("custom") or {"crc32": 0}) else " with --check-audio full"
        raise EgretError(f"{cut['id']} ({source}): {error}; run stage 0 again{how}") from None
    if len(samples) < shortest(options):
        raise EgretError(
            f"{cut['id']}: {len(samples)} samples are less than half a frame; drop it in stage 0 (--min-duration)"
        )
    return samples


def batches(
    cuts: list[dict[str, Any]], options: FeatureOptions, speeds: Sequence[float] = (1.0,), seconds: float = 30.0
) -> Iterator[Batch]:
    """Cuts with their samples at each of the speeds, so many that about `seconds` of speech are in memory at once."""
    chosen: list[dict[str, Any]] = []
    waves, held = [], 0.0
    for cut in cuts:
        samples = load_samples(cut, options)
        for speed in speeds:
            chosen.append(perturb_cut(cut, speed))
            waves.append(perturb(samples, speed))
            held += chosen[-1]["duration"]
        if held >= seconds:
            yield chosen, waves
            chosen, waves, held = [], [], 0.0
    if chosen:
        yield chosen, waves


class Archive(ABC):
    """An archive being written: takes features [T, C] of cuts, gives the cuts back with their place in it."""

    storage_type: str  # Lhotse's name
    ending: str

    def __init__(self, file: IO[bytes], path: Path, options: FeatureOptions, extractor: str) -> None:
        """Write to `file`, which will be known as `path`."""
        self.file, self.path, self.options, self.extractor = file, path, options, extractor

    @abstractmethod
    def store(self, features: "np.ndarray") -> str:
        """Write features float32 [T, C]; returns the key by which Lhotse finds them."""

    def finish(self) -> None:
        """The last one has been added."""
        return

    def add(self, cut: dict[str, Any], features: "np.ndarray") -> dict[str, Any]:
        expected = num_frames(round(cut["duration"] * self.options.sampling_rate), self.options)
        if len(features) != expected:
            raise EgretError(f"{cut['id']}: {len(features)} frames where {expected} are due; check the recording")
        place = {
            "type": f"{self.extractor}-{self.options.name}",
            "num_frames": len(features),
            "num_features": features.shape[1],
            "frame_shift": self.options.frame_shift,
            "sampling_rate": self.options.sampling_rate,
            "start": cut["start"],
            "duration": cut["duration"],
            "storage_type": self.storage_type,
            "storage_path": str(self.path),
            "storage_key": self.store(features),
            "recording_id": cut["recording"]["id"],
            "channels": cut["channel"],
        }
        return {**cut, "features": place}


class LilcomArchive(Archive):
    """The format is that of Lhotse's LilcomChunkyWriter, which cannot write under a temporary name."""

    storage_type, ending = "lilcom_chunky", ".lca"

    def store(self, features: "np.ndarray") -> str:
        import lilcom

        key = [self.file.tell()]
        for first in range(0, len(features), CHUNK_FRAMES):
            # lilcom overwrites what it compresses. Its regression saves 1 % of the space and takes 1.6 times as long.
            part = features[first : first + CHUNK_FRAMES].copy()
            chunk = lilcom.compress(part, tick_power=TICK_POWER, do_regression=False)
            key.append(self.file.write(chunk))
        return ",".join(map(str, key))


class Float16Archive(Archive):
    """What Lhotse's NumpyHdf5Writer writes, in half the precision."""

    storage_type, ending = "numpy_hdf5", ".h5"

    def __init__(self, file: IO[bytes], path: Path, options: FeatureOptions, extractor: str) -> None:
        super().__init__(file, path, options, extractor)
        self.writer = hdf5.Writer(file)

    def store(self, features: "np.ndarray") -> str:
        import torch  # its conversion takes a ninth of NumPy's time

        values = torch.from_numpy(features).clamp(-hdf5.LARGEST, hdf5.LARGEST)
        return self.writer.add(values.half().numpy())

    def finish(self) -> None:
        self.writer.finish()


ARCHIVES: dict[str, type[Archive]] = {"lilcom": LilcomArchive, "float16": Float16Archive}


def load_features(cut: dict[str, Any]) -> "np.ndarray":
    """Features float32 [T, C] of a cut that stage 1 has given some.

    Raises:
      EgretError: the archive is gone or truncated.
    """
    place = cut["features"]
    kind, path, key = place["storage_type"], place["storage_path"], place["storage_key"]
    try:
        if kind == LilcomArchive.storage_type:
            return _read_lilcom(path, key)
        if kind == Float16Archive.storage_type and key.startswith(hdf5.PREFIX):
            return _read_float16(path, key, place["num_frames"], place["num_features"])
        if kind in shar.FEATURES.values():
            return _read_member(kind, path, key)
        from lhotse.features.io import get_reader

        return get_reader(kind)(path).read(key).astype("float32", copy=False)
    except FileNotFoundError:
        # Paths in a recipe's manifests are relative to its folder.
        where = "" if Path(path).is_absolute() else f"go to the folder that it is relative to, not {Path.cwd()}, or "
        raise EgretError(
            f"{path}: no such archive, in which {cut['id']} has its features; {where}run stage 1 again"
        ) from None
    except (KeyError, ValueError, OSError, EOFError) as error:  # KeyError: h5py has no dataset of that name
        raise EgretError(
            f"{path}: the features of {cut['id']} cannot be read ({error}); run stage 1 again with --force"
        ) from None


def _read_lilcom(path: str, key: str) -> "np.ndarray":
    import lilcom
    import numpy as np

    offset, *lengths = map(int, key.split(","))
    with open(path, "rb") as file:
        file.seek(offset)
        chunks = [file.read(length) for length in lengths]
    if list(map(len, chunks)) != lengths:
        raise EOFError("the archive ends before they do")
    return np.concatenate([lilcom.decompress(chunk) for chunk in chunks])


def _read_float16(path: str, key: str, frames: int, features: int) -> "np.ndarray":
    import torch

    return torch.from_numpy(hdf5.read(path, key, frames, features)).float().numpy()


def _read_member(kind: str, path: str, key: str) -> "np.ndarray":
    """Of a shard of Lhotse's Shar format."""
    import io

    import numpy as np

    data = shar.read_member(path, key)
    if kind == shar.FEATURES["npy"]:
        return np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32, copy=False)
    import lilcom

    return lilcom.decompress(data)

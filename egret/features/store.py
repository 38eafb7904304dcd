"""Features on disk: a Lhotse lilcom archive per part and job, beside the manifest that points into it.

Stored values are off by at most 1/64 (lilcom with tick power -5: a step of 1/32). Lhotse reads the archives, and
the archives of others are read through Lhotse; those of our own without, whose import takes half a second.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from egret.base.errors import EgretError
from egret.corpus import audio
from egret.features.extractor import FbankOptions, num_frames, shortest
from egret.features.speed import perturb, perturb_cut

if TYPE_CHECKING:
    import numpy as np

TICK_POWER = -5
STORAGE_TYPE = "lilcom_chunky"
CHUNK_FRAMES = 500  # what Lhotse's LilcomChunkyReader takes for granted
Batch = tuple[list[dict[str, Any]], list["np.ndarray"]]


def load_samples(cut: dict[str, Any], options: FbankOptions) -> "np.ndarray":
    """Samples float32 [S] of a cut.

    Raises:
      EgretError: the recording is gone or has changed since stage 0 read it, is too short, has another sampling
        rate than the features are to be made of, or is one of Lhotse's that are transformed as they are read.
    """
    rate = cut["recording"]["sampling_rate"]
    if cut["recording"].get("transforms"):
        raise EgretError(f"{cut['id']}: its recording is to be transformed as it is read; give the cuts of stage 0")
    if rate != options.sampling_rate:
        raise EgretError(
            f"{cut['id']}: {rate} samples a second where --fbank.sampling-rate is {options.sampling_rate}; "
            f"give the corpus' own"
        )
    try:
        samples, _ = audio.load(cut)
    except audio.BadAudio as error:
        source = cut["recording"]["sources"][0]["source"]
        raise EgretError(f"{cut['id']} ({source}): {error}; run stage 0 again") from None
    if len(samples) < shortest(options):
        raise EgretError(
            f"{cut['id']}: {len(samples)} samples are less than half a frame; drop it in stage 0 (--min-duration)"
        )
    return samples


def batches(
    cuts: list[dict[str, Any]], options: FbankOptions, speeds: Sequence[float] = (1.0,), seconds: float = 30.0
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


class Archive:
    """A lilcom archive being written: takes features [T, C] of cuts, gives the cuts back with their place in it.

    The format is that of Lhotse's LilcomChunkyWriter, which reads it back; the writer itself cannot write
    under a temporary name.
    """

    def __init__(self, file: IO[bytes], path: Path, options: FbankOptions, extractor: str) -> None:
        """Write to `file`, which will be known as `path`."""
        self.file, self.path, self.options, self.extractor = file, path, options, extractor

    def add(self, cut: dict[str, Any], features: "np.ndarray") -> dict[str, Any]:
        import lilcom

        expected = num_frames(round(cut["duration"] * self.options.sampling_rate), self.options)
        if len(features) != expected:
            raise EgretError(f"{cut['id']}: {len(features)} frames where {expected} are due; check the recording")
        offset = self.file.tell()
        key = [offset]
        for first in range(0, len(features), CHUNK_FRAMES):
            # lilcom overwrites what it compresses. Its regression saves 1 % of the space and takes 1.6 times as long.
            part = features[first : first + CHUNK_FRAMES].copy()
            chunk = lilcom.compress(part, tick_power=TICK_POWER, do_regression=False)
            key.append(self.file.write(chunk))
        place = {
            "type": f"{self.extractor}-fbank",
            "num_frames": len(features),
            "num_features": features.shape[1],
            "frame_shift": self.options.frame_shift,
            "sampling_rate": self.options.sampling_rate,
            "start": cut["start"],
            "duration": cut["duration"],
            "storage_type": STORAGE_TYPE,
            "storage_path": str(self.path),
            "storage_key": ",".join(map(str, key)),
            "recording_id": cut["recording"]["id"],
            "channels": cut["channel"],
        }
        return {**cut, "features": place}


def load_features(cut: dict[str, Any]) -> "np.ndarray":
    """Features float32 [T, C] of a cut that stage 1 has given some.

    Raises:
      EgretError: the archive is gone or truncated.
    """
    place = cut["features"]
    try:
        if place["storage_type"] == STORAGE_TYPE:
            return _read(place["storage_path"], place["storage_key"])
        from lhotse.features.io import get_reader

        return get_reader(place["storage_type"])(place["storage_path"]).read(place["storage_key"])
    except FileNotFoundError:
        raise EgretError(f"{place['storage_path']}: no such archive of features; run stage 1 again") from None
    except (ValueError, OSError, EOFError) as error:
        raise EgretError(
            f"{place['storage_path']}: the features of {cut['id']} cannot be read ({error}); "
            f"run stage 1 again with --force"
        ) from None


def _read(path: str, key: str) -> "np.ndarray":
    import lilcom
    import numpy as np

    offset, *lengths = map(int, key.split(","))
    with open(path, "rb") as file:
        file.seek(offset)
        chunks = [file.read(length) for length in lengths]
    if list(map(len, chunks)) != lengths:
        raise EOFError("the archive ends before they do")
    return np.concatenate([lilcom.decompress(chunk) for chunk in chunks])

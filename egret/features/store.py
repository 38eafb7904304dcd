"""Features on disk: a Lhotse lilcom archive per part and job, beside the manifest that points into it.

Stored values are off by at most 1/64 (lilcom with tick power -5: a step of 1/32).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from egret.base.errors import EgretError
from egret.corpus import audio
from egret.features.extractor import FbankOptions, num_frames

if TYPE_CHECKING:
    import numpy as np

TICK_POWER = -5
CHUNK_FRAMES = 500  # what Lhotse's LilcomChunkyReader takes for granted
Batch = tuple[list[dict[str, Any]], list["np.ndarray"]]


def load_samples(cut: dict[str, Any]) -> "np.ndarray":
    """Samples float32 [S] of a cut.

    Raises:
      EgretError: the recording is gone or has changed since stage 0 read it.
    """
    try:
        return audio.load(cut)[0]
    except audio.BadAudio as error:
        raise EgretError(f"{cut['id']}: {error}; run stage 0 again") from None


def batches(cuts: list[dict[str, Any]], seconds: float = 600.0) -> Iterator[Batch]:
    """Cuts with their samples, so many that about `seconds` of speech are in memory at once."""
    chosen: list[dict[str, Any]] = []
    waves, held = [], 0.0
    for cut in cuts:
        chosen.append(cut)
        waves.append(load_samples(cut))
        held += cut["duration"]
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
        from lhotse.features.compression import lilcom_compress_chunked

        expected = num_frames(round(cut["duration"] * self.options.sampling_rate), self.options)
        if len(features) != expected:
            raise EgretError(f"{cut['id']}: {len(features)} frames where {expected} are due; check the recording")
        offset = self.file.tell()
        # lilcom overwrites what it compresses.
        chunks = lilcom_compress_chunked(features.copy(), tick_power=TICK_POWER, chunk_size=CHUNK_FRAMES)
        key = [offset, *(self.file.write(chunk) for chunk in chunks)]
        place = {
            "type": f"{self.extractor}-fbank",
            "num_frames": len(features),
            "num_features": features.shape[1],
            "frame_shift": self.options.frame_shift,
            "sampling_rate": self.options.sampling_rate,
            "start": cut["start"],
            "duration": cut["duration"],
            "storage_type": "lilcom_chunky",
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
    from lhotse.features.io import get_reader

    place = cut["features"]
    try:
        return get_reader(place["storage_type"])(place["storage_path"]).read(place["storage_key"])
    except FileNotFoundError:
        raise EgretError(f"{place['storage_path']}: no such archive of features; run stage 1 again") from None
    except (ValueError, OSError, EOFError) as error:
        raise EgretError(
            f"{place['storage_path']}: the features of {cut['id']} cannot be read ({error}); "
            f"run stage 1 again with --force"
        ) from None

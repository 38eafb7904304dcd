"""Reading recordings with libsndfile: WAV, FLAC, Ogg, MP3, AIFF and NIST SPHERE, without torch and Lhotse.

libsndfile decodes neither shorten nor wavpack inside SPHERE, nor MP4, AAC or WMA. A WAV, AIFF or SPHERE file
that was cut off reads there like a shorter one, so its header is compared with its size here. A truncated Ogg
file cannot be told from a shorter one.
"""

import errno
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from egret.corpus.cuts import Cut

BLOCK = 1 << 20  # frames decoded at a time, so that an hour of speech takes no more memory than a minute
EXTENT = tuple[float, float | None, int]


class BadAudio(Exception):
    """A recording that cannot be used: a short reason to count by, and the details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Recording:
    """What reading a recording to its end has shown; `faults` has one entry for each extent asked about, `crc32` is
    the checksum of the samples."""

    sampling_rate: int
    channels: int
    frames: int
    faults: list[str | None]
    crc32: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sampling_rate


def scan(path: Path, extents: Sequence[EXTENT]) -> Recording:
    """Decode a whole recording and look at the samples of each extent (start and end in seconds, channel).

    An extent's fault is "all zeros", "NaN or Inf", or None.

    Raises:
      BadAudio: missing, empty, truncated or unreadable.
    """
    import numpy as np

    with _open(path) as audio:
        rate, channels, announced = audio.samplerate, audio.channels, audio.frames
        # Integers are half the memory and cannot be NaN.
        floating = audio.subtype in ("FLOAT", "DOUBLE")
        spans = [
            (round(start * rate), announced if end is None else round(end * rate), channel)
            for start, end, channel in extents
        ]
        sound = [False] * len(spans)
        broken = [False] * len(spans)
        frames = checksum = 0
        for block in _blocks(audio, path, "float32" if floating else "int16"):
            for place, (first, last, channel) in enumerate(spans):
                if channel < channels and first < frames + len(block) and last > frames:
                    part = block[max(0, first - frames) : last - frames, channel]
                    broken[place] = broken[place] or (floating and not np.isfinite(part).all())
                    sound[place] = sound[place] or bool(part.any())
            frames += len(block)
            checksum = zlib.crc32(block.data, checksum)
    if frames < announced < 1 << 62:  # where a stream does not know its length libsndfile says 2^63 - 1
        raise BadAudio("truncated", f"ends after {frames} of {announced} samples")
    if frames == 0:
        raise BadAudio("empty", "no samples")
    faults = ["NaN or Inf" if bad else None if some else "all zeros" for bad, some in zip(broken, sound, strict=True)]
    return Recording(rate, channels, frames, faults, checksum)


def load(cut: "Cut") -> "tuple[np.ndarray, int]":
    """The samples of a cut, float32 in [-1, 1] of shape (samples,), and its sampling rate.

    Raises:
      BadAudio: missing, empty, truncated or unreadable.
    """
    recording = cut["recording"]
    rate = recording["sampling_rate"]
    first = round(cut["start"] * rate)
    count = round(cut["duration"] * rate)
    path = Path(recording["sources"][0]["source"])
    with _open(path) as audio:
        import soundfile

        try:
            audio.seek(first)
            samples = audio.read(count, dtype="float32", always_2d=True)[:, cut["channel"]]
        except (soundfile.LibsndfileError, IndexError) as error:
            raise BadAudio("unreadable", f"{path}: {error}") from error
    if len(samples) != count or audio.samplerate != rate:
        raise BadAudio("truncated", f"{path}: has changed since stage 0")
    return samples, rate


def _open(path: Path) -> Any:
    """A soundfile.SoundFile.

    Raises:
      BadAudio: missing, empty, truncated, or nothing that libsndfile reads.
    """
    import soundfile

    try:
        with open(path, "rb") as raw:
            _check_header(raw)
    except FileNotFoundError:
        raise BadAudio("missing", "no such file") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise BadAudio("unreadable", error.strerror or str(error)) from error
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise BadAudio("unreadable", _message(error)) from error


def _blocks(audio: Any, path: Path, dtype: str) -> "Iterator[np.ndarray]":
    import soundfile

    while True:
        try:
            block = audio.read(BLOCK, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadAudio("unreadable", _message(error)) from error
        if not len(block):
            return
        yield block


def _message(error: Any) -> str:
    return f"libsndfile: {error.error_string.strip().rstrip('.')}"


def _check_header(raw: IO[bytes]) -> None:
    """Compare the length that a WAV, AIFF or SPHERE header announces with the file's size.

    Raises:
      BadAudio: an empty file, one that was cut off, or a SPHERE coding that libsndfile does not know.
    """
    size = os.fstat(raw.fileno()).st_size
    if size == 0:
        raise BadAudio("empty", "a file of 0 bytes")
    head = raw.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        _check_chunks(raw, size, b"data", "little")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        _check_chunks(raw, size, b"SSND", "big")
    elif head[:7] == b"NIST_1A":
        _check_sphere(head + raw.read(4084), size)


def _check_chunks(raw: IO[bytes], size: int, wanted: bytes, order: Any) -> None:
    while len(head := raw.read(8)) == 8:
        length = int.from_bytes(head[4:], order)
        start = raw.tell()
        if head[:4] == wanted:
            # A program that writes to a pipe leaves 0 or the largest number for "to the end".
            if length < 0x7FFFF000 and start + length > size:
                raise BadAudio("truncated", f"has {size - start} of {length} bytes of samples")
            return
        raw.seek(start + length + length % 2)
    raise BadAudio("truncated", "ends before its samples begin")


def _check_sphere(head: bytes, size: int) -> None:
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\n")[2:]:
        if line.startswith(b"end_head"):
            break
        name, _, value = line.partition(b" ")
        fields[name] = value.split(b" ", 1)[-1]
    coding = fields.get(b"sample_coding", b"pcm").decode("ascii", "replace")
    if "," in coding:
        advice = "libsndfile cannot decode it; convert it with sph2pipe -f wav"
        raise BadAudio("unreadable", f"NIST SPHERE coded as {coding}: {advice}")
    try:
        names = (b"sample_count", b"channel_count", b"sample_n_bytes")
        samples, channels, width = (int(fields[name]) for name in names)
        start = int(head.split(b"\n", 2)[1])
    except (KeyError, ValueError, IndexError):
        return  # libsndfile knows better what it can do with it
    if start + samples * channels * width > size:
        raise BadAudio("truncated", f"has {max(0, size - start)} of {samples * channels * width} bytes of samples")

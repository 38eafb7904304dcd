"""Reading recordings with libsndfile: WAV, FLAC, Ogg, MP3, AIFF and NIST SPHERE, without torch and Lhotse.

libsndfile decodes neither shorten nor wavpack inside SPHERE, nor MP4, AAC or WMA. A WAV, AIFF, SPHERE or Ogg
file that was cut off reads there like a shorter one, and it skips damaged Ogg pages, so what the headers say is
compared with what is there. Plain PCM whose bytes were changed shows only in a SPHERE file, by its checksum.
"""

import errno
import io
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from egret.corpus import shar

if TYPE_CHECKING:
    import numpy as np

    from egret.corpus.cuts import Cut

BLOCK = 1 << 20  # frames decoded at a time, so that an hour of speech takes no more memory than a minute
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # each byte with its bits in the other order
LOUDEST = 1e6  # of floating-point samples, whose full scale is 1; some write 32768. Features of 1e19 are infinite.
EXTENT = tuple[float, float | None, int]


class BadAudio(Exception):
    """A recording that cannot be used: a short reason to count by, and the details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Recording:
    """What reading a recording has shown; `faults` has one entry for each extent asked about, `mark` tells one content
    from another: the checksum of the samples, or size and time of the file where they were not read."""

    sampling_rate: int
    channels: int
    frames: int
    faults: list[str | None]
    mark: dict[str, int]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sampling_rate


def scan(path: Path, extents: Sequence[EXTENT]) -> Recording:
    """Decode a whole recording and look at the samples of each extent (start and end in seconds, channel).

    An extent's fault is "all zeros", "constant", "NaN or Inf", "out of range", or None.

    Raises:
      BadAudio: missing, empty, truncated, damaged or unreadable.
    """
    import numpy as np

    with _open(path) as raw:
        promised_sum = _check_file(raw)
        with _decoder(raw) as audio:
            _check_log(audio)
            rate, channels, announced = audio.samplerate, audio.channels, audio.frames
            # Integers are half the memory and cannot be NaN.
            floating = audio.subtype in ("FLOAT", "DOUBLE")
            spans = [
                (round(start * rate), announced if end is None else round(end * rate), channel)
                for start, end, channel in extents
            ]
            values: list[Any] = [None] * len(spans)  # the first sample of each
            sound = [False] * len(spans)
            peaks = [0.0] * len(spans)  # of floating-point samples; NaN where one of them is
            frames = checksum = total = 0
            for block in _blocks(audio, "float32" if floating else "int16"):
                for place, (first, last, channel) in enumerate(spans):
                    if channel < channels and max(first, frames) < min(last, frames + len(block)):
                        part = block[max(0, first - frames) : last - frames, channel]
                        values[place] = part[0] if values[place] is None else values[place]
                        if floating:
                            peaks[place] = float(np.maximum(peaks[place], np.abs(part).max()))
                        sound[place] = sound[place] or bool((part != values[place]).any())
                frames += len(block)
                checksum = zlib.crc32(block.data, checksum)
                total += 0 if promised_sum is None else int(block.sum(dtype=np.int16))  # modulo 65536
    if frames < announced < 1 << 62:  # where a stream does not know its length libsndfile says 2^63 - 1
        raise BadAudio("truncated", f"ends after {frames} of {announced} samples")
    if frames == 0:
        raise BadAudio("empty", "no samples")
    if promised_sum is not None and total % 65536 != promised_sum:
        raise BadAudio("damaged", f"its samples sum to {total % 65536} where its header says {promised_sum}")
    faults = [_fault(*found) for found in zip(peaks, sound, values, strict=True)]
    return Recording(rate, channels, frames, faults, {"crc32": checksum})


def measure(path: Path, extents: Sequence[EXTENT]) -> Recording:
    """Like `scan`, but by the headers alone: what is wrong with the samples is not found.

    Raises:
      BadAudio: missing, empty, unreadable, plainly truncated, or without its length in its header.
    """
    with _open(path) as raw:
        _check_file(raw, pages=False)
        with _decoder(raw) as audio:
            _check_log(audio)
            rate, channels, frames = audio.samplerate, audio.channels, audio.frames
        state = os.fstat(raw.fileno())
    if frames >= 1 << 62:
        raise BadAudio("unknown length", "its header does not say how long it is; --check-audio full reads it")
    if frames == 0:
        raise BadAudio("empty", "no samples")
    mark = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    return Recording(rate, channels, frames, [None] * len(extents), mark)


def _fault(peak: float, sound: bool, value: Any) -> str | None:
    """What is wrong with samples of this peak, `sound` where they differ, else all `value`."""
    if not math.isfinite(peak):
        return "NaN or Inf"
    if peak > LOUDEST:
        return "out of range"
    return None if sound else "constant" if value else "all zeros"


def load(cut: "Cut") -> "tuple[np.ndarray, int]":
    """The samples of a cut, float32 in [-1, 1] of shape (samples,), and its sampling rate.

    Raises:
      BadAudio: missing, empty, unreadable, or not what stage 0 read.
    """
    recording = cut["recording"]
    rate = recording["sampling_rate"]
    count = round(cut["duration"] * rate)
    source = recording["sources"][0]
    path = Path(source["source"])
    samples, found = read(path, round(cut["start"] * rate), count, cut["channel"], source.get("key", ""))
    if len(samples) != count or found != rate:
        raise BadAudio("truncated", f"{path}: is not what stage 0 found it to be")
    return samples, rate


def read(path: Path, first: int, count: int, channel: int | None = None, key: str = "") -> "tuple[np.ndarray, int]":
    """Samples `first` to before `first + count` of a recording, or as many of them as there are: float32 in [-1, 1] of
    shape (samples,) of one channel, (samples, channels) of all; and its sampling rate. With `key` the recording lies at
    that place in a shard (`egret.corpus.shar`).

    Raises:
      BadAudio: missing, empty, unreadable, without that channel, or with samples that nobody can use.
    """
    with _open(path, key) as raw, _decoder(raw) as audio:
        import numpy as np
        import soundfile

        whole = audio.subtype == "PCM_16"  # scaled here, to the same bits: libsndfile takes twice as long
        chosen = slice(None) if channel is None else channel
        try:
            if first:
                audio.seek(first)
            samples = audio.read(count, dtype="int16" if whole else "float32", always_2d=True)[:, chosen]
            if whole:
                samples = samples.astype(np.float32)
                samples *= np.float32(1 / 32768)
        except (soundfile.LibsndfileError, IndexError) as error:
            raise BadAudio("unreadable", f"{path}: {error}") from error
        rate = audio.samplerate
    if not whole and not np.abs(samples).max(initial=0) <= LOUDEST:
        raise BadAudio("out of range", f"{path}: has samples that are not numbers, or beyond {LOUDEST:g}")
    return samples, rate


def header(path: Path) -> tuple[int, int]:
    """Sampling rate and number of channels, as a recording's header says.

    Raises:
      BadAudio: missing, empty or unreadable.
    """
    with _open(path) as raw:
        _check_file(raw)
        with _decoder(raw) as audio:
            return audio.samplerate, audio.channels


def blocks(path: Path) -> "Iterator[np.ndarray]":
    """A recording piece by piece, float32 of shape (samples, channels); `scan` says beforehand whether it is whole.

    Raises:
      BadAudio: missing or unreadable.
    """
    with _open(path) as raw, _decoder(raw) as audio:
        yield from _blocks(audio, "float32")


def _open(path: Path, key: str = "") -> IO[bytes]:
    """A recording as bytes.

    Raises:
      BadAudio: missing, or not to be read.
    """
    try:
        return io.BytesIO(shar.read_member(path, key)) if key else open(path, "rb")
    except FileNotFoundError:
        raise BadAudio("missing", "no such file") from None
    except EOFError as error:
        raise BadAudio("truncated", str(error)) from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise BadAudio("unreadable", error.strerror or str(error)) from error


def _decoder(raw: IO[bytes]) -> Any:
    """A soundfile.SoundFile of an open file; by its handle, for libsndfile takes a name as a hint at the format, or of
    bytes in memory.

    Raises:
      BadAudio: nothing that libsndfile reads.
    """
    import soundfile

    in_memory = isinstance(raw, io.BytesIO)
    if not in_memory:
        os.lseek(raw.fileno(), 0, os.SEEK_SET)
    try:
        return soundfile.SoundFile(raw if in_memory else raw.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        raise BadAudio("unreadable", _message(error)) from error


def _blocks(audio: Any, dtype: str) -> "Iterator[np.ndarray]":
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


def _check_log(audio: Any) -> None:
    """What libsndfile notes, and reads on, where the length in the header is not that of the file."""
    if audio.format in ("AU", "CAF", "RF64", "W64"):
        for line in audio.extra_info.splitlines():
            if "(should be" in line:
                raise BadAudio("truncated", f"libsndfile: {' '.join(line.split())}")


def _check_file(raw: IO[bytes], pages: bool = True) -> int | None:
    """Compare what a file's headers say with the file, in an Ogg file those of all its pages unless `pages` is False;
    returns the sum of the samples (modulo 65536) if they say it.

    Raises:
      BadAudio: an empty file, one that was cut off or damaged, or a SPHERE coding that libsndfile does not know.
    """
    size = os.fstat(raw.fileno()).st_size
    if size == 0:
        raise BadAudio("empty", "a file of 0 bytes")
    head = raw.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        _check_chunks(raw, size, b"data", "little")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        _check_chunks(raw, size, b"SSND", "big")
    elif head[:4] == b"OggS" and pages:
        raw.seek(0)
        _check_pages(raw, size)
    elif head[:7] == b"NIST_1A":
        return _check_sphere(head + raw.read(4084), size)
    return None


def _check_chunks(raw: IO[bytes], size: int, wanted: bytes, order: Any) -> None:
    while len(head := raw.read(8)) == 8:
        length = int.from_bytes(head[4:], order)
        start = raw.tell()
        end = start + length + length % 2
        if head[:4] == wanted:
            # A program that writes to a pipe leaves the largest number for "to the end".
            if length < 0x7FFFF000 and start + length > size:
                raise BadAudio("truncated", f"has {size - start} of {length} bytes of samples")
            if size - end > length and not _chunk_name(raw, end):
                raise BadAudio("damaged", f"has {size - start} bytes of samples where its header says {length}")
            return
        raw.seek(end)
    raise BadAudio("truncated", "ends before its samples begin")


def _chunk_name(raw: IO[bytes], place: int) -> bool:
    """Whether there may be a chunk at this place."""
    raw.seek(place)
    return all(32 <= letter < 127 for letter in raw.read(4))


def _check_pages(raw: IO[bytes], size: int) -> None:
    """Walk over the pages of an Ogg file (RFC 3533): each has its number and its checksum, the last one its mark."""
    numbers: dict[bytes, int] = {}  # the latest of each stream
    place, marked = 0, False
    while place < size:
        head = raw.read(27)
        lengths = raw.read(head[26]) if len(head) == 27 else b""
        body = raw.read(sum(lengths))
        if place + 27 > size or place + 27 + head[26] + sum(lengths) > size:
            raise BadAudio("truncated", f"the Ogg page at byte {place} is not whole")
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + lengths + body) != head[22:26]:
            raise BadAudio("damaged", f"the Ogg page at byte {place} has another checksum than it says")
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        if number != numbers.get(stream, number - 1) + 1:
            raise BadAudio("damaged", f"Ogg pages are missing before byte {place}")
        numbers[stream] = number
        marked = bool(head[5] & 4)
        place = raw.tell()
    if not marked:
        raise BadAudio("truncated", "its last Ogg page is not marked as the last one")


def _ogg_checksum(page: bytes) -> bytes:
    """Ogg's CRC by zlib's: the same polynomial, which begins and ends with ones and takes bits from the other end."""
    crc = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(REVERSED)


def _check_sphere(head: bytes, size: int) -> int | None:
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\n")[2:]:
        if line.startswith(b"end_head"):
            break
        name, _, value = line.strip().partition(b" ")
        fields[name] = value.split(b" ", 1)[-1]
    coding = fields.get(b"sample_coding", b"pcm").decode("ascii", "replace")
    if "," in coding:
        advice = "libsndfile cannot decode it; convert it with sph2pipe -f wav"
        raise BadAudio("unreadable", f"NIST SPHERE coded as {coding}: {advice}")
    names = (b"sample_count", b"channel_count", b"sample_n_bytes", b"sample_rate")
    try:
        samples, channels, width, _ = (int(fields[name]) for name in names)
        start = int(head.split(b"\n", 2)[1])
    except (KeyError, ValueError, IndexError):
        wanted = ", ".join(name.decode() for name in names)
        raise BadAudio("damaged", f"its NIST SPHERE header lacks a number; it needs {wanted}") from None
    length, there = samples * channels * width, max(0, size - start)
    if there < length:
        raise BadAudio("truncated", f"has {there} of {length} bytes of samples")
    if there > length + 1024:  # less is padding
        raise BadAudio("damaged", f"has {there} bytes of samples where its header says {length}")
    if coding == "pcm" and width == 2 and fields.get(b"sample_checksum", b"").isdigit():
        return int(fields[b"sample_checksum"])
    return None

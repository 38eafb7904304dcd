"""The sound of an utterance for the page."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from egret.corpus import audio
from egret.report.aligned import note
from egret.report.html import Markup, data_uri, el

PLAYED = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb")  # beginnings of WAV, FLAC, Ogg and MP3


@dataclass
class Allowance:
    """Room on the page for sound, in bytes."""

    left: float

    def __call__(self, size: int) -> bool:
        """Take `size` bytes if there are as many."""
        if size > self.left:
            return False
        self.left -= size
        return True


def flac(cut: dict[str, Any]) -> bytes:
    """A cut's sound as FLAC with 16 bits a sample.

    FLAC because what is heard is to the sample what the model got, at half the size of WAV; every browser plays it
    (Safari from 11), libsndfile always writes it, and unlike MP3 it puts no silence in front, so that the sound keeps
    step with the picture.

    Raises:
      egret.corpus.audio.BadAudio: the recording cannot be read.
    """
    import soundfile

    samples, rate = audio.load(cut)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def inside(cut: dict[str, Any], allowance: Callable[[int], bool]) -> Markup:
    """A player with the sound in the page itself, or a note why there is none.

    Args:
      allowance: takes the size of a sound in bytes and says whether there is still room for it.
    """
    try:
        content = flac(cut)
    except (audio.BadAudio, KeyError) as error:
        why = "the cut names no recording" if isinstance(error, KeyError) else str(error)
        return note(f"No sound: {why}.")
    if not allowance(len(content)):
        return note("No sound: the page has reached the size that --max-audio sets.")
    return el("audio", controls=True, preload="metadata", src=data_uri("audio/flac", content))


def beside(cut: dict[str, Any], page: Path, allowance: Callable[[int], bool]) -> Markup:
    """A player of the recording where it lies, from the cut's start to its end; where a browser cannot play it there,
    as `inside`.

    Args:
      page: the file that the player will be in.
    """
    path = _playable(cut)
    if path is None:
        return inside(cut, allowance)
    address = quote(os.path.relpath(path, page.parent))
    start = float(cut.get("start", 0))
    end = start + float(cut["duration"])
    return el("audio", controls=True, preload="none", src=f"{address}#t={start:.3f},{end:.3f}")


def _playable(cut: dict[str, Any]) -> Path | None:
    """The recording's file where it is one that browsers play and all of its channels are the cut's."""
    recording = cut.get("recording") or {}
    sources = recording.get("sources") or []
    channels = recording.get("channel_ids") or [0]
    if len(sources) != 1 or sources[0].get("type") != "file" or len(channels) > 1 or recording.get("transforms"):
        return None
    path = Path(sources[0]["source"])
    try:
        with open(path, "rb") as content:
            return path if content.read(4).startswith(PLAYED) else None
    except OSError:
        return None

"""Noise from the silent parts of recordings of speech, as KoSpeech takes it for its noise injection: what the rooms and
microphones of a corpus sound like when nobody speaks (Kim et al. 2020, "KoSpeech: Open-Source Toolkit for End-to-End
Korean Speech Recognition").
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.base.errors import EgretError
from egret.corpus import audio
from egret.features.effects import FRAME, loud_stretches

if TYPE_CHECKING:
    import numpy as np

FADE = 0.01  # seconds over which stretches are blended where they are joined, so that no click is heard
PEAK = 0.5  # of what is written: the noise of a good recording would be lost in the rounding to 16 bits
NOTHING = 1 / 32768  # what is no louder than the last bit of 16 is no noise


@dataclass
class Found:
    """What mining has found."""

    utterances: int = 0  # looked at
    with_silence: int = 0  # of them
    recordings: int = 0  # written
    seconds: float = 0.0
    stretches: int = 0
    digital: float = 0.0  # seconds of silence without any noise in it
    recordings_without: list[str] = field(default_factory=list)


def silent_stretches(samples: "np.ndarray", rate: int, top_db: float, shortest: float) -> list[tuple[int, int]]:
    """First and last (excluded) samples of the stretches at least `top_db` below an utterance's loudest frame for
    `shortest` seconds, a frame from the speech on either side."""
    margin = round(FRAME * rate)
    stretches, silent_from = [], 0
    for first, last in [*loud_stretches(samples, rate, top_db).tolist(), (len(samples) + margin, 0)]:
        start = silent_from and silent_from + margin  # where the recording begins there is no speech to keep from
        end = min(first - margin, len(samples))
        if end - start >= max(1, shortest * rate):
            stretches.append((start, end))
        silent_from = last
    return stretches


def mine(
    cuts: Iterable[dict[str, Any]], top_db: float, shortest: float, found: Found
) -> Iterator[tuple[str, Any, int]]:
    """(name, samples float32 [S], sampling rate) of the silence of each recording that has any; counts in `found`.

    Consecutive cuts of one recording count as one; its name is that of the first of them.

    Raises:
      EgretError: a recording is gone or has changed since stage 0 read it.
    """
    for recording, group in groupby(cuts, key=lambda cut: cut["recording"]["id"] if "recording" in cut else ""):
        name, rate, parts = "", 0, []
        for cut in group:
            name = name or cut["id"]
            samples, rate = _load(cut)
            found.utterances += 1
            stretches = [samples[a:b] for a, b in silent_stretches(samples, rate, top_db, shortest)]
            heard = [kept for part in stretches if len(kept := _with_noise(part, round(FRAME * rate)))]
            found.digital += (sum(map(len, stretches)) - sum(map(len, heard))) / rate
            found.with_silence += bool(heard)
            found.stretches += len(heard)
            parts += heard
        if not parts:
            found.recordings_without.append(recording)
            continue
        noise = join(parts, round(FADE * rate))
        found.recordings += 1
        found.seconds += len(noise) / rate
        yield name, noise, rate


def _with_noise(samples: "np.ndarray", frame: int) -> "np.ndarray":
    """A stretch without the frames in which there is no noise, as where an editor has put silence."""
    import numpy as np

    frames = np.split(samples, range(frame, len(samples), frame))
    return np.concatenate([samples[:0], *(each for each in frames if np.abs(each).max() > NOTHING)])


def _load(cut: dict[str, Any]) -> "tuple[np.ndarray, int]":
    if "recording" not in cut or cut["recording"].get("transforms"):
        raise EgretError(f"{cut['id']}: a perturbed or augmented copy; give the cuts of stage 0")
    try:
        return audio.load(cut)
    except audio.BadAudio as error:
        source = cut["recording"]["sources"][0]["source"]
        raise EgretError(f"{cut['id']} ({source}): {error}; run stage 0 again") from None


def join(parts: "list[np.ndarray]", fade: int) -> "np.ndarray":
    """Stretches of noise one after the other, `fade` samples of each blended with the next, at the loudness of PEAK.

    The weights are those of powers, not of amplitudes: what is blended has nothing to do with each other, and would
    else be quieter there.
    """
    import numpy as np

    joined = [parts[0]]
    for part in parts[1:]:
        width = min(fade, len(part), len(joined[-1]))
        rising = np.sqrt((np.arange(width, dtype=np.float32) + 0.5) / max(1, width))
        blend = joined[-1][len(joined[-1]) - width :] * rising[::-1] + part[:width] * rising
        joined[-1] = joined[-1][: len(joined[-1]) - width]
        joined += [blend, part[width:]]
    noise = np.concatenate(joined)
    return noise * np.float32(PEAK / np.abs(noise).max())


def file_name(name: str) -> str:
    """An id as the name of a file."""
    safe = name.replace("%", "%25").replace("/", "%2F")
    return f"{'%2E' + safe[1:] if safe.startswith('.') else safe}.wav"


def write(path: Path, noise: "np.ndarray", rate: int) -> None:
    """Write a mono WAV file of 16 bits."""
    import soundfile

    soundfile.write(path, noise, rate, subtype="PCM_16", format="WAV")

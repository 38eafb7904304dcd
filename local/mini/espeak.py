"""Speech from espeak-ng, by ctypes, from the library inside the PyPI package espeakng-loader.

espeak-ng is licensed under the GPL-3; nothing of Egret but local/mini_corpus.py loads it, in its own process.
Its output depends on what the process has said before, so a clip comes out the same bytes only when the same
clips were said before it: local/mini/corpus.py forks a process for each speaker.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.base.errors import EgretError, nearest

if TYPE_CHECKING:
    import numpy as np

# From espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
RATE, PITCH = 1, 3
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng, perhaps with a variant (`en-us+f3`), its words a minute and pitch (0 to 99)."""

    voice: str
    rate: int = 160
    pitch: int = 50


@cache
def _engine() -> "tuple[Any, int, list[bytes], Any]":
    """The library, its sampling rate, the samples that it hands over, and the callback, which must stay alive.

    Raises:
      EgretError: the package is not installed or the library does not start.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise EgretError("espeakng-loader is not installed; run local/install.sh") from None
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, _data().encode(), 0)
    if rate <= 0:
        raise EgretError(f"espeak-ng does not start (code {rate}); install espeakng-loader again")
    heard: list[bytes] = []

    def keep(samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = CALLBACK(keep)
    library.espeak_SetSynthCallback(callback)
    return library, rate, heard, callback


def _data() -> str:
    import espeakng_loader

    return str(espeakng_loader.get_data_path())


def variants() -> list[str]:
    """The names that may follow a `+` in a voice."""
    return sorted(path.name for path in (Path(_data()) / "voices" / "!v").iterdir())


def say(text: str, speaker: Speaker, seed: int = 1) -> "tuple[np.ndarray, int]":
    """Samples of `text`, int16 of shape (samples,), and their rate in Hz.

    Raises:
      EgretError: there is no such voice, or nothing was said.
    """
    import numpy as np

    library, rate, heard, _ = _engine()
    variant = speaker.voice.partition("+")[2]
    if variant and variant not in variants():  # espeak-ng itself falls back to the plain voice in silence
        raise EgretError(f"--voice {speaker.voice}: espeak-ng has no such variant{nearest(variant, variants())}")
    if library.espeak_SetVoiceByName(speaker.voice.encode()):
        raise EgretError(f"--voice {speaker.voice}: espeak-ng has no such voice; en-us, cmn and ko are some it has")
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    library.espeak_SetParameter(RATE, speaker.rate, 0)
    library.espeak_SetParameter(PITCH, speaker.pitch, 0)
    heard.clear()
    data = text.encode() + b"\0"
    size = ctypes.c_size_t(len(data))
    failed = library.espeak_Synth(ctypes.c_char_p(data), size, 0, 0, 0, CHARS_UTF8, None, None)
    samples = np.frombuffer(b"".join(heard), dtype="<i2")
    if failed or not samples.any():
        raise EgretError(f"espeak-ng says nothing for {text!r} in the voice {speaker.voice}; try another text")
    return samples, rate

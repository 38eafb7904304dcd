"""The sound of an utterance for the page."""

import io
from typing import Any

from egret.corpus import audio


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

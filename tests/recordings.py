"""Recordings of noise, their cuts, and archives of features."""

import numpy as np

from egret.features.store import ARCHIVES

RNG = np.random.default_rng(1)


def recording(folder, name="a", samples=16000, rate=16000, start=0.0, duration=None, channel=0):
    """A cut of a recording of noise."""
    import soundfile

    path = folder / f"{name}.wav"
    if not path.exists():
        soundfile.write(path, RNG.normal(0, 0.1, samples).astype(np.float32), rate, subtype="FLOAT")
    return {
        "id": name,
        "start": start,
        "duration": samples / rate if duration is None else duration,
        "channel": channel,
        "supervisions": [],
        "recording": {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": str(path)}],
            "sampling_rate": rate,
            "num_samples": samples,
            "duration": samples / rate,
            "channel_ids": [0],
        },
        "type": "MonoCut",
    }


def store(folder, pairs, options, storage="lilcom"):
    """Cuts with features in an archive."""
    with open(folder / "archive", "wb") as file:
        archive = ARCHIVES[storage](file, folder / "archive", options, "kaldifeat")
        cuts = [archive.add(cut, features) for cut, features in pairs]
        archive.finish()
        return cuts

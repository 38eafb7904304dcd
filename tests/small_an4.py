"""A corpus of noise in the layout of AN4, made in milliseconds, for the tests of all that goes wrong with data."""

from pathlib import Path

import numpy as np

RATE = 16000
TRAIN = ("fabc", "fdef", "mghi", "mjkl")
TEST = ("fxyz", "mxyz")
TEXTS = ("YES", "NO", "GO NO", "ENTER YES", "YES NO GO", "ENTER")
DICTIONARY = "ENTER  EH N T ER\nENTER(2)  EH N ER\nGO  G OW\nNO  N OW\nYES  Y EH S\n"


def noise(seconds: float = 0.8, seed: int = 1, channels: int = 1) -> np.ndarray:
    """Samples int16 [S, channels]."""
    return (np.random.RandomState(seed).randn(round(seconds * RATE), channels) * 2000).astype("<i2")


def sphere(samples: np.ndarray, rate: int = RATE, announced: int | None = None, more: str = "") -> bytes:
    """A NIST SPHERE file; `announced` samples where its header is not to tell the truth."""
    head = (
        f"NIST_1A\n   1024\nsample_count -i {len(samples) if announced is None else announced}\n"
        f"sample_rate -i {rate}\nsample_n_bytes -i 2\nsample_byte_format -s2 01\n"
        f"channel_count -i {samples.shape[1]}\nsample_coding -s3 pcm\n{more}end_head\n"
    )
    return head.encode().ljust(1024) + samples.tobytes()


def make_corpus(folder: Path, utterances: int = 8) -> Path:
    """Six speakers who say `utterances` texts each, the last two in the test part; returns the folder."""
    for part, speakers, place in (("train", TRAIN, "an4_clstk"), ("test", TEST, "an4test_clstk")):
        ids, lines = [], []
        for speaker in speakers:
            (folder / "wav" / place / speaker).mkdir(parents=True)
            for number in range(utterances):
                name = f"an{number}-{speaker}-b"
                path = folder / "wav" / place / speaker / f"{name}.sph"
                path.write_bytes(sphere(noise(seed=1 + 100 * (TRAIN + TEST).index(speaker) + number)))
                ids.append(f"{place}/{speaker}/{name}\n")
                text = TEXTS[number % len(TEXTS)]
                lines.append(f"<s> {text} </s> ({name})\n" if part == "train" else f"{text} ({name})\n")
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc" / f"an4_{part}.fileids").write_text("".join(ids))
        (folder / "etc" / f"an4_{part}.transcription").write_text("".join(lines))
    (folder / "etc" / "an4.dic").write_text(DICTIONARY)
    return folder


def recording(corpus: Path, name: str) -> Path:
    """The recording of an utterance."""
    return next((corpus / "wav").glob(f"*/*/{name}.sph"))


def replace_text(path: Path, old: str, new: str) -> None:
    """Change a list, a transcription or the dictionary."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

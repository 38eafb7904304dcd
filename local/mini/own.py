"""What somebody might have recorded for themselves: a table of recordings from a telephone, a dictaphone and a studio.

Texts are AN4's in small (mini.an4), written as people write. The table is as spreadsheets save it: with a byte-order
mark, Windows' line ends and quotes where there are commas. Beside it lies the same corpus as a Kaldi data directory.
"""

import csv
import io
from collections.abc import Sequence
from random import Random

from mini import an4
from mini.corpus import Clip, Corpus, Shape

# What it was recorded with: folder, format, sampling rate, channels; in turn.
DEVICES = [
    ("studio", "wav", 44100, 2), ("dictaphone", "flac", 16000, 1), ("telephone", "wav", 8000, 1),
    ("laptop", "flac", 48000, 2), ("headset", "wav", 16000, 1),
]  # fmt: skip
README = """\
Synthetic speech (voices of espeak-ng, texts of our own) in a table and in a Kaldi data directory, as a corpus of one's
own may be. Made by local/mini_corpus.py of Egret; for trying programs only.
"""


def plan(shape: Shape) -> Corpus:
    """Speakers with `utterances` each, dev and test not divided off; one text for each utterance."""
    random = Random(f"own {shape.seed}")
    corpus = Corpus()
    rows: list[Sequence[str]] = []
    for index in range(shape.speakers + shape.test_speakers):
        name, speaker = an4.make_speaker(random, index)
        clips = []
        for place in range(shape.utterances):
            text = an4.new_text(random, place % 2 == 0, set())
            path, rate, channels = recording(name, place)
            pieces = an4.spoken(text)
            clips.append(Clip(path, speaker, pieces, rate, random.randrange(1 << 32), snr=shape.snr, channels=channels))
            rows.append((path, written(text), name))
        corpus.speakers.append(clips)
    corpus.texts = {
        "README": README,
        "table.csv": "\ufeff" + table([("path", "text", "speaker"), *rows]),
        **kaldi_dir(rows),
    }
    return corpus


def recording(name: str, place: int) -> tuple[str, int, int]:
    """Path, sampling rate and channels of a speaker's recording."""
    folder, ending, rate, channels = DEVICES[place % len(DEVICES)]
    return f"recordings/{folder}/{name} {place + 1}.{ending}", rate, channels


def written(text: str) -> str:
    """A sentence as one types it: `Enter, twenty five.`"""
    first, _, rest = text.partition(" ")
    lower = " ".join(word if len(word) == 1 else word.lower() for word in rest.split())
    return f"{first.capitalize()}{',' if first in an4.VERBS else ''} {lower}".strip() + "."


def table(rows: list[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def kaldi_dir(rows: list[Sequence[str]]) -> dict[str, str]:
    """The files of a data directory; one recording in two comes out of a command that decodes it."""
    lines: dict[str, list[str]] = {"kaldi/wav.scp": [], "kaldi/text": [], "kaldi/utt2spk": []}
    for number, (path, text, speaker) in enumerate(rows):
        name = f"{speaker}-{number:04}"
        source = f"flac -c -d -s '{path}' |" if path.endswith(".flac") else path
        for file, value in zip(lines, (source, text, speaker), strict=True):
            lines[file].append(f"{name} {value}\n")
    return {file: "".join(content) for file, content in lines.items()}

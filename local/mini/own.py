"""What somebody might have recorded for themselves: a table of recordings from a telephone, a dictaphone and a studio.

They ask a house to do things, written as people write. The table is as spreadsheets save it: with a byte-order mark,
Windows' line ends and quotes where there are commas. Beside it lies the same corpus as a Kaldi data directory.
"""

import csv
import io
from collections.abc import Sequence
from random import Random

from mini import an4
from mini.corpus import Clip, Corpus, Shape

SWITCHED = ["the light", "the heater", "the radio", "the oven", "the television", "the fan", "the coffee machine"]
MOVED = ["the window", "the door", "the curtain", "the garage", "the gate"]
ROOMS = ["kitchen", "bedroom", "bathroom", "office", "garden", "hall", "living room", "cellar"]
PEOPLE = ["Maria", "Peter", "grandmother", "the doctor", "the neighbour", "my brother", "Susan", "the school"]
PLACES = ["London", "Paris", "Berlin", "Lisbon", "Stockholm", "Vienna", "Toronto"]
NUMBERS = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty",
    "thirty", "forty",
]  # fmt: skip
DAYS = ["today", "tomorrow", "tonight", "on Monday", "on Friday", "on Sunday"]
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
    """Speakers with `utterances` each, dev and test not divided off."""
    random = Random(f"own {shape.seed}")
    corpus = Corpus()
    rows: list[Sequence[str]] = []
    for index in range(shape.speakers + shape.test_speakers):
        name, speaker = an4.make_speaker(random, index)
        clips = []
        for place in range(shape.utterances):
            text = sentence(random)
            path, rate, channels = recording(name, place)
            pieces = [part.lower() for part in text.rstrip(".?").split(", ")]
            clips.append(Clip(path, speaker, pieces, rate, random.randrange(1 << 32), snr=shape.snr, channels=channels))
            rows.append((path, text, name))
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


def sentence(random: Random) -> str:
    """One as it is typed: `Turn off the light in the kitchen, please.`"""
    pick = random.choice
    kind = random.randrange(7)
    if kind < 2:
        return f"Turn {pick(['on', 'off'])} {pick(SWITCHED)} in the {pick(ROOMS)}{pick(['', ', please'])}."
    if kind == 2:
        return f"{pick(['Open', 'Close'])} {pick(MOVED)}{pick(['', ', please'])}."
    if kind == 3:
        return f"Call {pick(PEOPLE)} in {pick(NUMBERS)} {pick(['minutes', 'hours'])}."
    if kind == 4:
        return f"How warm is it in {pick(PLACES)} {pick(DAYS)}?"
    if kind == 5:
        return f"Wake me up at {pick(NUMBERS[:11])} {pick(['fifteen', 'thirty', 'forty five'])} {pick(DAYS)}."
    return f"Remind {pick(PEOPLE)} of {pick(NUMBERS)} appointments {pick(DAYS)}."


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

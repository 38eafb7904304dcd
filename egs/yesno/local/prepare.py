#!/usr/bin/env python3
"""Stage 0 of yesno: find or download the corpus (OpenSLR 1), list its utterances, check them, write cuts.

60 recordings of one speaker saying ken (yes) and lo (no) in Hebrew. The name of a file is its transcript:
1_0_1_1_0_0_1_0.wav is YES NO YES YES NO NO YES NO. Sorted by name, even places (0, 2, ...) are the training
part and odd ones the test part, as in Lhotse's and icefall's recipes.
"""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.log import log
from egret.base.options import runtime
from egret.base.program import main
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import Parts, Utterance, prepare_step
from egret.corpus.published import PublishedOptions, nested, or_by_hand

URL = "http://www.openslr.org/resources/1/waves_yesno.tar.gz"
SHA256 = "c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73"
FOLDER = "waves_yesno"
RECORDINGS = 60
WORDS = {"1": "YES", "0": "NO"}


@dataclass(kw_only=True)
class Options(PublishedOptions):
    url: str = runtime(URL, "where to download from")


def obtain(options: Options) -> None:
    """Download and unpack the corpus, unless it is there.

    Raises:
      EgretError: it cannot be downloaded; says how to go on without.
    """
    if options.corpus or find_waves(options.download) is not None:
        return
    archive = options.download / f"{FOLDER}.tar.gz"
    with or_by_hand(options.url, archive, FOLDER):
        fetch(options.url, archive, sha256=SHA256 if options.url == URL else None)
    unpack(archive, options.download / FOLDER)


def find_waves(folder: Path) -> Path | None:
    """The folder with the recordings, at or up to two levels below `folder`."""
    for place in nested(folder, FOLDER):
        if any(place.glob("[01]_*.wav")):
            return place
    return None


def list_parts(options: Options) -> Parts:
    given = options.given
    folder = find_waves(given)
    if folder is None:
        what = "no recordings such as 1_0_1_1_0_0_1_0.wav in it" if given.is_dir() else "no such folder"
        raise EgretError(f"{given}: {what}; give --corpus DIR, a folder that holds {FOLDER}/ of OpenSLR 1")
    waves = sorted(path for path in folder.glob("*.wav") if not path.name.startswith("."))
    good = [path for path in waves if transcript(path)]
    if len(good) != RECORDINGS:
        log.warning("%s: %d recordings where the corpus has %d: the parts are not the published ones",
                    folder, len(good), RECORDINGS)  # fmt: skip
    train = [utterance(path) for path in good[0::2]]
    train += [utterance(path) for path in waves if not transcript(path)]  # to be rejected and counted
    return {"train": train, "test": [utterance(path) for path in good[1::2]]}


def transcript(path: Path) -> str:
    """The words that a file name stands for, "" where it is not made of 0 and 1."""
    words = [WORDS.get(digit) for digit in path.stem.split("_")]
    return "" if None in words else " ".join(filter(None, words))


def utterance(path: Path) -> Utterance:
    text = transcript(path)
    problem = "" if text else f"the name {path.name} is not a transcript of 0 (no) and 1 (yes) joined by _"
    return Utterance(path.stem, path, text, speaker="yesno", language="Hebrew", problem=problem)


STEP = prepare_step(
    name="prepare_yesno",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/yesno --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

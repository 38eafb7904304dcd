#!/usr/bin/env python3
"""Stage 0 of AN4: find or download the corpus, list its utterances, divide off a dev part, check them, write cuts.

`etc/an4_{train,test}.fileids` and `.transcription` are the lists (egret.corpus.sphinx_lists); the dictionary is left
beside the cuts as `an4.dic`, in UTF-8 whatever it was.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, UsageError, counted, first_few
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus import text_file
from egret.corpus.divide import in_turn
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import Parts, prepare_step
from egret.corpus.published import PublishedOptions, check_words, found_in, nested, or_by_hand
from egret.corpus.sphinx_lists import utterances
from egret.lang.lexicon import VARIANT
from egret.lang.normalise import normalise

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
FOLDER = "an4"
DICTIONARY = "an4.dic"
UNLISTED = f"the dictionary {DICTIONARY} lacks {{}}"
FILES = [*(f"an4_{part}.{kind}" for part in ("train", "test") for kind in ("fileids", "transcription")), DICTIONARY]
DEV_UTTERANCES = 100
DEV_SEED = 1
DEV_SHARE = 6  # the seeded dev part takes at most one in so many training utterances


@dataclass(kw_only=True)
class Options(PublishedOptions):
    url: str = runtime(URL, "where to download from")
    dev: Literal["seeded", "first100"] = option("seeded", "whole speakers, or the first 100 of the training list")
    dev_utterances: int = option(DEV_UTTERANCES, "of --dev seeded, about", minimum=1)
    dev_seed: int = option(DEV_SEED, "of --dev seeded", minimum=0)

    def __post_init__(self) -> None:
        if self.dev != "seeded" and (self.dev_utterances, self.dev_seed) != (DEV_UTTERANCES, DEV_SEED):
            raise UsageError(f"--dev-utterances and --dev-seed go with --dev seeded, not with --dev {self.dev}")


def obtain(options: Options) -> None:
    """Download and unpack the corpus, unless it is there.

    Raises:
      EgretError: it cannot be downloaded, or is something else; says how to go on.
    """
    if options.corpus or find_corpus(options.download):
        return
    archive = options.download / "an4_sphere.tar.gz"
    with or_by_hand(options.url, archive, FOLDER):
        fetch(options.url, archive)
    # No checksum is published; what is in the archive tells whether it is the right one.
    try:
        unpack(archive, options.download / FOLDER)
    except EgretError as error:
        raise EgretError(f"{error}: remove {archive} first, for a file that is there is not fetched again") from None
    if not find_corpus(options.download):
        raise EgretError(f"{archive}: not the AN4 corpus, there is no etc/{FILES[0]} in it; remove it, check --url")


def find_corpus(folder: Path) -> Path | None:
    """The folder that holds etc/ and wav/, at or up to two levels below `folder`."""
    for place in nested(folder, FOLDER):
        if any((place / "etc" / name).is_file() for name in FILES):
            return place
    return None


def corpus_of(options: Options) -> Path:
    """The folder of the corpus.

    Raises:
      EgretError: there is none, or files are missing in it; names them.
    """
    lacks = f"no etc/{FILES[0]} in it or in {FOLDER}/"
    folder = found_in(options.given, find_corpus, lacks, f"{FOLDER}/ of CMU's AN4")
    missing = [f"etc/{name}" for name in FILES if not (folder / "etc" / name).is_file()]
    missing += [] if (folder / "wav").is_dir() else ["wav/"]
    if missing:
        raise EgretError(f"{folder}: lacks {first_few(missing, 6)}; unpack the whole of an4_sphere.tar.gz")
    return folder


read_text = cache(partial(text_file.read_text, fallback="latin-1"))


def list_parts(options: Options) -> Parts:
    folder = corpus_of(options)
    known = {normalise(word, options.normaliser) for word in dictionary_words(read_text(folder / "etc" / DICTIONARY))}
    parts: Parts = {}
    for part in ("train", "test"):
        fileids, transcription = (folder / "etc" / f"an4_{part}.{kind}" for kind in ("fileids", "transcription"))
        parts[part] = utterances(fileids, transcription, folder / "wav", "English", read_text)
        # In the test part such a word is an error of the recogniser's, so the utterance stays.
        if part == "train":
            parts[part] = [check_words(each, known, options.normaliser, UNLISTED) for each in parts[part]]
    return divide(parts, options)


def dictionary_words(text: str) -> set[str]:
    """The words of a dictionary, numbered variants such as A(2) under their word."""
    return {VARIANT.sub("", line.split()[0]) for line in text.split("\n") if line.strip()}


def divide(parts: Parts, options: Options) -> Parts:
    """The same with `dev` taken from `train`."""
    train = parts["train"]
    if options.dev == "first100":
        if len(train) <= DEV_UTTERANCES:
            raise EgretError(f"--dev first100: the training list has only {len(train)} utterances; use --dev seeded")
        return {"train": train[DEV_UTTERANCES:], "dev": train[:DEV_UTTERANCES], "test": parts["test"]}
    listed = [each for each in train if each.speaker]
    chosen = dev_speakers({each.speaker for each in listed} - {each.speaker for each in parts["test"]}, len(listed),
                          options.dev_utterances, options.dev_seed)  # fmt: skip
    return {
        "train": [each for each in train if each.speaker not in chosen],
        "dev": [each for each in train if each.speaker in chosen],
        "test": parts["test"],
    }


def dev_speakers(speakers: set[str], utterances: int, wanted: int, seed: int) -> set[str]:
    """Speakers with about `wanted` of the `utterances` of all, as many women (f...) as men (m...) as far as there are.

    How many utterances each speaker has does not matter, only how many there are of all.

    Raises:
      EgretError: too few speakers to divide.
    """
    if len(speakers) < 2:
        raise EgretError(
            f"--dev seeded: {counted(len(speakers), 'training speaker')} cannot be divided; use --dev first100"
        )
    each_says = utterances / len(speakers)
    number = max(1, round(min(wanted, utterances / DEV_SHARE) / each_says))
    return set(in_turn(speakers, lambda name: name[0].lower(), seed)[:number])


def dictionary(options: Options) -> dict[str, str]:
    """The dictionary as a file beside the cuts."""
    return {DICTIONARY: read_text(corpus_of(options) / "etc" / DICTIONARY)}


STEP = prepare_step(
    name="prepare_an4",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    more_files=dictionary,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/an4 --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

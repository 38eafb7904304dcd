#!/usr/bin/env python3
"""Stage 0 of AN4: find or download the corpus, list its utterances, divide off a dev part, check them, write cuts.

`etc/an4_{train,test}.fileids` names the recordings and `.transcription` says what is spoken in them, joined by the
utterance's id; the dictionary is left beside the cuts as `an4.dic`, in UTF-8 whatever it was.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import Parts, PrepareOptions, Utterance, prepare_step
from egret.corpus.published import check_words, no_corpus, or_by_hand
from egret.lang.lexicon import VARIANT
from egret.lang.normalise import normalise

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
FOLDER = "an4"
DICTIONARY = "an4.dic"
FILES = [*(f"an4_{part}.{kind}" for part in ("train", "test") for kind in ("fileids", "transcription")), DICTIONARY]
AUDIO = (".sph", ".wav")
MARKS = {"<s>", "</s>", "<sil>"}  # silences, not words
DEV_UTTERANCES = 100
DEV_SEED = 1
DEV_SHARE = 6  # the seeded dev part takes at most one in so many training utterances


@dataclass(kw_only=True)
class Options(PrepareOptions):
    download: Path = runtime(Path("download"), "folder to download into when there is no --corpus")
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
    for place in (folder, folder / FOLDER, folder / FOLDER / FOLDER):
        if any((place / "etc" / name).is_file() for name in FILES):
            return place
    return None


def corpus_of(options: Options) -> Path:
    """The folder of the corpus.

    Raises:
      EgretError: there is none, or files are missing in it; names them.
    """
    given = Path(options.corpus or options.download)
    folder = find_corpus(given)
    if folder is None:
        what = no_corpus(given, f"no etc/{FILES[0]} in it or in {FOLDER}/")
        raise EgretError(f"{given}: {what}; give --corpus DIR, the folder {FOLDER}/ of CMU's AN4, or one that holds it")
    missing = [f"etc/{name}" for name in FILES if not (folder / "etc" / name).is_file()]
    missing += [] if (folder / "wav").is_dir() else ["wav/"]
    if missing:
        raise EgretError(f"{folder}: lacks {first_few(missing, 6)}; unpack the whole of an4_sphere.tar.gz")
    return folder


@cache
def read_text(path: Path) -> str:
    """A text file, read once, without byte-order mark and carriage returns, UTF-8 or else Latin-1 (with a warning)."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        log.warning(
            "%s:%d: not UTF-8; the file is read as Latin-1, convert it with iconv if it is not that", path, line
        )
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def numbered(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1."""
    lines = enumerate(read_text(path).split("\n"), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def list_parts(options: Options) -> Parts:
    folder = corpus_of(options)
    known = {normalise(word, options.normaliser) for word in dictionary_words(read_text(folder / "etc" / DICTIONARY))}
    parts: Parts = {}
    for part in ("train", "test"):
        parts[part] = list_part(folder, part)
        # In the test part such a word is an error of the recogniser's, so the utterance stays.
        if part == "train":
            parts[part] = [check_words(each, known, options.normaliser, unlisted) for each in parts[part]]
    return divide(parts, options)


def list_part(folder: Path, part: str) -> list[Utterance]:
    """The utterances of a list in its order, then the transcripts that belong to none of them, to be rejected."""
    ids_file, text_file = (folder / "etc" / f"an4_{part}.{kind}" for kind in ("fileids", "transcription"))
    lines = numbered(ids_file)
    if not lines:
        raise EgretError(f"{ids_file}: names no recordings; unpack the corpus again")
    files = dict.fromkeys(name for _, name in lines)
    bases = Counter(PurePosixPath(name).name for name in files)
    spoken: dict[str, list[tuple[int, str]]] = {}
    stray = []
    for number, line in numbered(text_file):
        text, base = split_transcript(line, bases)
        if base in bases:
            spoken.setdefault(base, []).append((number, text))
        else:
            what = f"is of {base!r}, which {ids_file.name} does not name" if base else "does not end with (utterance)"
            row = Utterance(base or f"{text_file.name}:{number}", text_file, text, "", reason="no recording")
            stray.append(replace(row, problem=f"{text_file}:{number}: {what}"))
    utterances = []
    first: dict[str, int] = {}
    for number, name in lines:
        base = PurePosixPath(name).name
        text, reason, problem = "", "", ""
        if name in first:
            reason, problem = "listed twice", f"{ids_file}:{number}: {name} is on line {first[name]} already"
        else:
            first[name] = number
            text, problem = choose_text(spoken.get(base, []), bases[base], text_file)
            reason = "no transcript"
        utterances.append(make_utterance(folder, name, text, reason, problem))
    return utterances + stray


def split_transcript(line: str, bases: Iterable[str]) -> tuple[str, str]:
    """Words and utterance of `<s> YES </s> (an251-fash-b)`; "" where the line does not end with an utterance.

    A name may have brackets of its own: the longest one that is listed is taken, else the shortest.
    """
    if not line.endswith(")"):
        return line, ""
    starts = [place for place, letter in enumerate(line) if letter == "("]
    for place in starts:
        if line[place + 1 : -1] in bases:
            break
    else:
        if not starts:
            return line, ""
        place = starts[-1]
    return " ".join(word for word in line[:place].split() if word not in MARKS), line[place + 1 : -1].strip()


def choose_text(spoken: list[tuple[int, str]], recordings: int, path: Path) -> tuple[str, str]:
    """The transcript of an utterance and what is wrong with it, from the lines that bear its name."""
    if not spoken:
        return "", f"no line of {path} is about it"
    # Of several recordings with one name only the first is kept, and the first line is taken to be its.
    if recordings == 1 and len({text for _, text in spoken}) > 1:
        return "", f"lines {first_few([str(number) for number, _ in spoken])} of {path} say different things"
    return spoken[0][1], ""


def make_utterance(folder: Path, name: str, text: str, reason: str, problem: str) -> Utterance:
    path = PurePosixPath(name)
    speaker = path.parent.name
    if not speaker and not problem:
        reason, problem = "listing", f"{name!r} has no folder, which names the speaker"
    stem = folder / "wav" / name
    candidates = [stem.with_name(stem.name + ending) for ending in AUDIO]
    audio = next((each for each in candidates if each.is_file()), candidates[0])
    # An id with white space in it could not be told from two in the files of other toolkits.
    name = "_".join(path.name.split())
    return Utterance(name, audio, text, speaker, language="English", problem=problem, reason=reason or "listing")


def unlisted(words: str) -> str:
    return f"the dictionary {DICTIONARY} lacks {words}"


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

    Each sex is put in an order that depends on nothing but names and seed; how many utterances each speaker has
    does not matter, only how many there are of all.

    Raises:
      EgretError: too few speakers to divide.
    """
    if len(speakers) < 2:
        raise EgretError(f"--dev seeded: {len(speakers)} training speakers cannot be divided; use --dev first100")
    by_sex: dict[str, list[str]] = {}
    for speaker in sorted(speakers, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        by_sex.setdefault(speaker[0].lower(), []).append(speaker)
    each_says = utterances / len(speakers)
    number = max(1, round(min(wanted, utterances / DEV_SHARE) / each_says))
    # In turn, the last of a sex only when there is nobody else.
    in_turn = sorted(
        (place + 1 == len(names), place, sex) for sex, names in by_sex.items() for place in range(len(names))
    )
    return {by_sex[sex][place] for _, place, sex in in_turn[:number]}


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

#!/usr/bin/env python3
"""Stage 0 of LibriSpeech: find or download the parts asked for, list and check their utterances, write cuts.

Training parts become one manifest, `train`; each dev and test part keeps its published name, as in `test-clean`. A
part that is both dev and test is divided by chapters, about half of each speaker's, into `dev` and `test`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError, UsageError, first_few, nearest
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus.divide import halves
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import Parts, Utterance, prepare_step
from egret.corpus.published import PublishedOptions, no_corpus

URL = "https://www.openslr.org/resources/12"
FOLDER = "LibriSpeech"
MD5 = {  # as published beside the archives in md5sum.txt
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


@dataclass(kw_only=True)
class Options(PublishedOptions):
    train_parts: list[str] = option(["train-clean-100", "train-clean-360", "train-other-500"], "parts to train on")
    dev_parts: list[str] = option(["dev-clean", "dev-other"], "parts to choose parameters on")
    test_parts: list[str] = option(["test-clean", "test-other"], "parts to test on")
    normaliser: str = option("upper", "what every transcript passes through; they are upper case without punctuation")
    url: str = runtime(URL, "where to download <part>.tar.gz from")

    def __post_init__(self) -> None:
        for role in ("train", "dev", "test"):
            parts = getattr(self, f"{role}_parts")
            if not parts:
                raise UsageError(f"--{role}-parts: name at least one of {', '.join(MD5)}")
            for part in parts:
                if part not in MD5:
                    raise UsageError(f"--{role}-parts {part}: LibriSpeech has no such part{nearest(part, MD5)}; "
                                     f"it has {', '.join(MD5)}")  # fmt: skip
            if len(set(parts)) < len(parts):
                raise UsageError(f"--{role}-parts: names a part twice")
        if both := set(self.train_parts) & {*self.dev_parts, *self.test_parts}:
            raise UsageError(f"{first_few(sorted(both))}: is trained on and cannot be dev or test as well")

    @property
    def parts(self) -> list[str]:
        """All parts asked for, each once."""
        return list(dict.fromkeys([*self.train_parts, *self.dev_parts, *self.test_parts]))


def obtain(options: Options) -> None:
    """Download and unpack the parts that are not there, each resumed where it was cut off and checked by MD5.

    Raises:
      EgretError: one cannot be downloaded, or is something else; says how to go on.
    """
    if options.corpus:
        return
    for part in options.parts:
        if find_part(options.download, part):
            continue
        archive = options.download / f"{part}.tar.gz"
        try:
            fetch(f"{options.url}/{archive.name}", archive, md5=MD5[part])
        except EgretError as error:
            raise EgretError(f"{error}; or give --corpus DIR, a folder that holds {FOLDER}/") from None
        unpack(archive, options.download / part)
        if not find_part(options.download, part):
            raise EgretError(f"{archive}: there is no {FOLDER}/{part} in it; remove it, check --url")


def find_part(folder: Path, part: str) -> Path | None:
    """The folder of a part in the corpus, in the folder that holds the corpus, or where its archive was unpacked."""
    places = (folder / part / FOLDER / part, folder / FOLDER / part, folder / part)
    return next((place for place in places if place.is_dir()), None)


def list_parts(options: Options) -> Parts:
    listed = {part: list_part(folder) for part, folder in folders(options).items()}
    train = [utterance for part in options.train_parts for utterance in listed[part]]
    shared = [part for part in options.dev_parts if part in options.test_parts]
    parts: Parts = {"train": train}
    if shared:
        for part in shared:
            log.info("%s: is dev and test; about half of each speaker's chapters become dev, the others test", part)
        divided = [divide(listed[part]) for part in shared]
        parts["dev"], parts["test"] = ([each for half in side for each in half] for side in zip(*divided, strict=True))
    parts |= {part: listed[part] for part in [*options.dev_parts, *options.test_parts] if part not in shared}
    return parts


def divide(utterances: list[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Dev and test from one part: whole chapters, as many of each speaker's to either as can be.

    Raises:
      EgretError: there is only one chapter.
    """
    if len({each.audio.parent for each in utterances}) < 2:
        raise EgretError("a part of a single chapter cannot be divided into dev and test; name two parts")
    return halves(utterances, lambda each: each.audio.parent.name)


def folders(options: Options) -> dict[str, Path]:
    """The folder of each part asked for.

    Raises:
      EgretError: parts are not there; names them, and what is there.
    """
    given = options.given
    found = {part: find_part(given, part) for part in options.parts}
    if missing := [part for part, folder in found.items() if folder is None]:
        there = [part for part in MD5 if find_part(given, part)]
        what = no_corpus(given, f"lacks {first_few(missing, 7)}", there)
        raise EgretError(
            f"{given}: {what}; give --corpus DIR, the folder {FOLDER}/ of OpenSLR 12 or one that holds it, and name "
            f"the parts to use with --train-parts, --dev-parts and --test-parts"
        )
    return {part: folder for part, folder in found.items() if folder is not None}


def list_part(folder: Path) -> list[Utterance]:
    """The utterances of `<speaker>/<chapter>/` folders, by name."""
    utterances = []
    for speaker in subfolders(folder):
        for chapter in subfolders(speaker):
            utterances += list_chapter(chapter, speaker.name)
    return utterances


def subfolders(folder: Path) -> list[Path]:
    """By name, those that are numbers numerically; hidden ones are left out."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    return [folder / name for name in sorted(names, key=lambda name: (len(name), name))]


def list_chapter(folder: Path, speaker: str) -> list[Utterance]:
    """The transcripts of a chapter with their recordings, then the recordings that have none, to be rejected."""
    stem = f"{speaker}-{folder.name}"
    transcripts = folder / f"{stem}.trans.txt"
    sounds = {entry.name[:-5] for entry in os.scandir(folder) if entry.name.endswith(".flac")}
    spoken = list(read_transcripts(transcripts)) if transcripts.is_file() else []
    times = Counter(name for name, _ in spoken)
    utterances = []
    for name, text in spoken:
        problem, reason = "", "listing"
        if not name.startswith(f"{stem}-"):
            problem = f"{transcripts}: has a line of {name!r}, which is not of this chapter"
        elif times[name] > 1:
            problem, reason = f"{transcripts}: has {times[name]} lines of {name}", "listed twice"
        utterances.append(
            Utterance(name, folder / f"{name}.flac", text, speaker, language="English", problem=problem, reason=reason)
        )
    what = f"{transcripts}: has no line of it" if spoken else f"{transcripts}: no such file"
    for name in sorted(sounds - set(times)):
        utterances.append(Utterance(name, folder / f"{name}.flac", "", speaker, problem=what, reason="no transcript"))
    return utterances


def read_transcripts(path: Path) -> Iterator[tuple[str, str]]:
    """(utterance, text) of each line that is not blank.

    Raises:
      EgretError: not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EgretError(f"{path}: not UTF-8 ({error}); unpack the part again") from None
    for line in lines:
        if line.strip():
            name, _, text = line.strip().partition(" ")
            yield name, text


STEP = prepare_step(
    name="prepare_librispeech",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/LibriSpeech --train-parts train-clean-100 --dev-parts dev-clean "
    "--test-parts test-clean --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

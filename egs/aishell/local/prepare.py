#!/usr/bin/env python3
"""Stage 0 of AISHELL-1: find or download the corpus, unpack the speakers' archives, list the utterances, check them,
write cuts.

`data_aishell/wav/{train,dev,test}/<speaker>/*.wav` are the recordings, each speaker's packed as `wav/<speaker>.tar.gz`
when published, and `transcript/aishell_transcript_v0.8.txt` says what is spoken in them, joined by the utterance's id.
`resource_aishell/lexicon.txt`, where it is there, is left beside the cuts and gives each utterance its phones. Toned
syllables come from pypinyin, by phrase; both are in the supervision's `custom`.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError, counted, first_few
from egret.base.log import log, progress
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus.download import unpack
from egret.corpus.mandarin import spoken
from egret.corpus.prepare import Parts, Utterance, prepare_step
from egret.corpus.published import PublishedOptions, fetch_archives, found_in, nested
from egret.lang.lexicon import first_pronunciations, read_lexicon

URL = "https://www.openslr.org/resources/33"
# OpenSLR publishes no checksums; these are what other toolkits compare their downloads with.
MD5 = {"data_aishell": "2f494334227864a8a8fec932999db9d8", "resource_aishell": "957d480a0fcac85fc18e550756f624e5"}
CORPUS, RESOURCE = MD5
PARTS = ("train", "dev", "test")
TRANSCRIPT = "transcript/aishell_transcript_v0.8.txt"
SPEAKER = re.compile(r"S\d{4}(?=W\d)")  # within BAC009S0002W0122


@dataclass(kw_only=True)
class Options(PublishedOptions):
    normaliser: str = option("mandarin", "what every transcript passes through")
    url: str = runtime(URL, "folder to download from")
    unpacked: Path = runtime(
        Path("data/wav"), "folder to unpack the speakers' archives into, which the corpus may have"
    )


def obtain(options: Options) -> None:
    """Download the corpus unless it is there, and unpack what is still packed.

    Raises:
      EgretError: it cannot be downloaded, or an archive is damaged; says how to go on.
    """
    if not options.corpus and not find_corpus(options.download):
        fetch_archives(MD5, options.url, URL, options.download)
    unpack_speakers(options)


def unpack_speakers(options: Options) -> None:
    """Unpack the archives of speakers whose folders lack a recording, into a folder of our own: the corpus stays as it
    is, and what was unpacked before is not unpacked again."""
    folder = corpus_of(options)
    packed = [archive for archive, whole in speaker_archives(folder) if not whole]
    if packed:
        log.info("%s in %s; unpacked into %s", counted(len(packed), "archive"), folder / "wav", options.unpacked)
    with ThreadPoolExecutor(options.workers) as pool:
        done = pool.map(lambda archive: unpack(archive, options.unpacked / speaker_of(archive)), packed)
        for _ in progress(done, len(packed), "unpacking"):
            pass


def speaker_archives(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The archives `wav/<speaker>.tar.gz`, and whether all that they hold is unpacked beside them already: each
    recording of the speaker that the transcript names."""
    archives = sorted((folder / "wav").glob("*.tar.gz"))
    if not archives:
        return
    there = {path.stem for path in wav_files(folder / "wav")}
    lacking = {speaker_name(name) for name in read_transcript(folder / TRANSCRIPT) if name not in there}
    found = {speaker_name(name) for name in there}
    for archive in archives:
        yield archive, speaker_of(archive) in found - lacking


def speaker_of(archive: Path) -> str:
    return archive.name.removesuffix(".tar.gz")


def speaker_name(utterance: str) -> str:
    match = SPEAKER.search(utterance)
    return match[0] if match else ""


def find_corpus(folder: Path) -> Path | None:
    """The folder data_aishell/, at or up to two levels below `folder`."""
    places = nested(folder, CORPUS)
    named = (place for place in places if place.name == CORPUS and (place / "wav").is_dir())  # without a transcript
    return next((place for place in places if (place / TRANSCRIPT).is_file()), next(named, None))


def find_resource(folder: Path, name: str) -> Path | None:
    """A file of resource_aishell/, beside data_aishell/ or where the download is unpacked."""
    tops = (folder.parent, folder.parent.parent, folder)
    places = (top.joinpath(*[RESOURCE] * depth, name) for top in tops for depth in (1, 2))
    return next((place for place in places if place.is_file()), None)


def corpus_of(options: Options) -> Path:
    """The folder of the corpus.

    Raises:
      EgretError: there is none, or the transcript or the recordings are missing in it.
    """
    folder = found_in(options.given, find_corpus, f"no {CORPUS}/{TRANSCRIPT} in it", f"{CORPUS}/ of OpenSLR 33")
    missing = [name for name in (TRANSCRIPT, "wav") if not (folder / name).exists()]
    if missing:
        raise EgretError(f"{folder}: lacks {first_few(missing)}; unpack the whole of {CORPUS}.tgz")
    return folder


def read_transcript(path: Path) -> dict[str, str]:
    """Text by utterance: `BAC009S0002W0122 而 对 楼市 成交 ...`, its words apart in the published file.

    Raises:
      EgretError: not UTF-8, or an utterance with two texts that differ.
    """
    texts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EgretError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); download it again") from None
    for number, line in enumerate(lines, 1):
        name, _, text = line.strip().partition(" ")
        text = " ".join(text.split())
        if texts.setdefault(name, text) != text:
            raise EgretError(f"{path}:{number}: {name} has another text on a line before; leave one of them out")
    texts.pop("", None)
    return texts


def wav_files(folder: Path) -> list[Path]:
    """All recordings below a folder, in order."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names if name.endswith(".wav"))
    return sorted(found)


def recordings(folder: Path, unpacked: Path) -> list[Path]:
    """Every recording: from the corpus, and from `unpacked` those of speakers that are packed there."""
    packed = [speaker_of(archive) for archive, whole in speaker_archives(folder) if not whole]
    beside = [path for path in wav_files(folder / "wav") if path.parent.name not in packed]
    return [*beside, *(path for speaker in packed for path in wav_files(unpacked / speaker))]


def list_parts(options: Options) -> Parts:
    """The utterances of each part by the folder of the recording; a text of no recording counts as training."""
    folder = corpus_of(options)
    transcript = folder / TRANSCRIPT
    texts = read_transcript(transcript)
    path_of_lexicon = find_resource(folder, "lexicon.txt")
    lexicon = first_pronunciations(read_lexicon(path_of_lexicon)) if path_of_lexicon else {}
    parts: Parts = {part: [] for part in PARTS}
    heard = set()
    for path in recordings(folder, options.unpacked):
        part, speaker, name = path.parts[-3], path.parent.name, path.stem
        heard.add(name)
        reason, problem = "listing", ""
        if part not in parts:
            part, reason, problem = "train", "no part", "it lies in none of the folders train, dev and test"
        elif name not in texts:
            reason, problem = "no transcript", f"no line of {transcript} is about it"
        text = texts.get(name, "")
        parts[part].append(Utterance(name, path, text, speaker, language="Chinese", problem=problem, reason=reason,
                                     custom={} if problem else spoken(text, options.normaliser, lexicon)))  # fmt: skip
    for name in texts.keys() - heard:
        problem = f"{transcript} names it and there is no recording {name}.wav"
        parts["train"].append(Utterance(name, transcript, texts[name], "", problem=problem, reason="no recording"))
    return {part: sorted(listed, key=lambda each: each.id) for part, listed in parts.items()}


def resources(options: Options) -> dict[str, str]:
    """The lexicon and the table of speakers, where they are there, as files beside the cuts."""
    folder = corpus_of(options)
    found = {name: find_resource(folder, name) for name in ("lexicon.txt", "speaker.info")}
    return {name: path.read_text(encoding="utf-8-sig") for name, path in found.items() if path}


STEP = prepare_step(
    name="prepare_aishell",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    more_files=resources,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/aishell --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Stage 0 of THCHS-30: find or download the corpus, list its utterances, check them, write cuts and dictionaries.

`train`, `dev` and `test` link to `data/*.wav` and `data/*.wav.trn`, whose three lines are words, toned syllables and
phones. For `--task word` the words are the text, and the other two lines are in the supervision's `custom`; for `--task
phone` the phones are the text. Dictionaries of phones and syllables, and the corpus's 3-gram, are left beside the cuts.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, counted, first_few
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus import text_file
from egret.corpus.divide import hold_out, say_shared
from egret.corpus.mandarin import lexicons
from egret.corpus.prepare import Parts, Utterance, prepare_step
from egret.corpus.published import PublishedOptions, check_words, fetch_archives, followed, found_in, nested
from egret.lang.lexicon import Lexicon, write_lexicon

URL = "http://www.openslr.org/resources/18"
FOLDER = "data_thchs30"
# No sum is published with the archives; other toolkits check for these.
ARCHIVES = {FOLDER: "2d2252bde5c8429929e1841d4cb95e90", "resource": "c0b2a565b4970a0c4fe89fefbf2d97e1"}
PARTS = ("train", "dev", "test")
RESOURCE = ("resource/dict", "resource/resource/dict")
LINES = ("words", "syllables", "phones")
UNSAID = "neither a dictionary nor a transcript tells how {} is pronounced"
MARKS = {"<s>", "</s>", "<eps>", "<unk>", "<UNK>", "<SPOKEN_NOISE>", "SIL", "sil", "#"}  # in dictionaries, not words


@dataclass(kw_only=True)
class Options(PublishedOptions):
    url: str = runtime(URL, "folder to download data_thchs30.tgz and resource.tgz from")
    task: Literal["word", "phone"] = option("word", "what is recognised, and counted as an error")
    dev: Literal["published", "sentences"] = option("published", "the corpus's dev, or sentences that train has not")
    dev_seed: int = option(1, "of --dev sentences", minimum=0)


def obtain(options: Options) -> None:
    """Download and unpack the corpus, unless it is there.

    Raises:
      EgretError: it cannot be downloaded, or is something else; says how to go on.
    """
    if options.corpus or find_corpus(options.download):
        return
    fetch_archives(ARCHIVES, options.url, URL, options.download)
    if not find_corpus(options.download):
        raise EgretError(f"{options.download}: no train/, dev/ and test/ in {FOLDER}.tgz; remove it, check --url")


def find_corpus(folder: Path) -> Path | None:
    """The folder that holds train/, dev/ and test/, at or up to two levels below `folder`."""
    for place in nested(folder, FOLDER):
        if (place / "train").is_dir() and any((place / part).is_dir() for part in ("data", *PARTS[1:])):
            return place
    return None


def corpus_of(options: Options) -> Path:
    """The folder of the corpus.

    Raises:
      EgretError: there is none, or parts are missing in it; names them.
    """
    lacks = f"no train/, dev/ and test/ in it or in {FOLDER}/"
    folder = found_in(options.given, find_corpus, lacks, f"{FOLDER}/ of THCHS-30")
    if missing := [f"{part}/" for part in PARTS if not (folder / part).is_dir()]:
        raise EgretError(f"{folder}: lacks {first_few(missing)}; unpack the whole of {FOLDER}.tgz")
    for part in PARTS:
        if not any(entry.name.endswith((".wav", ".wav.trn")) for entry in os.scandir(folder / part)):
            raise EgretError(f"{folder / part}: holds no recordings; is this another corpus than THCHS-30?")
    return folder


def target(path: Path) -> Path:
    """The file itself, also where links were unpacked as texts or not at all."""
    return followed(path) if path.is_file() else path.parents[1] / "data" / path.name


read_text = cache(partial(text_file.read_text, fallback="gbk"))


def transcript(path: Path) -> tuple[dict[str, str], str]:
    """Words, syllables and phones of a .trn file, and what is wrong with it."""
    try:
        lines = [" ".join(line.split()) for line in read_text(target(path)).splitlines()]
    except (OSError, EgretError):
        return {}, f"no {path.name} to be read, neither there nor in data/"
    found = {name: line for name, line in zip(LINES, lines, strict=False) if line}
    lacking = [name for name in LINES if name not in found]
    return found, f"{path.name}: lacks its line of {' and of '.join(lacking)}" if lacking else ""


def order(name: str) -> tuple[str, int, int, str]:
    """A4_12 before A11_3: by group, speaker, sentence."""
    speaker, _, sentence = name.partition("_")
    number = speaker[1:]
    return speaker[:1], int(number) if number.isdecimal() else 0, int(sentence) if sentence.isdecimal() else 0, name


def list_part(folder: Path, part: str, task: str) -> list[Utterance]:
    """The utterances of a part by speaker and sentence; a recording or a transcript alone is one to be rejected."""
    names = {entry.name for entry in os.scandir(folder / part)}
    wavs = {name.removesuffix(".wav") for name in names if name.endswith(".wav")}
    bases = wavs | {name.removesuffix(".wav.trn") for name in names if name.endswith(".wav.trn")}
    utterances = []
    for base in sorted(bases, key=order):
        lines, problem = transcript(folder / part / f"{base}.wav.trn")
        audio, reason = target(folder / part / f"{base}.wav"), "transcript"
        if base not in wavs and not audio.is_file():
            reason, problem = "no recording", f"{base}.wav.trn is there, {base}.wav is not"
        spoken = {} if task == "phone" else {name: lines[name] for name in LINES[1:] if name in lines}
        text = lines.get("phones" if task == "phone" else "words", "")
        utterances.append(Utterance(base, audio, text, base.partition("_")[0], language="Chinese", problem=problem,
                                    reason=reason, custom=spoken))  # fmt: skip
    return utterances


def list_parts(options: Options) -> Parts:
    folder = corpus_of(options)
    parts = dict(divided(folder, options.task, options.dev, options.dev_seed))
    if options.task == "word":
        # In dev and test such a word is an error of the recogniser's, so the utterance stays.
        known = set.intersection(*(set(dict(each)) for each in dictionaries(folder, options.dev, options.dev_seed)))
        parts["train"] = [check_words(each, known, options.normaliser, UNSAID) for each in parts["train"]]
    say_shared(parts)
    return parts


@cache
def divided(folder: Path, task: str, dev: str, seed: int) -> Parts:
    """The parts that are asked for, as their files are."""
    parts = {part: list_part(folder, part, task) for part in PARTS}
    listed = {each.id for utterances in parts.values() for each in utterances}
    if left := sorted({path.stem for path in (folder / "data").glob("*.wav")} - listed, key=order):
        log.info("%s of data/ in no part, left out: %s", counted(len(left), "recording"), first_few(left))
    if dev == "sentences":  # whole ones, every reading of them in train and dev, about as many as dev had
        pool = sorted(parts["train"] + parts["dev"], key=lambda each: order(each.id))
        parts["train"], parts["dev"] = hold_out(pool, lambda each: str(order(each.id)[2]), len(parts["dev"]), seed)
    return parts


def more_files(options: Options) -> dict[str, str]:
    """Texts that later stages read: dictionaries and the 3-gram of the task, empty where the corpus has none."""
    folder = corpus_of(options)
    model = folder / f"lm_{options.task}/{options.task}.3gram.lm"
    texts = {"corpus.arpa": read_text(model) if model.is_file() else ""}
    if options.task == "word":
        names = ("lexicon_phone.txt", "lexicon_syllable.txt")
        texts |= zip(names, map(write_lexicon, dictionaries(folder, options.dev, options.dev_seed)), strict=True)
    return texts


@cache
def dictionaries(folder: Path, dev: str, seed: int) -> tuple[Lexicon, Lexicon]:
    """Words and characters in phones and in syllables: of the training transcripts, then of the dictionaries."""
    whole = [each for each in divided(folder, "word", dev, seed)["train"] if not each.problem]
    # Each sentence once, however many people read it.
    sentences = dict.fromkeys((each.text, each.custom["syllables"], each.custom["phones"]) for each in whole)
    by_phone, by_syllable, lost = lexicons(sentences, dictionary(folder))
    if lost:
        log.info("%d pronunciations have syllables that nobody says in train; lexicon_syllable.txt is without them: %s",
                 len(lost), first_few(dict.fromkeys(lost)))  # fmt: skip
    return by_phone, by_syllable


def dictionary(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Words and phones of lm_word/ and, where it lies beside the corpus, of resource/, without marks."""
    beside = [up / place for up in (folder, folder.parent, folder.parent.parent) for place in RESOURCE]
    found = [path for place in (folder / "lm_word", *beside) if (path := place / "lexicon.txt").is_file()]
    if not found:
        log.warning("%s: neither lm_word/lexicon.txt nor resource/; the words are those of the transcripts", folder)
    for path in found:
        for line in read_text(path).splitlines():
            word, *phones = line.split() or [""]
            if word and phones and word not in MARKS and not word.startswith("#"):
                yield word, tuple(phones)


STEP = prepare_step(
    name="prepare_thchs30",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    more_files=more_files,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/data_thchs30 --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Stage 0 of THCHS-30: find or download the corpus, list its utterances, check them, write cuts and dictionaries.

`train`, `dev` and `test` link to `data/*.wav` and `data/*.wav.trn`, whose three lines are words, toned syllables and
phones. For `--task word` the words are the text, and the other two lines are kept with each cut (custom["syllables"],
custom["phones"]); for `--task phone` the phones are the text. Dictionaries of phones and of syllables, and the
corpus's own 3-gram, are left beside the cuts.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, first_few
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus import text_file
from egret.corpus.download import fetch, unpack
from egret.corpus.prepare import Parts, PrepareOptions, Utterance, prepare_step
from egret.corpus.published import check_words, no_corpus, or_by_hand

URL = "http://www.openslr.org/resources/18"
FOLDER = "data_thchs30"
# No sum is published with the archives; other toolkits check for these.
ARCHIVES = {FOLDER: "2d2252bde5c8429929e1841d4cb95e90", "resource": "c0b2a565b4970a0c4fe89fefbf2d97e1"}
PARTS = ("train", "dev", "test")
LINES = ("words", "syllables", "phones")
LINK_BYTES = 200  # a file that is smaller may be a link's text; the shortest transcript is longer
MARKS = {"<s>", "</s>", "<eps>", "<unk>", "<UNK>", "<SPOKEN_NOISE>", "SIL", "sil", "#"}  # in dictionaries, not words

Pronunciations = dict[str, list[tuple[str, ...]]]


@dataclass(kw_only=True)
class Options(PrepareOptions):
    download: Path = runtime(Path("download"), "folder to download into when there is no --corpus")
    url: str = runtime(URL, "folder to download data_thchs30.tgz and resource.tgz from")
    task: Literal["word", "phone"] = option("word", "what is recognised, and counted as an error")
    dev: Literal["published", "sentences"] = option(
        "published", "the dev part of the corpus, or sentences that nobody reads in train"
    )
    dev_seed: int = option(1, "of --dev sentences", minimum=0)


def obtain(options: Options) -> None:
    """Download and unpack the corpus, unless it is there.

    Raises:
      EgretError: it cannot be downloaded, or is something else; says how to go on.
    """
    if options.corpus or find_corpus(options.download):
        return
    for name, md5 in ARCHIVES.items():
        archive, url = options.download / f"{name}.tgz", f"{options.url}/{name}.tgz"
        with or_by_hand(url, archive, FOLDER):
            fetch(url, archive, md5=md5 if options.url == URL else None)
            unpack(archive, options.download / name)
    if not find_corpus(options.download):
        raise EgretError(f"{options.download}: no train/, dev/ and test/ in {FOLDER}.tgz; remove it, check --url")


def find_corpus(folder: Path) -> Path | None:
    """The folder that holds train/, dev/ and test/, at or up to two levels below `folder`."""
    for place in (folder, folder / FOLDER, folder / FOLDER / FOLDER):
        if sum((place / part).is_dir() for part in ("data", *PARTS)) > 1 and (place / "train").is_dir():
            return place
    return None


def corpus_of(options: Options) -> Path:
    """The folder of the corpus.

    Raises:
      EgretError: there is none, or parts are missing in it; names them.
    """
    given = Path(options.corpus or options.download)
    folder = find_corpus(given)
    if folder is None:
        what = no_corpus(given, f"no train/, dev/ and test/ in it or in {FOLDER}/")
        raise EgretError(f"{given}: {what}; give --corpus DIR, the folder {FOLDER}/ of THCHS-30, or one that holds it")
    if missing := [f"{part}/" for part in PARTS if not (folder / part).is_dir()]:
        raise EgretError(f"{folder}: lacks {first_few(missing)}; unpack the whole of {FOLDER}.tgz")
    for part in PARTS:
        if not any(entry.name.endswith((".wav", ".wav.trn")) for entry in os.scandir(folder / part)):
            raise EgretError(f"{folder / part}: holds no recordings; is this another corpus than THCHS-30?")
    return folder


def target(path: Path) -> Path:
    """The file itself, also where links were unpacked as texts such as `../data/A2_0.wav.trn`, or not at all."""
    if not path.is_file():
        return path.parents[1] / "data" / path.name
    if path.stat().st_size < LINK_BYTES:
        content = path.read_bytes().strip()
        if content.startswith(b"../") and b"\n" not in content:
            return path.parents[1] / os.fsdecode(content[3:])
    return path


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
        speaker = base.partition("_")[0]
        utterances.append(Utterance(base, audio, text, speaker, language="Chinese", problem=problem,
                                    reason=reason, custom=spoken))  # fmt: skip
    return utterances


def list_parts(options: Options) -> Parts:
    folder = corpus_of(options)
    parts = dict(divided(folder, options.task, options.dev, options.dev_seed))
    if options.task == "word":
        # In dev and test such a word is an error of the recogniser's, so the utterance stays.
        known = set.intersection(*map(set, dictionaries(folder, options.dev, options.dev_seed)))
        parts["train"] = [check_words(each, known, options.normaliser, unsaid) for each in parts["train"]]
    trained = {each.text for each in parts["train"]}
    for part in PARTS[1:]:
        if shared := sum(each.text in trained for each in parts[part]):
            log.info("%s: %d of %d utterances are of sentences that train has too", part, shared, len(parts[part]))
    return parts


def unsaid(words: str) -> str:
    return f"neither a dictionary nor a transcript tells how {words} is pronounced"


@cache
def divided(folder: Path, task: str, dev: str, seed: int) -> Parts:
    """The parts that are asked for, as their files are."""
    parts = {part: list_part(folder, part, task) for part in PARTS}
    listed = {each.id for utterances in parts.values() for each in utterances}
    everything = {path.name.removesuffix(".wav") for path in (folder / "data").glob("*.wav")}
    if left := sorted(everything - listed, key=order):
        log.info("%d recordings of data/ are in no part and stay out: %s", len(left), first_few(left))
    return held_out(parts, seed) if dev == "sentences" else parts


def held_out(parts: Parts, seed: int) -> Parts:
    """The same with dev made of whole sentences, every reading of them in train and dev, about as many as dev had."""
    pool = sorted(parts["train"] + parts["dev"], key=lambda each: order(each.id))
    readings = Counter(order(each.id)[2] for each in pool)
    chosen: set[int] = set()
    wanted = len(parts["dev"])
    for sentence in sorted(readings, key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest()):
        if wanted < readings[sentence] / 2:
            break
        chosen.add(sentence)
        wanted -= readings[sentence]
    return {
        "train": [each for each in pool if order(each.id)[2] not in chosen],
        "dev": [each for each in pool if order(each.id)[2] in chosen],
        "test": parts["test"],
    }


def beside(options: Options) -> dict[str, str]:
    """Texts that later stages read: dictionaries and the 3-gram of the task, empty where the corpus has none."""
    folder = corpus_of(options)
    model = folder / f"lm_{options.task}" / f"{options.task}.3gram.lm"
    texts = {"corpus.arpa": read_text(model) if model.is_file() else ""}
    if options.task == "phone":
        return texts
    by_phone, by_syllable = dictionaries(folder, options.dev, options.dev_seed)
    return {**texts, "lexicon_phone.txt": written(by_phone), "lexicon_syllable.txt": written(by_syllable)}


@cache
def dictionaries(folder: Path, dev: str, seed: int) -> tuple[Pronunciations, Pronunciations]:
    """Words and characters in phones and in syllables: of the training transcripts, then of the dictionaries."""
    by_phone, by_syllable, syllable_of = aligned(divided(folder, "word", dev, seed)["train"])
    lost = {}  # each once, though several dictionaries may have it
    for word, phones in dictionary(folder):
        by_phone.setdefault(word, []).append(phones)
        pairs = list(zip(phones[::2], phones[1::2], strict=False))
        if len(phones) % 2 == 0 and all(pair in syllable_of for pair in pairs):
            by_syllable.setdefault(word, []).append(tuple(syllable_of[pair] for pair in pairs))
        else:
            lost[word, phones] = word
    if lost:
        log.info("%d pronunciations have syllables that nobody says in train; lexicon_syllable.txt is without them: %s",
                 len(lost), first_few(dict.fromkeys(lost.values())))  # fmt: skip
    return by_phone, by_syllable


def aligned(utterances: list[Utterance]) -> tuple[Pronunciations, Pronunciations, dict[tuple[str, str], str]]:
    """Words and characters of transcripts in phones and in syllables, and the syllable of two phones.

    A character is a syllable and a syllable two phones in all but a few transcripts, which are passed over. Of several
    pronunciations the commonest comes first.
    """
    heard: dict[str, Counter[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    syllables: dict[tuple[str, str], Counter[str]] = {}
    complete = [each for each in utterances if not each.problem]
    # Each sentence once, however many people read it.
    for text, *lines in dict.fromkeys((each.text, *(each.custom[name] for name in LINES[1:])) for each in complete):
        words, (said, phones) = text.split(), map(str.split, lines)
        if len("".join(words)) != len(said) or 2 * len(said) != len(phones):
            continue
        for place, syllable in enumerate(said):
            syllables.setdefault((phones[2 * place], phones[2 * place + 1]), Counter())[syllable] += 1
        at = 0
        for word in words:
            for start, end in {(0, len(word)), *((start, start + 1) for start in range(len(word)))}:
                first, last = at + start, at + end
                spoken = (tuple(phones[2 * first : 2 * last]), tuple(said[first:last]))
                heard.setdefault(word[start:end], Counter())[spoken] += 1
            at += len(word)
    ordered = {word: [spoken for spoken, _ in heard[word].most_common()] for word in sorted(heard)}
    by_phone = {word: [phones for phones, _ in spoken] for word, spoken in ordered.items()}
    by_syllable = {word: [said for _, said in spoken] for word, spoken in ordered.items()}
    return by_phone, by_syllable, {pair: counts.most_common(1)[0][0] for pair, counts in syllables.items()}


def dictionary(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Words and phones of lm_word/ and, where it lies beside the corpus, of resource/, without marks."""
    places = [folder / "lm_word", *(up / place for up in (folder, folder.parent, folder.parent.parent)
                                    for place in ("resource/dict", "resource/resource/dict"))]  # fmt: skip
    found = [place / "lexicon.txt" for place in places if (place / "lexicon.txt").is_file()]
    if not found:
        log.warning("%s: neither lm_word/lexicon.txt nor resource/; the words are those of the transcripts", folder)
    for path in found:
        for line in read_text(path).splitlines():
            word, *phones = line.split() or [""]
            if word and phones and word not in MARKS and not word.startswith("#"):
                yield word, tuple(phones)


def written(lexicon: Pronunciations) -> str:
    lines = dict.fromkeys(f"{word} {' '.join(spoken)}\n" for word in lexicon for spoken in lexicon[word])
    return "".join(lines)


STEP = prepare_step(
    name="prepare_thchs30",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    more_files=beside,
    description=__doc__ or "",
    example="local/prepare.py --corpus /data/data_thchs30 --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

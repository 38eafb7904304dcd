#!/usr/bin/env python3
"""Stage 0 of a corpus of your own: read a table, a Kaldi data directory or ASRT's lists, divide off dev and test where
they are not given, bring the recordings to one rate and one channel, check them, write cuts.

The readers are egret.corpus.table, kaldi_dir and asrt_lists; this program puts together what they find.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import main
from egret.corpus import asrt_lists, kaldi_dir
from egret.corpus.convert import Target, convert
from egret.corpus.divide import ALIASES, Division, divide, part_of
from egret.corpus.prepare import Parts, PrepareOptions, Utterance, prepare_step
from egret.corpus.table import read_table
from egret.corpus.text_file import Encoding
from egret.lang.normalise import normalise

LANGUAGES = {"zh": "Chinese", "en": "English", "other": None}
SOURCES = ("table", "kaldi_dir", "asrt")
LISTED = "listed.json"  # beside the cuts: what they were made from


@dataclass(kw_only=True)
class Options(PrepareOptions):
    table: str = runtime("", "CSV or TSV: path, text, and if there are any speaker, start, end, id, part, channel")
    kaldi_dir: str = runtime("", "Kaldi data directory, or a folder of some: train, dev, test")
    asrt: str = runtime("", "folder of ASRT's lists, or its asrt_config.json")
    audio_dir: str = runtime("", "folder in which relative paths begin; empty: that of the table, or found by looking")
    lang: Literal["zh", "en", "other"] = option("other", "language of the transcripts")
    encoding: Literal["auto", "utf-8", "gbk"] = option("auto", "of what is no UTF-8; auto: GBK for zh, else refused")
    allow_pipes: bool = option(False, "run the commands in wav.scp")
    sampling_rate: int | None = option(16000, "Hz; recordings of other rates are resampled", above=0)
    channel: str = option("mix", "of recordings with several: mix, their mean, or a number, from 0")
    audio: Path = runtime(Path("data/audio"), "folder for recordings that are converted")
    dev_share: float = option(10.0, "percent of the utterances for dev, where it is no part", above=0, maximum=45)
    test_share: float = option(10.0, "percent of them for test, where it is no part", above=0, maximum=45)
    divide: Literal["auto", "speakers", "utterances"] = option(
        "auto", "whole speakers (auto: if enough), or utterances"
    )
    division_seed: int = option(1, "of that division", minimum=0)

    def __post_init__(self) -> None:
        given = [f"--{name.replace('_', '-')}" for name in SOURCES if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: give one of them")
        self.target()  # refuses a channel that there is not

    def target(self) -> Target:
        return Target(self.sampling_rate or 16000, self.channel, self.audio, self.workers)

    @property
    def fallback(self) -> Encoding:
        """The encoding of lists that are not UTF-8."""
        return "gbk" if self.encoding == "gbk" or (self.encoding == "auto" and self.lang == "zh") else "utf-8"

    @property
    def base(self) -> Path | None:
        return Path(self.audio_dir) if self.audio_dir else None


def source_of(options: Options) -> tuple[str, Path]:
    """What to read and where it is: as given, else that of the last time.

    Raises:
      EgretError: nothing was ever given, or it is not there.
    """
    for name in SOURCES:
        if given := getattr(options, name):
            if not Path(given).exists():
                raise EgretError(f"--{name.replace('_', '-')} {given}: not there")
            return name, Path(given)
    try:
        last = json.loads((options.out / LISTED).read_text(encoding="utf-8"))
        options.audio_dir = options.audio_dir or last["audio_dir"]
        return last["source"], Path(last["path"])
    except (OSError, ValueError, KeyError):
        raise UsageError("what is to be read? Give --table FILE, --kaldi-dir DIR or --asrt DIR") from None


def list_parts(options: Options) -> Parts:
    name, path = source_of(options)
    parts: Parts = {"train": []}
    for part, utterance in READERS[name](path, options):
        parts.setdefault(part, []).append(replace(utterance, language=LANGUAGES[options.lang]))
    how = Division(options.dev_share, options.test_share, options.divide, options.division_seed)
    return divide(parts, how)


def from_table(path: Path, options: Options) -> list[tuple[str, Utterance]]:
    found = []
    for entry in read_table(path, options.base, options.fallback):
        part, utterance = part_of(entry.part), entry.utterance
        if part is None and not utterance.problem:
            known = ", ".join(names[0] for names in ALIASES.values())
            utterance = replace(utterance, reason="part", problem=f"{path}: the part {entry.part!r} is none of {known}")
        found.append((part or "train", utterance))
    return found


def from_kaldi(folder: Path, options: Options) -> list[tuple[str, Utterance]]:
    return [(part, each) for part, data in kaldi_dirs(folder, options) for each in kaldi_dir.utterances(data)]


def kaldi_dirs(folder: Path, options: Options) -> list[tuple[str, kaldi_dir.KaldiDir]]:
    """A data directory with its part; one that lies by itself is train."""
    pipes = options.audio if options.allow_pipes else None
    if (folder / "wav.scp").is_file():
        return [("train", kaldi_dir.read_kaldi_dir(folder, options.base, pipes, options.fallback))]
    below = sorted(place.parent for place in folder.glob("*/wav.scp"))
    known = [(part, place) for place in below if (part := part_of(place.name))]
    if not known:
        there = (
            f" (it holds {first_few(sorted(each.name for each in os.scandir(folder)), 3)})" if folder.is_dir() else ""
        )
        raise EgretError(f"{folder}: no wav.scp in it, nor in a folder train, dev or test of it{there}")
    if passed := [place.name for place in below if not part_of(place.name)]:
        log.warning("%s: neither train, dev nor test, and passed over: %s", folder, first_few(passed))
    return [(part, kaldi_dir.read_kaldi_dir(place, options.base, pipes, options.fallback)) for part, place in known]


def from_asrt(place: Path, options: Options) -> list[tuple[str, Utterance]]:
    found = []
    for pair in asrt_lists.find_lists(place):
        part = part_of(pair.part)
        if part is None:
            raise EgretError(f"{pair.recordings}: {pair.part!r} is no part; call it train, dev (or cv) or test")
        found += [(part, each) for each in asrt_lists.utterances(pair, options.base, options.fallback)]
    return found


READERS: dict[str, Callable[[Path, Options], list[tuple[str, Utterance]]]] = {
    "table": from_table,
    "kaldi_dir": from_kaldi,
    "asrt": from_asrt,
}


def obtain(options: Options) -> None:
    """Run what commands of a Kaldi directory have not made yet, if that is allowed."""
    name, path = source_of(options)
    if name == "kaldi_dir" and options.allow_pipes:
        commands = [each for _, data in kaldi_dirs(path, options) for each in data.commands]
        kaldi_dir.run_pipes(commands, options.workers)


def complete(parts: Parts, options: Options) -> Parts:
    """The same in recordings of one rate and channel, with the syllables of Chinese text."""
    parts = convert(parts, options.target(), options.out)
    if options.lang != "zh":
        return parts
    return {part: [with_syllables(each, options.normaliser) for each in listed] for part, listed in parts.items()}


def with_syllables(utterance: Utterance, normaliser: str) -> Utterance:
    """With the toned syllables of its characters, by phrase, unless the corpus has said them; for --unit syllable."""
    if utterance.problem or "syllables" in utterance.custom:
        return utterance
    syllables = syllables_of(normalise(utterance.text, normaliser))
    return replace(utterance, custom={**utterance.custom, "syllables": syllables})


@cache
def syllables_of(text: str) -> str:
    from egret.lang.pinyin import to_syllables

    return " ".join(to_syllables(text.split()))


def listed(options: Options) -> dict[str, str]:
    """What was read, so that it need not be named again."""
    name, path = source_of(options)
    about = {"source": name, "path": str(path), "audio_dir": options.audio_dir, "lang": options.lang}
    return {LISTED: json.dumps(about, ensure_ascii=False) + "\n"}


STEP = prepare_step(
    name="prepare_own",
    version=1,
    options_class=Options,
    list_parts=list_parts,
    obtain=obtain,
    more_files=listed,
    convert=complete,
    description=__doc__ or "",
    example="local/prepare.py --table my.csv --lang zh --normaliser mandarin --out data/cuts",
)

if __name__ == "__main__":
    main(STEP)

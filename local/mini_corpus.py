#!/usr/bin/env python3
"""A small corpus of synthetic speech in the published layout of a real one, the same bytes every time.

With --say TEXT --voice VOICE --out FILE.wav it says one text instead.
"""

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mini.corpus import Clip, Shape, make, speak
from mini.espeak import Speaker
from mini.sound import wav_bytes

from egret.base.errors import EgretError
from egret.base.files import atomic_path
from egret.base.options import option, parse, runtime
from egret.base.program import Outcome, OutOptions, Step, main


@dataclass(kw_only=True)
class Options(OutOptions):
    # Each is a module of local/mini/ with a function `plan`.
    layout: Literal["yesno", "an4", "librispeech", "aishell", "thchs30", "own", "own_zh"] = option(
        "yesno", "corpus whose folders, names and formats it has"
    )
    seed: int = option(1, "of texts, speakers and voices", minimum=0)
    speakers: int = option(24, "training speakers (not yesno)", minimum=1, maximum=1000)
    test_speakers: int = option(6, "other speakers, of each other part (not yesno)", minimum=1, maximum=1000)
    utterances: int = option(13, "of each speaker (not yesno)", minimum=1, maximum=1000)
    snr: float = option(40.0, "white noise this many decibels below the speech; 0: none", minimum=0)
    workers: int = runtime(os.cpu_count() or 1, "processes", minimum=1)


@dataclass(kw_only=True)
class SayOptions:
    say: str = option("", "text to say")
    voice: str = option("en-us", "voice of espeak-ng, such as en-us, en-us+f3, cmn or ko")
    rate: int = option(160, "words a minute", minimum=80, maximum=450)
    pitch: int = option(50, "0 to 99", minimum=0, maximum=99)
    sampling_rate: int = option(16000, "Hz", minimum=4000, maximum=48000)
    out: Path = option(Path("said.wav"), "file to write")


def run(options: Options) -> Outcome:
    shape = Shape(options.seed, options.snr or None, options.speakers, options.test_speakers, options.utterances)
    corpus = importlib.import_module(f"mini.{options.layout}").plan(shape)
    files = make(corpus, options.out, options.workers)
    clips = sum(map(len, corpus.speakers))
    return Outcome(files, {"speakers": len(corpus.speakers), "recordings": clips, "texts": len(corpus.texts)})


def say_one(argv: list[str]) -> None:
    """--say: one text to one file."""
    try:
        options = parse(SayOptions, argv, Path(sys.argv[0]).name, __doc__ or "")
        speaker = Speaker(options.voice, options.rate, options.pitch)
        samples = speak(Clip(str(options.out), speaker, [options.say], options.sampling_rate, seed=1))
        with atomic_path(options.out) as part:
            part.write_bytes(wav_bytes(samples, options.sampling_rate))
    except EgretError as error:
        print(f"mini_corpus: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


STEP = Step(
    name="mini_corpus",
    version=1,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="local/mini_corpus.py --layout an4 --out mini/corpus",
)

if __name__ == "__main__":
    if any(word.partition("=")[0] == "--say" for word in sys.argv[1:]):
        say_one(sys.argv[1:])
    else:
        main(STEP)

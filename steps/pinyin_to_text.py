#!/usr/bin/env python3
"""Make text of toned syllables: the second level of a syllable system, by a search in LG.

`pinyin_to_text.py --lang ... --graph ... "zhe4 shi4 ..."` prints the text of the syllables given; without any, of
each line of --file or of standard input (--file -). With --nbest N a line is score, tab, text, and a blank line follows
each input. With --incremental syllables are read as they come, and the best text so far is printed after each; an empty
line begins a new sentence.

With --decode FOLDER --out FOLDER the units of a decoding, best of ctc_greedy, become another decoding, of the method
two_step, which steps/score.py scores beside it; `pinyin_to_text.py --decode x --help` lists the options of that.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import read_json, read_jsonl, text_lines, write_json, write_jsonl
from egret.base.log import Meter, log, set_up_logging
from egret.base.options import StepOptions, infile, option, outdir, parse, runtime
from egret.base.program import Outcome, Step, main

if TYPE_CHECKING:
    from egret.decoding.syllables import SyllableGraph, SyllableSearch

METHOD = "two_step"


@dataclass(kw_only=True)
class Level:
    """The second level."""

    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    graph: Path = infile("folder with LG.safetensors", "steps/compile_graph.py --lg true (stage 3)")
    dictionary: Path | None = infile("user's dictionary, syllable<TAB>characters a line", default=None)
    any_tone: bool = option(False, "a syllable without tone stands for all its tones")


@dataclass(kw_only=True)
class Options(Level, StepOptions):
    decode: Path = infile("decoding whose units are made text of, exp/<name>/decode/<part>_<method>", "stage 5")
    out: Path = outdir("decoding to write, exp/<name>/decode/<part>_two_step")


@dataclass(kw_only=True)
class TalkOptions(Level):
    syllables: str = option("", "syllables with spaces between; the option's name may be left out")
    file: Path | None = infile("text with a row of syllables a line, .gz accepted; -: standard input", default=None)
    nbest: int = option(1, "texts of each row of syllables", minimum=1, maximum=1000)
    incremental: bool = option(False, "print the best text after each syllable of standard input")
    log_level: Literal["debug", "info", "warning", "error"] = runtime("warning", "the least that is shown")


def load(level: Level) -> "SyllableGraph":
    from egret.decoding.syllables import SyllableGraph
    from egret.lang.lang import Lang
    from egret.lang.pinyin import read_dictionary

    lang = Lang.read(level.lang)
    return SyllableGraph.read(level.graph, lang, read_dictionary(level.dictionary) if level.dictionary else None)


def run(options: Options) -> Outcome:
    from egret.decoding.syllables import SyllableSearch
    from egret.lang.symbols import SPECIAL_TOKENS
    from egret.scoring.report import LEAVES

    refuse_same_folder(options)
    graph = load(options)
    about = read_json(options.decode / "params.json")
    passed_over = {*SPECIAL_TOKENS, graph.lang.silence}
    started = Meter()
    rows = []
    alone = 0
    for row in read_jsonl(options.decode / "hyp.jsonl"):
        names = tokens_of(row, options, graph)
        search = SyllableSearch(graph, any_tone=options.any_tone)
        for name in names:
            if name not in passed_over:
                search.push(name)
        [best] = search.best()
        alone += search.alone
        rows.append({"id": row["id"], "words": best.words, "tokens": names, "score": {"total": best.score}})
    options.out.mkdir(parents=True, exist_ok=True)
    write_jsonl(options.out / "hyp.jsonl", rows)
    leave_params(options, about, started.seconds)
    for left in LEAVES:  # scores of other hypotheses
        (options.out / left).unlink(missing_ok=True)
    log.info("%d rows of units to text, %d units stand by themselves", len(rows), alone)
    return Outcome([options.out / "hyp.jsonl", options.out / "params.json"],
                   {"utterances": len(rows), "units by themselves": alone})  # fmt: skip


def refuse_same_folder(options: Options) -> None:
    for name in ("hyp.jsonl", "params.json"):
        if not (options.decode / name).exists():
            raise EgretError(f"--decode {options.decode}: no decoding, it has no {name}; steps/decode.py makes one")
    if options.out.absolute() == options.decode.absolute():
        raise UsageError(f"--out {options.out}: is the folder of --decode; give another one beside it")


def tokens_of(row: dict, options: Options, graph: "SyllableGraph") -> list[str]:
    """The units of a hypothesis.

    Raises:
      EgretError: it has none written, or some that the lang folder lacks.
    """
    names = row.get("tokens") if isinstance(row, dict) else None
    if not isinstance(names, list) or "id" not in row:
        raise EgretError(f"{options.decode}/hyp.jsonl: a row without id or tokens; decode again")
    if unknown := [name for name in names if name not in graph.lang.tokens]:
        raise EgretError(f"{options.decode}/hyp.jsonl: {row['id']}: {first_few(sorted(set(unknown)))} not in "
                         f"{options.lang}/tokens.txt; give the lang folder it was decoded with")  # fmt: skip
    return names


def leave_params(options: Options, about: dict, seconds: float) -> None:
    """Write what this decoding is, `about` being that of the decoding it is made of."""
    params = {"of": about["method"], "any_tone": options.any_tone}
    content = {"part": about["part"], "method": METHOD, "params": params, "chosen_on": "fixed"}
    write_json(options.out / "params.json", {**content, "rtf": with_search(about, seconds)})


def with_search(about: dict, seconds: float) -> dict | None:
    """The real-time factors of the decoding, this search's added to its own; None where they were not measured."""
    rtf = about.get("rtf")
    if not rtf or not rtf.get("audio_seconds"):
        return None
    return {**rtf, "search": round((rtf.get("search") or 0.0) + seconds / rtf["audio_seconds"], 5)}


def talk(options: TalkOptions, given: bool) -> None:
    """Print the texts of the syllables, if they are `given`, be they none, else of the lines of a file or of input."""
    from egret.decoding.syllables import SyllableSearch

    if options.incremental and (given or options.file or options.nbest > 1):
        raise UsageError("--incremental reads standard input and prints one text; leave out syllables, --file, --nbest")
    if given and options.file:
        raise UsageError("syllables or --file, not both")
    graph = load(options)
    known = Known(graph, options.any_tone)

    def fresh() -> SyllableSearch:
        return SyllableSearch(graph, options.nbest, options.any_tone)

    if options.incremental:
        follow(sys.stdin.buffer, fresh, known)
        return
    from_file = options.file and str(options.file) != "-"
    lines = text_lines(options.file, "--file") if from_file else lines_of_input()  # type: ignore[arg-type]
    for line in [options.syllables] if given else lines:
        search = fresh()
        for name in line.split():
            known.look(name)
            search.push(name)
        known.end_row()
        for best in search.best():
            print(f"{best.score:.4f}\t{best}" if options.nbest > 1 else best, flush=True)
        if options.nbest > 1:
            print(flush=True)


class Known:
    """Whether the syllables of a row are known; of the first row of which none is, a line says why that may be."""

    def __init__(self, graph: "SyllableGraph", any_tone: bool) -> None:
        self.graph, self.any_tone = graph, any_tone
        self.unknown: list[str] = []  # of this row
        self.said = False
        self.enough = False  # a syllable of this row is known, or the line has been said

    def look(self, name: str) -> None:
        if not self.enough:
            self.enough = self._knows(name, self.any_tone)
            self.unknown.append(name)

    def _knows(self, name: str, any_tone: bool) -> bool:
        from egret.lang.pinyin import marked

        return bool(self.graph.labels(name, any_tone)) or self.graph.by_itself(name, any_tone) != marked(name)

    def end_row(self) -> None:
        said = bool(self.unknown) and not self.enough
        if said:
            advice = "write toned pinyin such as zhe4 shi4"
            if any(self._knows(name, any_tone=True) for name in self.unknown):
                advice = "they have no tones: give --any-tone, or write them, as in zhe4 shi4"
            # Standard output is for texts.
            print(f"pinyin_to_text: none of these is a known syllable: {first_few(self.unknown)}; {advice}",
                  file=sys.stderr)  # fmt: skip
        self.said = self.said or said
        self.unknown, self.enough = [], self.said


def follow(source: BinaryIO, fresh: Callable[[], "SyllableSearch"], known: Known) -> None:
    """Print the best text after each syllable of a stream."""
    search = fresh()
    for name in arriving(source):
        if name:
            known.look(name)
            search.push(name)
            print(search.best()[0], flush=True)
        else:
            known.end_row()
            search = fresh()
    known.end_row()


def arriving(source: BinaryIO) -> Iterator[str]:
    """The words of a stream, each as soon as the space after it is there, and "" for an empty line.

    Raises:
      EgretError: not UTF-8.
    """
    import codecs

    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    rest, blank = "", True
    ended = False
    while not ended:
        block = source.read1(4096)  # type: ignore[attr-defined]
        ended = not block
        try:
            text = decode(block, ended)
        except UnicodeDecodeError as error:
            raise EgretError(f"standard input: not UTF-8 text ({error.reason}); convert it with iconv") from None
        for character in text + ("\n" if ended and rest else ""):
            if not character.isspace():
                rest += character
                blank = False
                continue
            if rest:
                yield rest
                rest = ""
            if character == "\n":
                if blank:
                    yield ""
                blank = True


def lines_of_input() -> Iterator[str]:
    """The lines of standard input.

    Raises:
      EgretError: not UTF-8.
    """
    try:
        for line in sys.stdin.buffer:
            yield line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EgretError(f"standard input: not UTF-8 text ({error.reason}); convert it with iconv") from None


def with_names(argv: Sequence[str]) -> list[str]:
    """The command line with `--syllables` before the words that belong to no option, in quotes or not."""
    words: list[str] = []
    syllables: list[str] = []
    takes = ""
    for word in argv:
        flag = takes in ("--incremental", "--any-tone")
        if word.startswith("--"):
            takes = "" if "=" in word else word.replace("_", "-")
        elif takes and not (flag and word not in ("true", "false")):
            takes = ""
        else:
            syllables.append(word)
            takes = ""
            continue
        words.append(word)
    return [*words, "--syllables", " ".join(syllables)] if syllables else words


def start(argv: Sequence[str]) -> int:
    """The program for a person: prints texts; returns the exit code."""
    try:
        words = with_names(argv)
        options = parse(TalkOptions, words, "pinyin_to_text.py", __doc__ or "", STEP.example)
        set_up_logging(options.log_level)
        talk(options, given=bool(options.syllables) or any(word.split("=")[0] == "--syllables" for word in words))
    except EgretError as error:
        print(f"pinyin_to_text: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has had enough
        sys.stderr.close()
        return 0
    return 0


STEP = Step(
    name="pinyin_to_text",
    version=1,
    options=Options,
    run=run,
    description=__doc__ or "",
    example='steps/pinyin_to_text.py --lang data/lang_syllable --graph data/graph_syllable_3gram "zhe4 shi4"',
)

if __name__ == "__main__":
    if any(word.split("=")[0] == "--decode" for word in sys.argv[1:]):
        main(STEP)
    else:
        sys.exit(start(sys.argv[1:]))

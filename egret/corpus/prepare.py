"""Stage 0 of every recipe: from a corpus's own files to validated cuts.

A recipe's `local/prepare.py` lists its utterances; `prepare_step` makes a program of that. Neither Lhotse nor
torch is imported: the cuts are written as Lhotse writes them (tests/test_corpus_prepare.py holds it to that).
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, counted
from egret.base.files import digest, read_json, write_json, write_jsonl, write_text
from egret.base.log import log
from egret.base.options import option, runtime
from egret.base.program import Outcome, OutOptions, Step
from egret.corpus.convert import lost
from egret.corpus.cuts import write_cuts
from egret.corpus.report import corpus_report
from egret.corpus.validate import Checked, Limits, Parts, Utterance, check
from egret.lang.normalise import identity

__all__ = ["Parts", "PrepareOptions", "Utterance", "prepare_step"]

# Raised by hand when the same corpus would give other cuts; a recipe's own version counts beside it.
VERSION = 3


@dataclass(kw_only=True)
class PrepareOptions(OutOptions):
    # Where the corpus lies is part of what is listed, and counts there.
    corpus: str = runtime("", "folder of the corpus; empty: that of the last time, else a download")
    normaliser: str = option("plain", "what every transcript passes through: plain, upper, lower, english, mandarin")
    sampling_rate: int | None = option(None, "of every recording, in Hz; default: the commonest", above=0)
    min_duration: float = option(0.1, "shorter utterances are rejected, seconds", minimum=0)
    max_duration: float = option(60.0, "longer utterances are rejected, seconds", above=0)
    max_reject_percent: float = option(5.0, "stop when more utterances are rejected", minimum=0, maximum=100)
    check_audio: Literal["full", "header"] = option(
        "full", "header: read no samples, for a first look at a large corpus; stage 1 stops at damaged ones"
    )
    workers: int = runtime(os.cpu_count() or 1, "recordings read at a time", minimum=1)


def prepare_step(
    name: str,
    version: int,
    options_class: type[PrepareOptions],
    list_parts: Callable[[Any], Parts],
    description: str,
    example: str,
    obtain: Callable[[Any], None] | None = None,
    more_files: Callable[[Any], dict[str, str]] | None = None,
    convert: Callable[[Parts, Any], Parts] | None = None,
) -> Step:
    """The program that prepares a corpus.

    `list_parts(options)` gives the utterances of each part in order, without reading audio; it raises
    EgretError where the corpus is not what it should be. It runs at every start, to see whether anything has
    changed. `obtain(options)` runs before it and may download the corpus; `--status` never calls it.
    `more_files(options)` gives texts of the corpus that later stages read, such as its dictionary, by the name of
    the file that is left beside the cuts. `convert(parts, options)` may put other recordings in the place of those
    listed (egret.corpus.convert), before they are read and checked.
    """
    # The listing that was fingerprinted is the one that is worked on.
    listing: dict[int, tuple[Parts, dict[str, str]]] = {}

    def read(options: PrepareOptions) -> tuple[Parts, dict[str, str]]:
        return list_parts(options), more_files(options) if more_files else {}

    def more_inputs(options: PrepareOptions) -> dict[str, str]:
        options.corpus = options.corpus or last_corpus(options.out)
        identity(options.normaliser)  # an unknown name is wrong usage even where all is up to date
        if obtain is not None and not os.environ.get("EGRET_STATUS"):
            obtain(options)
        parts, texts = read(options)
        if not any(parts.values()):
            raise EgretError(f"{name}: the corpus has no utterances; check that its path is right")
        listing.clear()
        listing[id(options)] = parts, texts
        found = {f"part {part}": fingerprint(utterances) for part, utterances in parts.items()}
        if convert is not None:
            found["converted recordings"] = f"{gone} are gone" if (gone := lost(options.out)) else "all there"
        return found | {f"file {name}": digest(text) for name, text in texts.items()}

    def run(options: PrepareOptions) -> Outcome:
        parts, texts = listing.pop(id(options)) if id(options) in listing else read(options)
        outcome = prepare(convert(parts, options) if convert else parts, options)
        for name, text in texts.items():
            write_text(options.out / name, text)
        return replace(outcome, outputs=[*outcome.outputs, *(options.out / name for name in texts)])

    return Step(
        name=name,
        version=100 * VERSION + version,
        options=options_class,
        run=run,
        description=description,
        example=example,
        more_inputs=more_inputs,
    )


def last_corpus(out: Path) -> str:
    """The corpus that `out` was prepared from, if it is still there: so that it need not be named every time."""
    try:
        name = read_json(out / "report.json")["corpus"]
    except (OSError, KeyError, EgretError):
        return ""
    return name if Path(name).is_dir() else ""


def fingerprint(utterances: list[Utterance]) -> str:
    """What a part is made from: all that the listing says, and the size and time of every audio file."""
    states: dict[Path, tuple[int, int]] = {}
    rows = []
    for each in utterances:
        if each.audio not in states:
            try:
                state = each.audio.stat()
                states[each.audio] = (state.st_size, state.st_mtime_ns)
            except OSError:
                states[each.audio] = (-1, -1)
        said = (each.id, each.text, each.speaker, each.start, each.end, each.channel, each.language, each.problem)
        rows.append((*said, each.custom, str(each.audio), *states[each.audio]))
    return digest(rows)


def prepare(parts: Parts, options: PrepareOptions) -> Outcome:
    """Read every recording and write `<part>.jsonl`, `rejected.jsonl` and `report.json` into `options.out`.

    Raises:
      EgretError: more than --max-reject-percent rejected, or nothing left of a part; rejected.jsonl is written.
    """
    for part, utterances in parts.items():
        log.info("%s: %s listed", part, counted(len(utterances), "utterance"))
    limits = Limits(options.min_duration, options.max_duration, options.sampling_rate)
    checked = check(parts, options.normaliser, limits, options.workers, full=options.check_audio == "full")

    out = options.out
    rejected_path = out / "rejected.jsonl"
    write_jsonl(rejected_path, (each.row() for each in checked.rejected))
    _stop_if_too_many(parts, checked, rejected_path, options.max_reject_percent)
    outputs = [rejected_path, out / "report.json"]
    for part, cuts in checked.cuts.items():
        write_cuts(out / f"{part}.jsonl", cuts)
        outputs.append(out / f"{part}.jsonl")
    report = {"corpus": options.corpus, **corpus_report(parts, checked, options.normaliser)}
    write_json(out / "report.json", report)
    for part, about in report["parts"].items():
        log.info(
            "%s: %d of %s kept, %.2f h, %s, %s",
            part, about["kept"], counted(about["utterances"], "utterance"), about["hours"],
            counted(about["speakers"], "speaker"), counted(about["words"], "word"),
        )  # fmt: skip
    if shared := report["speakers_in_several_parts"]:
        log.info("in more than one part: %s", counted(shared, "speaker"))
    counts: dict[str, Any] = {
        "utterances": sum(map(len, parts.values())),
        "kept": sum(map(len, checked.cuts.values())),
        "rejected": len(checked.rejected),
        "hours": report["hours"],
    }
    if checked.rejected:
        log.warning("rejected: %s; see %s", reasons(checked), rejected_path)
    return Outcome(outputs, counts)


def reasons(checked: Checked) -> str:
    """`missing 3, too short 1`, the commonest first."""
    counts = Counter(each.reason for each in checked.rejected)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def _stop_if_too_many(parts: Parts, checked: Checked, path: Path, allowed: float) -> None:
    total = sum(map(len, parts.values()))
    percent = 100 * len(checked.rejected) / total
    if percent > allowed:
        raise EgretError(
            f"{path}: {len(checked.rejected)} of {counted(total, 'utterance')} rejected, {percent:.1f} % where "
            f"{allowed:g} % are allowed ({reasons(checked)}; {_first(checked)}); mend the corpus or raise "
            f"--max-reject-percent"
        )
    for part, cuts in checked.cuts.items():
        if not cuts:
            lost = f"rejected: {counted(len(parts[part]), 'utterance')}" if parts[part] else "has no utterances"
            raise EgretError(f"{path}: nothing is left of the part {part!r} ({lost}); check the corpus")


def _first(checked: Checked) -> str:
    first = checked.rejected[0].row()
    return f"first: {first['audio']}: {first['reason']}, {first['detail']}"

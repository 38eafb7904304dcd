"""The parts recognised in this process, or divided over jobs.

There are two rounds of jobs: dev parts with every setting and, when one of each method has been chosen, test parts with
that. A job leaves for each part `<part>.jsonl.gz`: a line of the settings and of the seconds that it took, then one for
each method and setting.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from egret.base.errors import EgretError
from egret.base.files import read_json, read_jsonl, write_json, write_jsonl
from egret.base.program import Jobs, Outcome, share_folder
from egret.corpus.cuts import part_name, read_cuts, share
from egret.decoding.options import DecodeOptions
from egret.decoding.recognised import Recognised, without_frames

Settings = dict[str, list[dict[str, Any]]]  # of each method
Heard = tuple[list[Recognised], dict[str, float]]  # what was found in a part, and seconds of audio and encoder
# Recognises the parts of a round with these settings, one after the other; None: dev with all of them, test with the
# first of each method.
Hear = Callable[[str, Settings | None], Iterator[tuple[Path, Heard]]]


def here(options: DecodeOptions) -> Hear:
    """In this process."""
    from egret.decoding.recognise import make_recogniser, recognise

    recogniser = make_recogniser(options)

    def hear(of_round: str, settings: Settings | None) -> Iterator[tuple[Path, Heard]]:
        settings = settings or recogniser.usual(of_round)
        for cuts in options.parts(of_round):
            yield cuts, recognise(recogniser, cuts, settings)

    return hear


def divided(options: DecodeOptions, jobs: Jobs) -> Hear:
    """By jobs, each of which loads the model and what its methods need."""

    def hear(of_round: str, settings: Settings | None) -> Iterator[tuple[Path, Heard]]:
        options.round = of_round  # type: ignore[assignment]
        if settings:
            write_json(options.choice, settings)
        jobs(of_round)
        for cuts in options.parts(of_round):
            yield cuts, joined(options, cuts, settings)

    return hear


def chosen(options: DecodeOptions) -> Settings | None:
    """The settings with which a job is to recognise its share; None: nothing was to be chosen, or is yet.

    Raises:
      EgretError: they are not there.
    """
    if options.round != "test" or not options.dev_cuts:
        return None
    if not options.choice.exists():
        raise EgretError(f"{options.choice}: not there; run the step as a whole, with --nj and without --job")
    return read_json(options.choice)


def recognise_share(options: DecodeOptions) -> Outcome:
    """Recognise a job's share of the parts of its round."""
    from egret.decoding.recognise import make_recogniser, recognise

    settings = chosen(options)
    recogniser = make_recogniser(options)
    if settings:
        refuse_not_asked_for(settings, recogniser.settings)
    else:
        settings = recogniser.usual(options.round)
    outputs, counts = [], {}
    for cuts in options.parts(options.round):
        results, took = recognise(recogniser, cuts, settings, options.job, options.nj)
        outputs.append(share_of_part(options, cuts, options.job))
        lines = ({"seconds": result.seconds, "rows": result.rows} for result in results)
        write_jsonl(outputs[-1], chain([{"settings": settings, "took": took}], lines))
        counts[f"utterances of {part_name(cuts)}"] = len(results[0].names)
    return Outcome(outputs, counts)


def refuse_not_asked_for(settings: Settings, asked: Settings) -> None:
    """Raises EgretError unless what was chosen on dev is among what is asked for, as it was when the step began."""
    for method, chosen in settings.items():
        if any(params not in asked.get(method, []) for params in chosen):
            raise EgretError(f"{method}: what was chosen of it on dev is not asked for any more, as options or inputs "
                             f"changed while it ran; run it again")  # fmt: skip


def share_of_part(options: DecodeOptions, cuts: Path, job: int) -> Path:
    return share_folder(options, job) / f"{part_name(cuts)}.jsonl.gz"


def joined(options: DecodeOptions, cuts: Path, settings: Settings | None) -> Heard:
    """What the jobs found in a part with these settings; None: with those of the first job.

    Raises:
      EgretError: the manifest is not the one that they recognised, or it was done with other settings.
    """
    every = list(read_cuts(cuts))
    if options.cmd:  # of those of its share each job has told, in its own log
        without_frames(cuts, every)
    names = [cut["id"] for cut in every]
    found: list[Recognised] = []
    took: dict[str, float] = {}
    for job in range(1, options.nj + 1):
        path = share_of_part(options, cuts, job)
        lines = read_jsonl(path)
        head = next(lines)
        settings = settings or head["settings"]
        if head["settings"] != settings:
            raise EgretError(f"{path}: done with other settings than are asked for; run the step again with --force")
        found = found or [Recognised(method, params, names) for method in settings for params in settings[method]]
        took = {what: seconds + took.get(what, 0.0) for what, seconds in head["took"].items()}
        for result, line in zip(found, lines, strict=True):
            if list(line["rows"]) != names[share(len(names), job, options.nj)]:
                raise EgretError(f"{cuts}: changed while it was decoded; run the step again")
            result.seconds += line["seconds"]
            result.add(line["rows"])
    return found, took

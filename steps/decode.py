#!/usr/bin/env python3
"""Recognise dev and test parts by one or several methods; parameters are chosen on dev and applied to test.

With --nj a launcher's jobs (--cmd) share each part among them: dev first, then, by what was chosen, test.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from egret.base.files import digest
from egret.base.log import log
from egret.base.program import Jobs, Outcome, ParallelStep, main
from egret.base.stamps import Request
from egret.corpus.cuts import part_name
from egret.decoding.options import DecodeOptions

if TYPE_CHECKING:
    from egret.decoding.jobs import Hear


def run(options: DecodeOptions) -> Outcome:
    from egret.decoding.jobs import here, recognise_share

    return recognise_share(options) if options.job else decode(options, here(options))


def decode(options: DecodeOptions, hear: "Hear") -> Outcome:
    """Leave what is heard of all parts, of each method with the setting that is best on dev."""
    from egret.decoding.leave import leave, remove_others
    from egret.lang.lang import Lang

    settings, chosen_on = None, "fixed"
    outputs: list[Path] = []
    counts: dict[str, int] = {}

    def put(cuts: Path, results: list, took: dict[str, float]) -> None:
        outputs.extend(leave(options, part_name(cuts), results, took, chosen_on))
        counts[f"utterances of {part_name(cuts)}"] = len(results[0].names)

    if options.dev_cuts:
        heard = dict(hear("dev", None))
        chosen_on = " ".join(map(part_name, heard))
        normaliser = Lang.read(options.lang).normaliser
        settings = choose({cuts: results for cuts, (results, _) in heard.items()}, normaliser)
        for cuts, (results, took) in heard.items():
            put(cuts, [result for result in results if result.params in settings[result.method]], took)
    for cuts, (results, took) in hear("test", settings):
        put(cuts, results, took)
    remove_others(options.out, outputs)
    return Outcome(outputs, counts)


def choose(heard: dict[Path, list], normaliser: str) -> dict[str, list[dict]]:
    """Each method's setting with the fewest word errors on all dev parts together; of equals the first.

    `heard` has for each manifest the same methods and settings in the same order. Words of several characters are
    counted as they are scored, character by character where the normaliser divides them.
    """
    from egret.corpus.cuts import references
    from egret.lang.normalise import normalise
    from egret.scoring.errors import count_errors

    results = next(iter(heard.values()))
    errors_of = [0] * len(results)
    for cuts, of_part in heard.items():
        texts = {name: normalise(text, normaliser).split() for name, text in references(cuts).items()}
        for place, result in enumerate(of_part):
            hypotheses = {hyp["id"]: normalise(" ".join(hyp["words"]), normaliser).split() for hyp in result.hypotheses}
            errors_of[place] += count_errors(texts, hypotheses).errors
    best: dict[str, tuple[int, dict]] = {}
    tried = defaultdict(set)
    for result in results:
        for name, value in result.params.items():
            tried[result.method, name].add(value)

    def said(method: str, params: dict) -> str:
        """The method with those of its parameters of which several values are tried."""
        varied = [f"{name} {value:g}" for name, value in params.items() if len(tried[method, name]) > 1]
        return ", ".join([method, *varied])

    for result, errors in zip(results, errors_of, strict=True):
        log.info("dev: %s: %d errors", said(result.method, result.params), errors)
        if result.method not in best or errors < best[result.method][0]:
            best[result.method] = (errors, result.params)
    for method, (errors, params) in best.items():
        if len([result for result in results if result.method == method]) > 1:
            log.info("dev: chosen is %s, with %d errors", said(method, params), errors)
        for name, value in params.items():
            values = tried[method, name]
            if len(values) > 2 and value in (min(values), max(values)) and value not in (0, 1):
                log.info("dev: %s %g of %s is the last value that was tried on its side; there may be a better one "
                         "beyond it", name, value, method)  # fmt: skip
    return {method: [params] for method, (_, params) in best.items()}


class DecodeStep(ParallelStep):
    def divided(self, options: DecodeOptions) -> bool:
        """A single job is not, as it would load the model for dev and for test."""
        return options.nj > 1 or options.job > 0

    def share_request(self, options: DecodeOptions, request: Request) -> Request:
        """What a job is asked for; where settings were chosen for it, these."""
        from egret.decoding.jobs import chosen

        share = super().share_request(options, request)
        settings = chosen(options)
        return replace(share, options={**share.options, "chosen": digest(settings)}) if settings else share

    def direct(self, options: DecodeOptions, jobs: Jobs) -> Outcome:
        from egret.decoding.jobs import divided

        return decode(options, divided(options, jobs))


STEP = DecodeStep(
    name="decode",
    version=3,
    options=DecodeOptions,
    run=run,
    description=__doc__ or "",
    example="steps/decode.py --experiment exp/tdnn_phone --lang data/lang_phone --graph data/graph_phone_3gram "
    "--test-cuts data/fbank/test.jsonl --method ctc_greedy hlg_1best --out exp/tdnn_phone/decode",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Recognise dev and test parts by one or several methods; parameters are chosen on dev and applied to test."""

import shutil
from collections import defaultdict
from pathlib import Path

from egret.base.errors import UsageError, first_few
from egret.base.files import write_json, write_jsonl
from egret.base.log import log
from egret.base.program import Outcome, Step, main
from egret.corpus.cuts import part_name
from egret.decoding.options import DecodeOptions

# What may be said of a hypothesis in its row.
MARKS = {
    "fell_back": "the larger n-gram has no sentence of the lattice, the words stay as they were",
    "halved": "memory ran out, batches were halved (a lower --max-duration saves the time)",
    "beam_narrowed": "memory ran out, beams were narrowed",
    "out_of_memory": "memory ran out with the narrowest beams, and there are no words",
    "untimed": "no times of words, their tokens make other words or do not fit into the frames",
    "partial": "no path ends where a sentence may (wider beams may help), the best of the others was taken",
    "histories_pruned": "the lattice is too wide to follow every history (a lower --hlg.output-beam helps), the best "
    "ones were",
}


def run(options: DecodeOptions) -> Outcome:
    from egret.decoding.recognise import make_recogniser, recognise
    from egret.lang.lang import Lang

    refuse_equal_names(options)
    recogniser = make_recogniser(options)
    settings, chosen_on = recogniser.settings, "fixed"
    outputs: list[Path] = []
    counts: dict[str, int] = {}
    if options.dev_cuts:
        heard = {cuts: recognise(recogniser, cuts, settings) for cuts in options.dev_cuts}
        chosen_on = " ".join(map(part_name, heard))
        normaliser = Lang.read(options.lang).normaliser
        settings = choose({cuts: results for cuts, (results, _) in heard.items()}, normaliser)
        for cuts, (results, took) in heard.items():
            results = [result for result in results if result.params in settings[result.method]]
            outputs += leave(options, part_name(cuts), results, took, chosen_on)
            counts[part_name(cuts)] = len(results[0].names)
    else:
        for method, tried in settings.items():
            if len(tried) > 1:
                log.info("%s: no dev part to choose %d settings on; the first is used", method, len(tried))
        settings = {method: tried[:1] for method, tried in settings.items()}
    for cuts in options.test_cuts:
        results, took = recognise(recogniser, cuts, settings)
        outputs += leave(options, part_name(cuts), results, took, chosen_on)
        counts[part_name(cuts)] = len(results[0].names)
    remove_others(options.out, outputs)
    return Outcome(outputs, {f"utterances of {part}": count for part, count in counts.items()})


def remove_others(out: Path, written: list[Path]) -> None:
    """Decodings of an earlier run by methods or of parts no longer asked for must not be scored with these."""
    for path in sorted(out.glob("*/hyp.jsonl")):
        if path not in written:
            log.info("%s: removed, it is of an earlier run", path.parent)
            shutil.rmtree(path.parent)


def refuse_equal_names(options: DecodeOptions) -> None:
    """Hypotheses lie in folders named after their part: two parts of one name would overwrite each other."""
    manifests = {*options.test_cuts, *options.dev_cuts}
    names = [part_name(path) for path in manifests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--test-cuts: more than one manifest is of the part {first_few(twice)}; rename one")


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


def leave(options: DecodeOptions, part: str, results: list, took: dict[str, float], chosen_on: str) -> list[Path]:
    """Write hypotheses and parameters of each method below --out."""
    written, out = [], options.out
    audio = took["audio_seconds"]
    for result in results:
        folder = out / f"{part}_{result.method}"
        shutil.rmtree(folder, ignore_errors=True)  # scores of other hypotheses must not stay beside these
        folder.mkdir(parents=True)
        rtf = {
            "encoder": round(took["encoder_seconds"] / audio, 5),
            "search": round(result.seconds / audio, 5),
        }
        about = {"part": part, "method": result.method, "params": result.params, "chosen_on": chosen_on,
                 "files": options.files_of(result.method)}  # fmt: skip
        hypotheses = result.hypotheses
        marked = {mark: [hyp["id"] for hyp in hypotheses if hyp.get(mark)] for mark in MARKS}
        about |= {mark: len(names) for mark, names in marked.items() if names}
        write_jsonl(folder / "hyp.jsonl", hypotheses)
        write_json(folder / "params.json", {**about, "rtf": {**rtf, "audio_seconds": round(audio, 2)}})
        if lost := [hyp["id"] for hyp in hypotheses if hyp["score"]["total"] is None]:
            log.warning("%s %s: no path for %d of %d utterances, which get no words (%s); wider beams may help",
                        part, result.method, len(lost), len(hypotheses), first_few(lost))  # fmt: skip
        for mark, names in marked.items():
            if names:
                log.warning("%s %s: %s for %d of %d utterances (%s)", part, result.method, MARKS[mark], len(names),
                            len(hypotheses), first_few(names))  # fmt: skip
        log.info("%s %s: %d utterances, real-time factor %.4f encoder, %.4f search",
                 part, result.method, len(hypotheses), rtf["encoder"], rtf["search"])  # fmt: skip
        written += [folder / "hyp.jsonl", folder / "params.json"]
    return written


STEP = Step(
    name="decode",
    version=2,
    options=DecodeOptions,
    run=run,
    description=__doc__ or "",
    example="steps/decode.py --experiment exp/tdnn_phone --lang data/lang_phone --graph data/graph_phone_3gram "
    "--test-cuts data/fbank/test.jsonl --method ctc_greedy hlg_1best --out exp/tdnn_phone/decode",
)

if __name__ == "__main__":
    main(STEP)

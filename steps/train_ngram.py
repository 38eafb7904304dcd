#!/usr/bin/env python3
"""Estimate an n-gram model with KenLM, or take one from elsewhere, and make its grammar G."""

import os
import shutil
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from egret.base.errors import UsageError, first_few
from egret.base.files import open_text, write_json
from egret.base.log import log
from egret.base.program import Outcome, Step, main
from egret.corpus.cuts import part_name
from egret.lang.symbols import read_symbols
from egret.lm.making import Model, NgramVocabulary, make_model, transcripts
from egret.lm.ngram import TextCounts, build_binary
from egret.lm.ngram_options import NgramOptions

MOST_FREQUENT = 50  # words named in the report
TRAINING_TEXT = "train"  # the name under which its perplexity is reported
PERPLEXITY_SENTENCES = 50_000  # of the training text at most; every k-th where there are more


def check(options: NgramOptions) -> None:
    if options.arpa and (options.cuts or options.text or options.other_text):
        raise UsageError("--arpa takes the place of --cuts, --text and --other-text; give either a model or text")
    if options.other_text and not (options.cuts or options.text):
        raise UsageError("--other-text is interpolated with --cuts or --text, and neither is given; use --text")
    if not (options.arpa or options.cuts or options.text):
        raise UsageError("nothing to train on: give --cuts, --text or --arpa")
    if options.other_weight and not options.other_text:
        raise UsageError("--other-weight is that of --other-text, which is not given")
    if options.weight_cuts and (options.other_weight or not options.other_text):
        why = "--other-weight gives" if options.other_weight else "there is no --other-text for"
        raise UsageError(f"--weight-cuts choose the weight that {why}; leave them out")
    if options.other_text and not options.other_weight and not options.weight_cuts:
        raise UsageError("the weight of --other-text is chosen on --weight-cuts: give these, or --other-weight")
    if options.prune and (options.arpa or options.order == 1):
        raise UsageError("--prune goes with estimating a model of order 2 or more")
    if len(options.prune) > options.order:
        raise UsageError(f"--prune: {len(options.prune)} thresholds for a model of order {options.order}")
    if options.prune and (options.prune[0] != 0 or options.prune != sorted(options.prune)):
        raise UsageError("--prune: thresholds begin with 0 and do not fall, such as 0 0 1")
    names = [*([] if options.arpa else [TRAINING_TEXT]), *map(part_name, options.dev_cuts)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--dev-cuts: perplexity is reported by part, and {first_few(twice)} is there already")


def run(options: NgramOptions) -> Outcome:
    check(options)
    vocabulary = NgramVocabulary.of(options)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".train_ngram.*"):  # by a run that was killed, for no other one is at work in this folder
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".train_ngram.", dir=out) as folder:
        outputs, counts = make(options, vocabulary, Path(folder))
    return Outcome(outputs, counts)


def make(options: NgramOptions, vocabulary: NgramVocabulary, work: Path) -> tuple[list[Path], dict[str, Any]]:
    """Make everything in `work`, then move it into place, the report last."""
    from egret.base.files import digest
    from egret.graph import arcs
    from egret.graph.grammar import grammar
    from egret.lm.arpa import pack

    out, order, full = options.out, options.order, work / "full.arpa"
    model = make_model(options, vocabulary, work, full)
    text, done = model.made.text, model.done
    tell(options, model)
    names = [f"{order}gram.bin", f"{order}gram.arpa.gz", f"G_{order}gram.safetensors"]
    build_binary(full, work / names[0], order)
    graph = grammar(full, options.lang / "words.txt", order)
    symbols = read_symbols(options.lang / "words.txt")
    arcs.save(work / names[2], graph, {"words": digest(list(symbols)), "order": order})
    pack(full, work / names[1])
    report = report_of(options, vocabulary, model, work)
    report["grammar"] = {"states": graph.num_states, "arcs": graph.num_arcs}
    if text.sentences:
        names.append("train.txt")
    for name in names:
        os.replace(work / name, out / name)
    write_json(out / "report.json", report)
    remove_others(out, names)
    counts = {"sentences": text.sentences, "words": text.tokens, "ngrams": sum(done.ngrams), **report["grammar"]}
    return [out / name for name in [*names, "report.json"]], counts


def tell(options: NgramOptions, model: Model) -> None:
    """Say what was made, and which words of the lexicon it lacks."""
    done = model.done
    source_size = "" if options.arpa else f" from {model.made.text.sentences} sentences"
    log.info("%d-gram%s: %s n-grams by order", options.order, source_size, ", ".join(map(str, done.ngrams)))
    if done.added:
        log.info("%d words of the lexicon are not in the model (%s): probability %.3g each; %s keeps %.3g",
                 len(done.added), first_few(done.added), done.share, done.name, done.unknown)  # fmt: skip


def report_of(options: NgramOptions, vocabulary: NgramVocabulary, model: Model, work: Path) -> dict[str, Any]:
    """The content of report.json but for the grammar; `work` has the binary model and the training text."""
    from egret.lang.normalise import identity

    done, text, order = model.done, model.made.text, options.order
    return {
        "order": order,
        "source": str(options.arpa) if options.arpa else "estimated",
        "method": None if options.arpa else "Witten-Bell" if order == 1 else "modified Kneser-Ney (lmplz)",
        "discount_fallback": model.made.fell_back,
        "normaliser": identity(vocabulary.normaliser),
        "segment": options.segment,
        "sentences": text.sentences,
        "words": text.tokens,
        "empty_lines": text.empty,
        "reserved_symbols_left_out": text.reserved,
        **described(model, vocabulary),
        "ngrams": {str(n): count for n, count in enumerate(done.ngrams, 1)},
        "lexicon": {
            "words": len(vocabulary.words),
            "unseen": len(done.added),
            "unseen_first": done.added[:MOST_FREQUENT],
            "model_words_outside": len(done.known - vocabulary.words),
        },
        "unknown": {
            "word": done.name,
            "mass": done.mass,
            "mass_from": done.source,
            "each_unseen_word": done.share if done.added else None,
            "left": done.unknown,
        },
        "oov": oov_told(text, vocabulary.known),
        "perplexity": perplexities(options, vocabulary, work, text.sentences, vocabulary.oov or done.name),
    }


def report_oov(counts: TextCounts, known: frozenset[str]) -> dict[str, Any]:
    """The words of a text that are not `known`."""
    outside = {word: count for word, count in counts.words.items() if word not in known}
    tokens = sum(outside.values())
    frequent = sorted(outside.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
    return {
        "types": len(outside),
        "tokens": tokens,
        "percent": round(100 * tokens / max(1, counts.tokens), 3),
        "most_frequent": dict(frequent),
    }


def oov_told(counts: TextCounts, known: frozenset[str]) -> dict[str, Any]:
    """The same, said in the log as well."""
    oov = report_oov(counts, known)
    if oov["types"]:
        named = ", ".join(f"{word} ({count}x)" for word, count in islice(oov["most_frequent"].items(), 5))
        log.info("%d words of the text (%d tokens, %s %%) are not in the lexicon, the most frequent %s",
                 oov["types"], oov["tokens"], oov["percent"], named)  # fmt: skip
    return oov


def perplexities(
    options: NgramOptions, vocabulary: NgramVocabulary, work: Path, sentences: int, unknown: str
) -> dict[str, Any]:
    """Perplexity on the training text (a part of it where it is large) and on each part of --dev-cuts."""
    known, binary = vocabulary.known, work / f"{options.order}gram.bin"
    try:
        from egret.lm.perplexity import perplexity

        results = {}
        if sentences:
            every = -(-sentences // PERPLEXITY_SENTENCES)
            with open_text(work / "train.txt") as lines:
                results[TRAINING_TEXT] = perplexity(binary, islice(lines, 0, None, every), known, unknown)
        for path in options.dev_cuts:
            results[part_name(path)] = perplexity(binary, transcripts([path], vocabulary), known, unknown)
    except ImportError as error:
        log.warning("no perplexity: the module kenlm cannot be imported (%s); run local/install.sh", error)
        return {"missing": "the Python module kenlm"}
    for name, row in results.items():
        log.info("%s: perplexity %s, without OOVs %s, OOV rate %s %% (%d of %d words)", name, row["perplexity"],
                 row["perplexity_without_oov"], row["oov_percent"], row["oov"], row["words"])  # fmt: skip
    return results


def described(model: Model, vocabulary: NgramVocabulary) -> dict[str, Any]:
    """For the report: the text whose model was mixed in, and with which weight."""
    if model.other is None or model.weight is None:
        return {}
    text = model.other.text
    about = {"weight": round(model.weight, 4), "sentences": text.sentences, "words": text.tokens}
    return {"other_text": {**about, "oov": report_oov(text, vocabulary.known)}}


def remove_others(out: Path, names: list[str]) -> None:
    """Models that an earlier run with another order left: nothing says any more what they were made from."""
    for pattern in ("[1-9]gram.arpa.gz", "[1-9]gram.bin", "G_[1-9]gram.safetensors", "train.txt"):
        for path in out.glob(pattern):
            if path.name not in names:
                log.info("%s: from an earlier run; removed", path)
                path.unlink()


STEP = Step(
    name="train_ngram",
    version=2,
    options=NgramOptions,
    run=run,
    description=__doc__ or "",
    example="steps/train_ngram.py --lang data/lang_phone --cuts data/cuts/train.jsonl --order 3 --out data/lm",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Estimate an n-gram model with KenLM, or take one from elsewhere, and make its grammar G."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import open_text, read_json, write_json
from egret.base.log import log
from egret.base.options import infile, option, runtime
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import part_name
from egret.lang.segment import Segmentation, Segmenter, segmenter
from egret.lang.symbols import read_symbols
from egret.lm.arpa import UNKNOWN_NAMES
from egret.lm.ngram import RESERVED, TextCounts

MOST_FREQUENT = 50  # words named in the report
TRAINING_TEXT = "train"  # the name under which its perplexity is reported
PERPLEXITY_SENTENCES = 50_000  # of the training text at most; every k-th where there are more


@dataclass(kw_only=True)
class Options(OutOptions):
    lang: Path = infile("lang folder: its words.txt is the lexicon", "steps/prepare_lang.py (stage 2)")
    cuts: list[Path] = infile("cuts whose transcripts are training text", "stage 0", default=[])
    text: list[Path] = infile("plain training text, a sentence a line, .gz accepted", default=[])
    dev_cuts: list[Path] = infile(
        "cuts for perplexity and OOV rate, each reported by its part's name", "stage 0", default=[]
    )
    arpa: Path | None = infile("an ARPA model from elsewhere, gzipped or not, in place of estimating one", default=None)
    order: int = option(3, "order of the model (of --arpa: the order that it has)", minimum=1, maximum=6)
    prune: list[int] = option([], "leave out n-grams seen no more often than this, by order: 0 0 1", minimum=0)
    discount_fallback: Literal["auto", "always", "never"] = option("auto", "fixed discounts, for small texts")
    normaliser: str = option("", "text normaliser; empty: that of --lang")
    segment: Segmentation = option("none", "cut normalised text into words of --lang: by longest match or by jieba")
    memory: str = runtime("1G", "memory for sorting (lmplz --memory)")


@dataclass(frozen=True)
class Vocabulary:
    """The words of the lexicon, what stands for other words, the normaliser of both, and how text is cut."""

    words: frozenset[str]
    oov: str
    normaliser: str
    segment: Segmenter

    @property
    def known(self) -> frozenset[str]:
        """Words that are no OOV: all but the unknown word itself, where the lexicon has one."""
        return self.words.difference(UNKNOWN_NAMES)

    @classmethod
    def of(cls, options: Options) -> "Vocabulary":
        from egret.lang.normalise import identity

        symbols = read_symbols(options.lang / "words.txt")
        if missing := RESERVED - symbols.keys():
            raise EgretError(f"{options.lang}/words.txt: lacks {first_few(sorted(missing))}; make the folder again")
        about_path = options.lang / "unit.json"
        about = read_json(about_path) if about_path.exists() else {}
        normaliser = options.normaliser or about.get("normaliser", {}).get("name", "plain")
        identity(normaliser)  # refuses a name that there is not
        words = frozenset(symbols.keys() - RESERVED)
        return cls(words, about.get("oov") or "", normaliser, segmenter(options.segment, words))


def check(options: Options) -> None:
    if options.arpa and (options.cuts or options.text):
        raise UsageError("--arpa takes the place of --cuts and --text; give either a model or text")
    if not (options.arpa or options.cuts or options.text):
        raise UsageError("nothing to train on: give --cuts, --text or --arpa")
    if options.prune and (options.arpa or options.order == 1):
        raise UsageError("--prune goes with estimating a model of order 2 or more")
    if len(options.prune) > options.order:
        raise UsageError(f"--prune: {len(options.prune)} thresholds for a model of order {options.order}")
    if options.prune and (options.prune[0] != 0 or options.prune != sorted(options.prune)):
        raise UsageError("--prune: thresholds begin with 0 and do not fall, such as 0 0 1")
    names = [*([] if options.arpa else [TRAINING_TEXT]), *map(part_name, options.dev_cuts)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--dev-cuts: perplexity is reported by part, and {first_few(twice)} is there already")


def transcripts(cuts: list[Path], vocabulary: Vocabulary) -> Iterator[str]:
    """The normalised transcripts in words of the vocabulary."""
    from egret.corpus.cuts import references
    from egret.lang.normalise import normalise

    for path in cuts:
        for text in references(path).values():
            yield vocabulary.segment(normalise(text, vocabulary.normaliser))


@dataclass(frozen=True)
class Estimate:
    """What a model was estimated from, whether discounts fell back, and for how many unseen words it has room."""

    text: TextCounts
    fell_back: bool = False
    padding: int = 0


def estimate(options: Options, vocabulary: Vocabulary, work: Path, raw: Path) -> Estimate:
    """Write the training text `work`/train.txt and an ARPA model of it."""
    from egret.lm.ngram import SURROGATE, estimate_unigrams, lmplz, sentences_of, write_training_text

    def sentences() -> Iterator[str]:
        yield from transcripts(options.cuts, vocabulary)
        yield from map(vocabulary.segment, sentences_of(options.text, vocabulary.normaliser))

    counts = write_training_text(work / "train.txt", sentences())
    where = first_few(map(str, [*options.cuts, *options.text]))
    if not counts.sentences:
        raise EgretError(f"{where}: no words in it; an n-gram model needs text")
    log.info("%d sentences, %d words, %d different; %d empty lines left out",
             counts.sentences, counts.tokens, len(counts.words), counts.empty)  # fmt: skip
    stands_for = vocabulary.oov if vocabulary.oov not in ("", *UNKNOWN_NAMES) else SURROGATE
    outside = counts.words.keys() - vocabulary.known
    if len(outside) == len(counts.words):
        raise EgretError(
            f"{where}: none of its words is in {options.lang}/words.txt; is it of another language or case?"
        )
    seen = (counts.words.keys() - outside) | ({stands_for} if outside else set())
    unseen = len(vocabulary.known - seen)
    if options.order == 1:
        kept = Counter({word: n for word, n in counts.words.items() if word not in outside})
        if outside:
            kept[stands_for] += sum(counts.words[word] for word in outside)
        estimate_unigrams(kept, counts.sentences, raw)
        return Estimate(counts)
    fell_back = lmplz(
        work / "train.txt",
        raw,
        options.order,
        options.prune,
        options.discount_fallback,
        options.memory,
        vocabulary.known,
        stands_for if outside else "",
        len(seen) + unseen + 2 if unseen else 0,  # and </s> and the unknown word
    )
    return Estimate(counts, fell_back, unseen)


def report_oov(counts: TextCounts, known: frozenset[str]) -> dict[str, Any]:
    outside = {word: count for word, count in counts.words.items() if word not in known}
    tokens = sum(outside.values())
    frequent = sorted(outside.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
    return {
        "types": len(outside),
        "tokens": tokens,
        "percent": round(100 * tokens / max(1, counts.tokens), 3),
        "most_frequent": dict(frequent),
    }


def perplexities(
    options: Options, vocabulary: Vocabulary, binary: Path, train: Path, sentences: int, unknown: str
) -> dict:
    """Perplexity on the training text (a part of it where it is large) and on each part of --dev-cuts."""
    known = vocabulary.known
    try:
        from egret.lm.perplexity import perplexity

        results = {}
        if sentences:
            every = -(-sentences // PERPLEXITY_SENTENCES)
            with open_text(train) as lines:
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


def run(options: Options) -> Outcome:
    check(options)
    vocabulary = Vocabulary.of(options)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".train_ngram.*"):  # by a run that was killed, for no other one is at work in this folder
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".train_ngram.", dir=out) as folder:
        outputs, counts = make(options, vocabulary, Path(folder))
    return Outcome(outputs, counts)


def make(options: Options, vocabulary: Vocabulary, work: Path) -> tuple[list[Path], dict[str, Any]]:
    """Make everything in `work`, then move it into place, the report last."""
    from egret.base.files import digest
    from egret.graph import arcs
    from egret.graph.grammar import grammar
    from egret.lang.normalise import identity
    from egret.lm.arpa import complete, pack
    from egret.lm.ngram import SURROGATE, build_binary

    out, order = options.out, options.order
    made = Estimate(TextCounts.none())
    source = options.arpa
    if source is None:
        source = work / "raw.arpa"
        made = estimate(options, vocabulary, work, source)
    text = made.text
    full = work / "full.arpa"
    done = complete(source, full, vocabulary.words, SURROGATE, made.padding)
    if len(done.ngrams) != order:
        raise EgretError(f"{source}: a model of order {len(done.ngrams)}; say --order {len(done.ngrams)}")
    source_size = "" if options.arpa else f" from {text.sentences} sentences"
    log.info("%d-gram%s: %s n-grams by order", order, source_size, ", ".join(map(str, done.ngrams)))
    if done.added:
        log.info("%d words of the lexicon are not in the model (%s): probability %.3g each; %s keeps %.3g",
                 len(done.added), first_few(done.added), done.share, done.name, done.unknown)  # fmt: skip
    names = [f"{order}gram.bin", f"{order}gram.arpa.gz", f"G_{order}gram.safetensors"]
    build_binary(full, work / names[0], order)
    graph = grammar(full, options.lang / "words.txt", order)
    symbols = read_symbols(options.lang / "words.txt")
    arcs.save(work / names[2], graph, {"words": digest(list(symbols)), "order": order})
    pack(full, work / names[1])
    known = vocabulary.known
    oov = report_oov(text, known)
    if oov["types"]:
        named = ", ".join(f"{word} ({count}x)" for word, count in islice(oov["most_frequent"].items(), 5))
        log.info("%d words of the text (%d tokens, %s %%) are not in the lexicon, the most frequent %s",
                 oov["types"], oov["tokens"], oov["percent"], named)  # fmt: skip
    unknown = vocabulary.oov or done.name
    report = {
        "order": order,
        "source": str(options.arpa) if options.arpa else "estimated",
        "method": None if options.arpa else "Witten-Bell" if order == 1 else "modified Kneser-Ney (lmplz)",
        "discount_fallback": made.fell_back,
        "normaliser": identity(vocabulary.normaliser),
        "segment": options.segment,
        "sentences": text.sentences,
        "words": text.tokens,
        "empty_lines": text.empty,
        "reserved_symbols_left_out": text.reserved,
        "ngrams": {str(n): count for n, count in enumerate(done.ngrams, 1)},
        "grammar": {"states": graph.num_states, "arcs": graph.num_arcs},
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
        "oov": oov,
        "perplexity": perplexities(options, vocabulary, work / names[0], work / "train.txt", text.sentences, unknown),
    }
    if text.sentences:
        names.append("train.txt")
    for name in names:
        os.replace(work / name, out / name)
    write_json(out / "report.json", report)
    remove_others(out, names)
    counts = {"sentences": text.sentences, "words": text.tokens, "ngrams": sum(done.ngrams),
              "states": graph.num_states, "arcs": graph.num_arcs}  # fmt: skip
    return [out / name for name in [*names, "report.json"]], counts


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
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/train_ngram.py --lang data/lang_phone --cuts data/cuts/train.jsonl --order 3 --out data/lm",
)

if __name__ == "__main__":
    main(STEP)

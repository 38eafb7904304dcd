#!/usr/bin/env python3
"""Estimate an n-gram model with KenLM, or take one from elsewhere, and make its grammar G."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
    from egret.lm.arpa import Completion

MOST_FREQUENT = 50  # words named in the report
TRAINING_TEXT = "train"  # the name under which its perplexity is reported
PERPLEXITY_SENTENCES = 50_000  # of the training text at most; every k-th where there are more


@dataclass(kw_only=True)
class Options(OutOptions):
    lang: Path = infile("lang folder: its words.txt is the lexicon", "steps/prepare_lang.py (stage 2)")
    cuts: list[Path] = infile("cuts whose transcripts are training text", "stage 0", default=[])
    text: list[Path] = infile("plain training text, a sentence a line, .gz accepted", default=[])
    other_text: list[Path] = infile(
        "text of another kind: a model of its own is made and interpolated with that of --cuts and --text", default=[]
    )
    other_weight: float = option(
        0.0,
        "weight of that model; 0: the one with which the first of --dev-cuts is most probable",
        minimum=0,
        maximum=0.999,
    )
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
    if options.arpa and (options.cuts or options.text or options.other_text):
        raise UsageError("--arpa takes the place of --cuts, --text and --other-text; give either a model or text")
    if options.other_text and not (options.cuts or options.text):
        raise UsageError("--other-text is interpolated with --cuts or --text, and neither is given; use --text")
    if not (options.arpa or options.cuts or options.text):
        raise UsageError("nothing to train on: give --cuts, --text or --arpa")
    if options.other_weight and not options.other_text:
        raise UsageError("--other-weight is that of --other-text, which is not given")
    if options.other_text and not options.other_weight and not options.dev_cuts:
        raise UsageError("the weight of --other-text is chosen on --dev-cuts: give these, or --other-weight")
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


def estimate(options: Options, vocabulary: Vocabulary, sentences: Iterable[str], where: str, work: Path) -> Estimate:
    """Write the training text `work`/train.txt and an ARPA model of it, `work`/raw.arpa.

    Raises:
      EgretError: the text has no words, or none of the lexicon; named by `where`, the files that it is from.
    """
    from egret.lm.ngram import SURROGATE, estimate_unigrams, lmplz, write_training_text

    raw = work / "raw.arpa"
    counts = write_training_text(work / "train.txt", sentences)
    if not counts.sentences:
        raise EgretError(f"{where}: no words in it; an n-gram model needs text")
    log.info("%s: %d sentences, %d words, %d different; %d empty lines left out",
             where, counts.sentences, counts.tokens, len(counts.words), counts.empty)  # fmt: skip
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


@dataclass(frozen=True)
class Model:
    """A model on disk, what it was estimated from, and the text and the weight of one that was mixed in."""

    done: "Completion"
    made: Estimate
    other: Estimate | None = None
    weight: float | None = None


def completed(options: Options, vocabulary: Vocabulary, source: Path, padding: int, target: Path) -> "Completion":
    """Write a model to `target` in which each word of the lexicon has a unigram."""
    from egret.lm.arpa import complete
    from egret.lm.ngram import SURROGATE

    done = complete(source, target, vocabulary.words, SURROGATE, padding)
    if len(done.ngrams) != options.order:
        raise EgretError(f"{source}: a model of order {len(done.ngrams)}; say --order {len(done.ngrams)}")
    return done


def model_of_text(options: Options, vocabulary: Vocabulary, work: Path, full: Path) -> Model:
    """Estimate the model, or two and mix them, and write it to `full`."""
    from egret.lm.interpolation import interpolate
    from egret.lm.ngram import sentences_of

    def sentences(files: list[Path]) -> Iterator[str]:
        return map(vocabulary.segment, sentences_of(files, vocabulary.normaliser))

    def estimated(text: Iterator[str], files: list[Path], folder: Path, target: Path) -> tuple["Completion", Estimate]:
        folder.mkdir(exist_ok=True)
        made = estimate(options, vocabulary, text, first_few(map(str, files)), folder)
        return completed(options, vocabulary, folder / "raw.arpa", made.padding, target), made

    text = chain(transcripts(options.cuts, vocabulary), sentences(options.text))
    if not options.other_text:
        return Model(*estimated(text, [*options.cuts, *options.text], work, full))
    pair = (work / "own.arpa", work / "other.arpa")
    own, made = estimated(text, [*options.cuts, *options.text], work, pair[0])
    other, of_other = estimated(sentences(options.other_text), options.other_text, work / "other", pair[1])
    weight = options.other_weight or chosen_weight(options, vocabulary, pair, vocabulary.oov or own.name)
    interpolate(pair, weight, work / "mixed.arpa")
    done = completed(options, vocabulary, work / "mixed.arpa", 0, full)
    unseen = sorted(set(own.added) & set(other.added))
    share = (1 - weight) * own.share + weight * other.share
    return Model(replace(done, added=unseen, known=own.known | other.known, share=share), made, of_other, weight)


def chosen_weight(options: Options, vocabulary: Vocabulary, pair: tuple[Path, Path], unknown: str) -> float:
    """The weight of the second model with which the first of --dev-cuts is most probable."""
    from egret.lm.interpolation import best_weight

    dev = options.dev_cuts[0]
    try:
        weight = best_weight(pair, transcripts([dev], vocabulary), vocabulary.known, unknown)
    except ImportError as error:
        raise EgretError(f"the weight of --other-text cannot be chosen: the module kenlm cannot be imported ({error}); "
                         f"run local/install.sh, or give --other-weight") from None  # fmt: skip
    log.info("the model of --other-text has weight %.3f, with which %s is most probable", weight, part_name(dev))
    return weight


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
    from egret.lm.arpa import pack
    from egret.lm.ngram import build_binary

    out, order = options.out, options.order
    full = work / "full.arpa"
    if options.arpa:
        model = Model(completed(options, vocabulary, options.arpa, 0, full), Estimate(TextCounts.none()))
    else:
        model = model_of_text(options, vocabulary, work, full)
    done, made = model.done, model.made
    text = made.text
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
        **described(model, vocabulary),
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


def described(model: Model, vocabulary: Vocabulary) -> dict[str, Any]:
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
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/train_ngram.py --lang data/lang_phone --cuts data/cuts/train.jsonl --order 3 --out data/lm",
)

if __name__ == "__main__":
    main(STEP)

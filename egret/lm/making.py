"""N-gram models from text, from two kinds of text, or from elsewhere, for the words of a lang folder."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from egret.base.errors import EgretError, first_few
from egret.base.files import read_json
from egret.base.log import log
from egret.corpus.cuts import part_name, references
from egret.lang.normalise import identity, normalise
from egret.lang.segment import Segmenter, segmenter
from egret.lang.symbols import read_symbols
from egret.lm.arpa import UNKNOWN_NAMES, Completion, complete
from egret.lm.interpolation import best_weight, interpolate
from egret.lm.ngram import (
    RESERVED,
    SURROGATE,
    TextCounts,
    estimate_unigrams,
    for_kenlm,
    lmplz,
    sentences_of,
    write_training_text,
)
from egret.lm.ngram_options import NgramOptions


@dataclass(frozen=True)
class NgramVocabulary:
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
    def of(cls, options: NgramOptions) -> "NgramVocabulary":
        symbols = read_symbols(options.lang / "words.txt")
        if missing := RESERVED - symbols.keys():
            raise EgretError(f"{options.lang}/words.txt: lacks {first_few(sorted(missing))}; make the folder again")
        about_path = options.lang / "unit.json"
        about = read_json(about_path) if about_path.exists() else {}
        normaliser = options.normaliser or about.get("normaliser", {}).get("name", "plain")
        identity(normaliser)  # refuses a name that there is not
        words = frozenset(symbols.keys() - RESERVED)
        return cls(words, about.get("oov") or "", normaliser, segmenter(options.segment, words))


def transcripts(cuts: list[Path], vocabulary: NgramVocabulary) -> Iterator[str]:
    """The normalised transcripts in words of the vocabulary."""
    for path in cuts:
        for text in references(path).values():
            yield vocabulary.segment(normalise(text, vocabulary.normaliser))


@dataclass(frozen=True)
class Estimate:
    """What a model was estimated from, whether discounts fell back, and for how many unseen words it has room."""

    text: TextCounts
    fell_back: bool = False
    padding: int = 0


def estimate(
    options: NgramOptions, vocabulary: NgramVocabulary, sentences: Iterable[str], where: str, work: Path
) -> Estimate:
    """Write the training text `work`/train.txt and an ARPA model of it, `work`/raw.arpa.

    Raises:
      EgretError: the text has no words, or none of the lexicon; named by `where`, the files that it is from.
    """
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

    done: Completion
    made: Estimate
    other: Estimate | None = None
    weight: float | None = None


def completed(
    options: NgramOptions, vocabulary: NgramVocabulary, source: Path, padding: int, target: Path
) -> Completion:
    """Write a model to `target` in which each word of the lexicon has a unigram."""
    done = complete(source, target, vocabulary.words, SURROGATE, padding)
    if len(done.ngrams) != options.order:
        raise EgretError(f"{source}: a model of order {len(done.ngrams)}; say --order {len(done.ngrams)}")
    return done


def model_of_text(options: NgramOptions, vocabulary: NgramVocabulary, work: Path, full: Path) -> Model:
    """Estimate the model, or two and mix them, and write it to `full`."""

    def sentences(files: list[Path]) -> Iterator[str]:
        return map(vocabulary.segment, sentences_of(files, vocabulary.normaliser))

    def estimated(text: Iterator[str], files: list[Path], folder: Path, target: Path) -> tuple[Completion, Estimate]:
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


def chosen_weight(options: NgramOptions, vocabulary: NgramVocabulary, pair: tuple[Path, Path], unknown: str) -> float:
    """The weight of the second model with which --weight-cuts are most probable."""
    try:
        readable = for_kenlm(pair[0], options.order), for_kenlm(pair[1], options.order)
        weight = best_weight(readable, transcripts(options.weight_cuts, vocabulary), vocabulary.known, unknown)
    except ImportError as error:
        raise EgretError(f"the weight of --other-text cannot be chosen: the module kenlm cannot be imported ({error}); "
                         f"run local/install.sh, or give --other-weight") from None  # fmt: skip
    log.info("the model of --other-text has weight %.3f, with which %s are most probable", weight,
             first_few(map(part_name, options.weight_cuts)))  # fmt: skip
    return weight


def make_model(options: NgramOptions, vocabulary: NgramVocabulary, work: Path, full: Path) -> Model:
    """Write the model that is asked for to `full`, an ARPA file; what it takes to make it lies in `work`.

    Raises:
      EgretError: the text, or the model from elsewhere, cannot be used.
    """
    if options.arpa:
        return Model(completed(options, vocabulary, options.arpa, 0, full), Estimate(TextCounts.none()))
    return model_of_text(options, vocabulary, work, full)

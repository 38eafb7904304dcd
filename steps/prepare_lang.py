#!/usr/bin/env python3
"""Make a lang folder: units, words, lexicon and L.

Units are the phones or syllables of a dictionary, the characters of words, pieces of words by byte-pair encoding
(SentencePiece), or whole words. The words are those of the dictionary, or without one those of the transcripts; with
pieces, those of both. With characters and pieces, a word that the lexicon lacks is spelled like any other, in training
and by greedy decoding; a graph does not have it.

For Chinese in characters (`--boundary ""`) the dictionary's words of several characters are taken as they are, and
every character of the transcripts is a word, too. Latin words in the transcripts can be cut into pieces by --latin-bpe.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, UsageError, counted, first_few
from egret.base.files import text_lines, write_json, write_text
from egret.base.log import log
from egret.base.options import infile, option
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import distinct_cuts, spoken_of, text_of
from egret.graph import arcs
from egret.graph.lexicon_graph import bounded_lexicon_graph, lexicon_graph
from egret.lang.bpe import Bpe, train_bpe, write_bpe
from egret.lang.lexicon import (
    Lexicon,
    disambiguate,
    normalised_lexicon,
    read_lexicon,
    word_lexicon,
    write_lexicon,
)
from egret.lang.normalise import identity, normalise, normalised_word
from egret.lang.spelling import LATIN, Characters, single
from egret.lang.symbols import (
    END,
    EPSILON,
    SPECIAL_TOKENS,
    START,
    Symbols,
    format_symbols,
    is_disambiguation,
    token_table,
    word_table,
)

BOUNDARY = "▁"
VOCAB_SIZE = 500
PRONOUNCED = ("phone", "syllable")
SPELLED = ("char", "bpe")


@dataclass(kw_only=True)
class Options(OutOptions):
    kind: Literal["phone", "syllable", "char", "bpe", "word"] = option(
        "phone", "units: phones or syllables of a dictionary, characters, pieces of words, whole words"
    )
    lexicon: Path | None = infile(
        "dictionary, `word phone phone ...` a line; for characters and pieces a list of words will do", default=None
    )
    cuts: list[Path] = infile("training cuts: their words are checked, or are the units", "stage 0", default=[])
    text: list[Path] = infile("more text to learn pieces from, a sentence a line", default=[])
    silence: str = option("", "token of optional silence between words; empty: none")
    silence_probability: float = option(0.5, "of silence at the start and after each word", above=0, maximum=0.999)
    boundary: str = option(BOUNDARY, "token between the words of --kind char; empty: none, as Chinese is written")
    vocab_size: int = option(VOCAB_SIZE, "pieces of --kind bpe", minimum=1)
    latin_bpe: int = option(0, "pieces of Latin words beside the characters of Chinese; 0: they are spelled", minimum=0)
    spoken: str = option(
        "", "field of the cuts' supervisions (custom) that says which units were spoken, to train on; empty: none"
    )
    oov: str = option("", "word of the lexicon that stands for words it lacks; empty: there is none")
    normaliser: str = option("plain", "text normaliser of the transcripts and of the lexicon's words")

    def __post_init__(self) -> None:
        kind = self.kind
        if kind in PRONOUNCED and self.lexicon is None:
            raise UsageError(f"--kind {kind} needs --lexicon, a dictionary of `word {kind} {kind} ...`")
        if kind == "word" and self.lexicon is not None:
            raise UsageError("--lexicon goes with the other kinds; whole words are taken from --cuts")
        if kind in SPELLED and (self.silence or self.oov):
            raise UsageError(f"--kind {kind}: every word is spelled; leave out --silence and --oov")
        if kind != "char" and self.boundary != BOUNDARY:
            raise UsageError(f"--boundary goes with --kind char, not with --kind {kind}; leave it out")
        if kind != "bpe" and self.vocab_size != VOCAB_SIZE:
            raise UsageError(f"--vocab-size goes with --kind bpe, not with --kind {kind}; leave it out")
        if self.latin_bpe and (kind != "char" or self.boundary):
            raise UsageError('--latin-bpe goes with --kind char --boundary ""; leave it out, or give those')
        if self.text and not self.learns:
            raise UsageError("--text is what pieces are learnt from (--kind bpe, --latin-bpe); leave it out")
        if self.spoken and kind not in PRONOUNCED:
            raise UsageError(f"--spoken goes with {' and '.join(PRONOUNCED)}, not with --kind {kind}; leave it out")

    @property
    def learns(self) -> bool:
        """There is a model of pieces to learn."""
        return self.kind == "bpe" or bool(self.latin_bpe)


def learn(options: Options, words: Counter) -> bytes | None:
    """The model of pieces, from the words of the transcripts and of --text; None: there is none to learn."""
    if not options.learns:
        return None
    counts = words + Counter(text_words(options))
    if options.kind == "bpe":
        return train_bpe(counts, options.vocab_size, "--vocab-size")
    latin: Counter = Counter()
    for word, count in counts.items():
        for part in LATIN.findall(word):
            latin[part] += count
    if not latin:
        raise EgretError(f"--latin-bpe {options.latin_bpe}: no Latin words in --cuts and --text; leave it out")
    return train_bpe(latin, options.latin_bpe, "--latin-bpe")


def text_words(options: Options) -> Iterator[str]:
    """The normalised words of --text."""
    for path in options.text:
        for line in text_lines(path, "--text"):
            yield from normalise(line, options.normaliser).split()


def make_lexicon(options: Options, words: Counter, bpe: Bpe | None) -> Lexicon:
    """The lexicon asked for, its words normalised, checked against the (normalised) words of the transcripts."""
    if options.lexicon is not None:
        source = str(options.lexicon)
        read = read_lexicon(options.lexicon, words_only=options.kind in SPELLED)
        lexicon = normalised_lexicon(read, options.normaliser, source)
    elif not words:
        raise EgretError(f"--kind {options.kind}: no words in --cuts; give the training cuts")
    else:
        source = "the transcripts"
        lexicon = word_lexicon(words)
    if options.kind in SPELLED:
        lexicon = spelled_lexicon(options, words, [word for word, _ in lexicon], bpe)
    check_names(lexicon, options.silence, source)
    check_words(options, words, lexicon, source)
    return lexicon


def spelled_lexicon(options: Options, words: Counter, listed: list[str], bpe: Bpe | None) -> Lexicon:
    """The words of the lexicon in the units that words are spelled with, and those that transcripts add to them.

    Pieces, and characters where there is no boundary, are those of the text: words of other characters are left out.
    """
    added: Iterable[str] = []
    if options.kind == "bpe":
        added = words
    elif not options.boundary and options.lexicon is not None:
        added = {part for word in words for part in single(word)}
    vocabulary = sorted({*listed, *added})
    if options.kind == "bpe":
        assert bpe is not None
        vocabulary = spellable(vocabulary, bpe.characters)
        return list(zip(vocabulary, bpe.encode(vocabulary), strict=True))
    spelling = Characters([], options.boundary, bpe)
    check_boundary(options.boundary, {*words, *vocabulary})
    check_names([(word, spelling.spell(word)) for word in words], "", "the transcripts")
    if not options.boundary and words:
        known = frozenset("".join(words)) | (bpe.characters if bpe else frozenset())
        vocabulary = spellable(vocabulary, known)
    return [(word, spelling.spell(word)) for word in vocabulary]


def spellable(words: list[str], characters: frozenset[str]) -> list[str]:
    """The words that are made of the characters; it is said which are not."""
    kept = [word for word in words if characters.issuperset(word)]
    if len(kept) < len(words):
        strange = sorted(set(words).difference(kept))
        log.warning("%d of %d words have characters that the text lacks, so that no model can learn them, and are left "
                    "out: %s", len(strange), len(words), first_few(strange))  # fmt: skip
    return kept


def check_words(options: Options, words: Counter, lexicon: Lexicon, source: str) -> None:
    """Words of the transcripts that the lexicon lacks are said, or an error where they cannot be trained on."""
    known = {word for word, _ in lexicon}
    oov = normalised_word(options.oov, options.normaliser)
    if options.oov and oov not in known:
        raise EgretError(f"--oov {options.oov}: {source} has no such word; add it, or name another")
    missing = Counter({word: count for word, count in words.items() if word not in known})
    if not missing:
        return
    named = first_few([f"{word} ({count}x)" for word, count in missing.most_common()])
    if options.kind in SPELLED:
        log.info("%d words of the transcripts are not in the lexicon; they are spelled for training, and a graph "
                 "does not have them: %s", len(missing), named)  # fmt: skip
    elif options.oov:
        log.info("%d words of the transcripts are not in the lexicon and become %s: %s",
                 len(missing), oov, named)  # fmt: skip
    else:
        raise EgretError(
            f"{options.lexicon}: lacks {counted(len(missing), 'word')} of the transcripts, {named}; "
            f"add them, or say with --oov WORD which word stands for them"
        )


def check_names(lexicon: Lexicon, silence: str, source: str) -> None:
    """Refuse words and tokens that mean something of their own in Egret's files."""
    for word, tokens in lexicon:
        if word in (EPSILON, START, END) or is_disambiguation(word):
            raise EgretError(f"{source}: the word {word!r} has a reserved name; leave it out")
        for token in tokens:
            if token in SPECIAL_TOKENS or token.startswith("#"):
                raise EgretError(f"{source}: the token {token!r} of {word!r} has a reserved name; rename it")
    check_token("--silence", silence)


def check_token(option: str, token: str) -> None:
    """Refuse a token that means something of its own in Egret's files, or cannot be written there."""
    if token and (token in SPECIAL_TOKENS or token.startswith("#") or token.split() != [token]):
        raise UsageError(f"{option} {token!r}: a reserved name, or one with white space; choose another")


def check_boundary(boundary: str, words: Iterable[str]) -> None:
    """Refuse a boundary that is a character of a word, or a name that cannot be had."""
    check_token("--boundary", boundary)
    if inside := sorted(word for word in words if boundary in list(word)):
        raise EgretError(f"--boundary {boundary}: is a character of {first_few(inside)}; choose another")


def make_units(options: Options, words: Counter, lexicon: Lexicon, bpe: Bpe | None) -> list[str]:
    """What a model gives scores for, special tokens left out."""
    units = {token for _, tokens in lexicon for token in tokens}
    units.update([options.boundary] if options.kind == "char" else [options.silence])
    if bpe is not None:
        units.update(bpe.pieces)
    if options.kind == "char":
        spelling = Characters([], options.boundary, bpe)
        units.update(token for word in words for token in spelling.spell(word))
    return sorted(units - {""})


def check_spoken(options: Options, spoken: Counter, units: list[str]) -> None:
    """Say which spoken units there are none of.

    Raises:
      EgretError: no utterance has the field of --spoken.
    """
    if options.spoken and options.cuts and not spoken:
        raise EgretError(f"--spoken {options.spoken}: no supervision of --cuts has such a field (custom); check the "
                         f"name, or leave it out")  # fmt: skip
    strange = Counter({name: count for name, count in spoken.items() if name not in set(units)})
    if strange:
        named = first_few([f"{name} ({count}x)" for name, count in strange.most_common()])
        log.warning("%d spoken units (%s) are in no pronunciation of %s; training rejects utterances that have them: "
                    "%s", len(strange), options.spoken, options.lexicon, named)  # fmt: skip


def make_graph(options: Options, lexicon: Lexicon, tokens: Symbols, words: Symbols, mark: str | None) -> arcs.ArcTable:
    """L; with `mark`, the symbol after silence (empty: there is no silence), L_disambig of a marked lexicon."""
    if options.kind == "char" and options.boundary:
        return bounded_lexicon_graph(lexicon, tokens, words, options.boundary, backoff_loop=mark is not None)
    pause = (options.silence or None, options.silence_probability)
    return lexicon_graph(lexicon, tokens, words, *pause, mark or None, backoff_loop=mark is not None)


def read_transcripts(options: Options) -> tuple[Counter, Counter]:
    """How often each normalised word, and each spoken unit, stands in --cuts."""
    words: Counter = Counter()
    spoken: Counter = Counter()
    for path in options.cuts:
        for cut in distinct_cuts(path):
            words.update(normalise(text_of(cut), options.normaliser).split())
            spoken.update(spoken_of(cut, options.spoken).split())
    return words, spoken


def describe(options: Options, units: list[str], tokens: Symbols) -> dict[str, Any]:
    """The content of unit.json."""
    silence = {"token": options.silence, "probability": options.silence_probability} if options.silence else None
    about: dict[str, Any] = {
        "kind": options.kind,
        "units": len(SPECIAL_TOKENS) + len(units),
        "special": {name: tokens[name] for name in SPECIAL_TOKENS},
        "silence": silence,
        "oov": normalised_word(options.oov, options.normaliser),
        "normaliser": identity(options.normaliser),
    }
    if options.kind == "char":
        about["boundary"] = options.boundary
    if options.latin_bpe:
        about["latin_bpe"] = options.latin_bpe
    if options.spoken:
        about["spoken"] = options.spoken
    return about


def run(options: Options) -> Outcome:
    identity(options.normaliser)  # an unknown name is wrong usage
    words, spoken = read_transcripts(options)
    model = learn(options, words)
    bpe = Bpe(model) if model else None
    lexicon = make_lexicon(options, words, bpe)
    units = make_units(options, words, lexicon, bpe)
    check_spoken(options, spoken, units)
    marked, used = disambiguate(lexicon)
    silence_mark = f"#{used + 1}" if options.silence else ""
    tokens = token_table(units, used + 1 if options.silence else used)
    symbols = word_table(sorted({word for word, _ in lexicon}))

    out = options.out
    write_text(out / "tokens.txt", format_symbols(tokens))
    write_text(out / "words.txt", format_symbols(symbols))
    write_text(out / "lexicon.txt", write_lexicon(lexicon))
    write_text(out / "lexicon_disambig.txt", write_lexicon(marked))
    arcs.save(out / "L.safetensors", make_graph(options, lexicon, tokens, symbols, None))
    graph = make_graph(options, marked, tokens, symbols, silence_mark)
    arcs.save(out / "L_disambig.safetensors", graph)
    write_json(out / "unit.json", describe(options, units, tokens))
    names = ["tokens.txt", "words.txt", "lexicon.txt", "lexicon_disambig.txt", "unit.json"]
    outputs = [out / name for name in [*names, "L.safetensors", "L_disambig.safetensors"]]
    if model:
        write_bpe(out / "bpe.model", model)
        outputs.append(out / "bpe.model")
    else:  # one of other units, by an earlier run
        (out / "bpe.model").unlink(missing_ok=True)
    counts = {
        "units": len(units),
        "words": len(symbols) - 4,
        "pronunciations": len(lexicon),
        "arcs": graph.num_arcs,
    }
    if options.kind == "syllable":
        counts["without_tones"] = len({unit.rstrip("12345") for unit in units})
    return Outcome(outputs, counts)


STEP = Step(
    name="prepare_lang",
    version=3,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/prepare_lang.py --lexicon conf/lexicon.txt --silence SIL --out data/lang_phone",
)

if __name__ == "__main__":
    main(STEP)

#!/usr/bin/env python3
"""Make a lang folder: units, words, lexicon and L.

Units are the phones of a dictionary, the characters of words, or whole words. The words are those of the dictionary,
or without one those of the transcripts (not with phones). With characters, a word that the dictionary lacks is spelled
like any other, in training and by greedy decoding; a graph does not have it.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import write_json, write_text
from egret.base.log import log
from egret.base.options import infile, option
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import references
from egret.graph import arcs
from egret.graph.lexicon_graph import bounded_lexicon_graph, lexicon_graph
from egret.lang.lexicon import Lexicon, disambiguate, read_lexicon, spelled_lexicon, word_lexicon, write_lexicon
from egret.lang.normalise import identity, normalise
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


@dataclass(kw_only=True)
class Options(OutOptions):
    kind: Literal["phone", "char", "word"] = option("phone", "units: phones of a dictionary, characters, whole words")
    lexicon: Path | None = infile(
        "dictionary, `word phone phone ...` a line; for characters a list of words will do", default=None
    )
    cuts: list[Path] = infile("training cuts: their words are checked, or are the units", "stage 0", default=[])
    silence: str = option("", "token of optional silence between words; empty: none")
    silence_probability: float = option(0.5, "of silence at the start and after each word", above=0, maximum=0.999)
    boundary: str = option(BOUNDARY, "token between the words of --kind char; empty: none, as Chinese is written")
    oov: str = option("", "word of the lexicon that stands for words it lacks; empty: there is none")
    normaliser: str = option("plain", "text normaliser of the transcripts and of the lexicon's words")


def make_lexicon(options: Options, words: Counter) -> Lexicon:
    """The lexicon asked for, its words normalised, checked against the (normalised) words of the transcripts."""
    if options.kind == "phone" and options.lexicon is None:
        raise UsageError("--kind phone needs --lexicon, a dictionary of `word phone phone ...`")
    if options.kind == "word" and options.lexicon is not None:
        raise UsageError("--lexicon goes with phones and characters; whole words are taken from --cuts")
    if options.kind == "char" and (options.silence or options.oov):
        raise UsageError("--kind char: every word is spelled, with --boundary between; leave out --silence and --oov")
    if options.kind != "char" and options.boundary != BOUNDARY:
        raise UsageError(f"--boundary goes with --kind char, not with --kind {options.kind}; leave it out")
    if options.lexicon is not None:
        source = str(options.lexicon)
        entries = read_lexicon(options.lexicon, words_only=options.kind == "char")
        lexicon = normalised(entries, options.normaliser, source)
    elif not words:
        raise EgretError(f"--kind {options.kind}: no words in --cuts; give the training cuts")
    else:
        source = "the transcripts"
        lexicon = word_lexicon(words)
    if options.kind == "char":
        lexicon = spelled_lexicon(word for word, _ in lexicon)
        check_boundary(options.boundary, spelled_lexicon(words) + lexicon)
        check_names(spelled_lexicon(words), "", "the transcripts")
    known = {word for word, _ in lexicon}
    check_names(lexicon, options.silence, source)
    oov = normalise(options.oov, options.normaliser)
    if options.oov and oov not in known:
        raise EgretError(f"--oov {options.oov}: {source} has no such word; add it, or name another")
    missing = Counter({word: count for word, count in words.items() if word not in known})
    if missing:
        named = first_few([f"{word} ({count}x)" for word, count in missing.most_common()])
        if options.kind == "char":
            log.info("%d words of the transcripts are not in the lexicon; they are spelled for training, and a graph "
                     "does not have them: %s", len(missing), named)  # fmt: skip
            return lexicon
        if not options.oov:
            raise EgretError(
                f"{options.lexicon}: lacks {len(missing)} words of the transcripts, {named}; "
                f"add them, or say with --oov WORD which word stands for them"
            )
        log.info("%d words of the transcripts are not in the lexicon and become %s: %s",
                 len(missing), oov, named)  # fmt: skip
    return lexicon


def normalised(lexicon: Lexicon, normaliser: str, source: str) -> Lexicon:
    """The same pronunciations of normalised words, each once.

    Raises:
      EgretError: of a word nothing is left.
    """
    entries: dict[tuple[str, tuple[str, ...]], None] = {}
    for word, tokens in lexicon:
        name = normalise(word, normaliser)
        if not name:
            raise EgretError(f"{source}: the word {word!r} has no visible character; leave it out")
        entries[name, tuple(tokens)] = None
    return [(word, list(tokens)) for word, tokens in entries]


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


def check_boundary(boundary: str, spelled: Lexicon) -> None:
    """Refuse a boundary that is a character of a word, or a name that cannot be had."""
    check_token("--boundary", boundary)
    if inside := [word for word, characters in spelled if boundary in characters]:
        raise EgretError(f"--boundary {boundary}: is a character of {first_few(inside)}; choose another")


def make_graph(options: Options, lexicon: Lexicon, tokens: Symbols, words: Symbols, mark: str | None) -> arcs.ArcTable:
    """L; with `mark`, the symbol after silence (empty: there is no silence), L_disambig of a marked lexicon."""
    if options.kind == "char" and options.boundary:
        return bounded_lexicon_graph(lexicon, tokens, words, options.boundary, backoff_loop=mark is not None)
    pause = (options.silence or None, options.silence_probability)
    return lexicon_graph(lexicon, tokens, words, *pause, mark or None, backoff_loop=mark is not None)


def run(options: Options) -> Outcome:
    normaliser = identity(options.normaliser)
    texts = (text for path in options.cuts for text in references(path).values())
    words = Counter(word for text in texts for word in normalise(text, options.normaliser).split())
    lexicon = make_lexicon(options, words)
    spelled = spelled_lexicon(words) if options.kind == "char" else []
    between = options.boundary if options.kind == "char" else options.silence
    units = sorted({token for _, tokens in lexicon + spelled for token in tokens} | ({between} - {""}))
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
    silence = {"token": options.silence, "probability": options.silence_probability} if options.silence else None
    about: dict[str, Any] = {
        "kind": options.kind,
        "units": len(SPECIAL_TOKENS) + len(units),
        "special": {name: tokens[name] for name in SPECIAL_TOKENS},
        "silence": silence,
        "oov": normalise(options.oov, options.normaliser),
        "normaliser": normaliser,
    }
    if options.kind == "char":
        about["boundary"] = options.boundary
    write_json(out / "unit.json", about)
    names = ["tokens.txt", "words.txt", "lexicon.txt", "lexicon_disambig.txt", "unit.json"]
    outputs = [out / name for name in [*names, "L.safetensors", "L_disambig.safetensors"]]
    counts = {
        "units": len(units),
        "words": len(symbols) - 4,
        "pronunciations": len(lexicon),
        "arcs": graph.num_arcs,
    }
    return Outcome(outputs, counts)


STEP = Step(
    name="prepare_lang",
    version=2,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/prepare_lang.py --lexicon conf/lexicon.txt --silence SIL --out data/lang_phone",
)

if __name__ == "__main__":
    main(STEP)

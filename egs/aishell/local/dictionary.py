#!/usr/bin/env python3
"""Stage 2 of AISHELL-1: the words that can be recognised, and what they sound like.

With --words char these are the characters and Latin words of the training transcripts, with --words word also words of
several characters: those of the corpus's lexicon (--segment lexicon), or those that jieba cuts the training transcripts
into (--segment jieba). Units stay the same with either: no word needs one that the characters do not have.

Phones are those of the corpus's lexicon, where a character has what it has in all words; of characters that the lexicon
lacks, or without one, initials and finals of their pinyin. A Latin word without phones is a unit of its own, `<WORD>`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import write_text
from egret.base.log import log
from egret.base.options import infile, option
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import references
from egret.lang.lexicon import Lexicon, read_lexicon, write_lexicon
from egret.lang.normalise import normalise, normalised_word
from egret.lang.pinyin import initial_final, is_han, is_syllable, marked, pronunciations
from egret.lang.segment import jieba_frequencies, segmenter

PHONES = 2  # of a character: initial and final


@dataclass(kw_only=True)
class Options(OutOptions):
    cuts: list[Path] = infile("training cuts", "local/prepare.py (stage 0)")
    lexicon: Path | None = infile("resource_aishell/lexicon.txt as stage 0 leaves it", default=None)
    unit: Literal["char", "syllable", "phone"] = option("char", "what words are written in; char: a list of words")
    words: Literal["char", "word"] = option("char", "characters, or words of several characters too")
    segment: Literal["lexicon", "jieba"] = option("lexicon", "where words of several characters come from")
    normaliser: str = option("mandarin", "text normaliser")

    def __post_init__(self) -> None:
        if self.words == "word" and self.segment == "lexicon" and not self.lexicon:
            raise UsageError("--segment lexicon: the corpus came without resource_aishell/lexicon.txt; put it beside "
                             "data_aishell/, or use --segment jieba")  # fmt: skip


def run(options: Options) -> Outcome:
    texts = [normalise(text, options.normaliser) for path in options.cuts for text in references(path).values()]
    characters = Counter(word for text in texts for word in text.split())
    entries = read_entries(options)
    words: set[str] = set()
    if options.words == "word":
        words = {word for word, _ in entries} if options.segment == "lexicon" else jieba_words(texts)
        words = {word for word in words if characters.keys() >= set(word) and len(word) > 1}
    if options.unit == "char":
        lexicon: Lexicon = [(word, []) for word in sorted(words | characters.keys())]
    elif options.unit == "syllable":
        lexicon = pronounced(characters, words, syllables)
    else:
        by_word = phones_by_word(entries)
        if entries and (lacking := [word for word, _ in characters.most_common() if word not in by_word]):
            log.info("%s has no phones of %d characters and Latin words of the training transcripts, %s; they are made "
                     "of pinyin", options.lexicon, len(lacking), first_few(lacking))  # fmt: skip
        lexicon = pronounced(characters, words, lambda word: by_word.get(word) or phones(word))
    write_text(options.out / "lexicon.txt", write_lexicon(lexicon))
    counts = {
        "characters": len(characters),
        "words": len({word for word, _ in lexicon}),
        "pronunciations": len(lexicon),
    }
    return Outcome([options.out / "lexicon.txt"], counts)


def read_entries(options: Options) -> Lexicon:
    """The entries of the corpus's lexicon, words normalised; `SIL` and `<SPOKEN_NOISE>` are no words.

    Raises:
      EgretError: nothing in it is a word.
    """
    if options.lexicon is None:
        return []
    found = [(normalised_word(word, options.normaliser), phones) for word, phones in read_lexicon(options.lexicon)]
    entries = [(word, phones) for word, phones in found if word and phones != ["sil"]]
    if not entries:
        raise EgretError(f"{options.lexicon}: no words in it; download resource_aishell.tgz again")
    return entries


def jieba_words(texts: list[str]) -> set[str]:
    """The words that texts are cut into by jieba's frequencies."""
    cut = segmenter("jieba", jieba_frequencies())
    return {word for text in texts for word in cut(text).split()}


def phones_by_word(entries: Lexicon) -> dict[str, list[list[str]]]:
    """The phones of each word, and for single characters also the initial and final that they have in longer words."""
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for word, phones in entries:
        found.setdefault(word, {})[tuple(phones)] = None
    for word, phones in entries:
        if len(phones) == PHONES * len(word) and all(map(is_han, word)):
            for place, character in enumerate(word):
                found.setdefault(character, {})[tuple(phones[PHONES * place : PHONES * (place + 1)])] = None
    return {word: list(map(list, several)) for word, several in found.items()}


def syllables(word: str) -> list[list[str]]:
    return pronunciations(word, rare=False) or [[marked(word)]]


def phones(word: str) -> list[list[str]]:
    """Initials and finals of the readings of a word."""
    return [[phone for name in reading for phone in (initial_final(name) if is_syllable(name) else [name])]
            for reading in syllables(word)]  # fmt: skip


def pronounced(characters: Counter, words: set[str], say: Callable[[str], list[list[str]]]) -> Lexicon:
    """The pronunciations of characters, and those of words that need no other units."""
    lexicon = [(word, units) for word in characters for units in say(word)]
    known = {unit for _, units in lexicon for unit in units}
    lexicon += [(word, units) for word in words for units in say(word) if known.issuperset(units)]
    return sorted(lexicon, key=lambda entry: entry[0])  # of a word the commonest stays first


STEP = Step(
    name="dictionary",
    version=1,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="local/dictionary.py --cuts data/cuts/train.jsonl --unit syllable --out data/dictionary_syllable",
)

if __name__ == "__main__":
    main(STEP)

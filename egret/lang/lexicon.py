"""The pronunciation lexicon: words and their tokens, read from a dictionary file or made from the words.

A lexicon is a list of (word, tokens) in file order; a word may have several lines, the first is the one that
transcripts are trained with.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from egret.base.errors import EgretError, first_few
from egret.base.files import open_text
from egret.base.log import log
from egret.lang.normalise import normalised_word

Lexicon = list[tuple[str, list[str]]]

# CMU-style numbered variants: THE(2) is another pronunciation of THE.
VARIANT = re.compile(r"(?<=.)\(\d+\)$")


def read_lexicon(path: Path, literal: bool = False, words_only: bool = False) -> Lexicon:
    """Read lines of `word token token ...`; blank lines and lines that begin with `;;;` are passed over.

    Args:
      literal: a file that Egret wrote, in which `f(2)` is a word and no variant of `f`, and nothing is a comment.
      words_only: a list of words will do; tokens that it has are kept.

    Raises:
      EgretError: no file, not UTF-8, a word without tokens, no words at all.
    """
    entries: Lexicon = []
    seen = set()
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                fields = line.lstrip("\ufeff").split()
                if not fields or (fields[0].startswith(";;;") and not literal):
                    continue
                word, tokens = fields[0] if literal else VARIANT.sub("", fields[0]), fields[1:]
                if not tokens and not words_only:
                    raise EgretError(f"{path}:{number}: the word {word!r} has no pronunciation; add its tokens")
                if (word, tuple(tokens)) not in seen:
                    seen.add((word, tuple(tokens)))
                    entries.append((word, tokens))
    except FileNotFoundError:
        raise EgretError(f"{path}: no such lexicon; check --lexicon") from None
    except UnicodeDecodeError as error:
        raise EgretError(f"{path}: not UTF-8 text ({error}); convert it with iconv") from None
    if not entries:
        raise EgretError(f"{path}: the lexicon is empty; it needs a line `word token token ...` for each word")
    return entries


def normalised_lexicon(lexicon: Lexicon, normaliser: str, source: str) -> Lexicon:
    """The pronunciations of normalised words, each once; words that no normalised text has are left out, which is said.

    Args:
      source: where the lexicon is from, for what is said.

    Raises:
      EgretError: nothing is left.
    """
    entries: dict[tuple[str, tuple[str, ...]], None] = {}
    left_out = []
    for word, tokens in lexicon:
        if name := normalised_word(word, normaliser):
            entries[name, tuple(tokens)] = None
        else:
            left_out.append(repr(word))
    if left_out:
        log.warning("%s: %d words are none in text normalised as %s, and left out: %s",
                    source, len(left_out), normaliser, first_few(left_out))  # fmt: skip
    if not entries:
        raise EgretError(f"{source}: no word is left when normalised as {normaliser}; check --normaliser")
    return [(word, list(tokens)) for word, tokens in entries]


def word_lexicon(words: Iterable[str]) -> Lexicon:
    """Every word is its own token."""
    return [(word, [word]) for word in sorted(set(words))]


def write_lexicon(lexicon: Lexicon) -> str:
    return "".join(f"{word} {' '.join(tokens)}\n" for word, tokens in lexicon)


def first_pronunciations(lexicon: Lexicon) -> dict[str, list[str]]:
    """The pronunciation that transcripts are trained with: each word's first."""
    chosen: dict[str, list[str]] = {}
    for word, tokens in lexicon:
        chosen.setdefault(word, tokens)
    return chosen


def disambiguate(lexicon: Lexicon) -> tuple[Lexicon, int]:
    """Append #1, #2, ... where a pronunciation is another word's too, or begins another one.

    Without them the composition of L and G could not be determinised (Mohri, Pereira and Riley 2002,
    section 3.3). Returns the new lexicon and the largest number used.
    """
    count: dict[tuple[str, ...], int] = {}
    prefixes: set[tuple[str, ...]] = set()
    for _, tokens in lexicon:
        count[tuple(tokens)] = count.get(tuple(tokens), 0) + 1
        prefixes.update(tuple(tokens[:length]) for length in range(1, len(tokens)))
    used: dict[tuple[str, ...], int] = {}
    marked: Lexicon = []
    for word, tokens in lexicon:
        key = tuple(tokens)
        if count[key] == 1 and key not in prefixes:
            marked.append((word, tokens))
            continue
        used[key] = used.get(key, 0) + 1
        marked.append((word, [*tokens, f"#{used[key]}"]))
    return marked, max(used.values(), default=0)

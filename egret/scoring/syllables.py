"""Errors in Mandarin syllables: with and without tones, and characters that only sound right.

The syllables of a hypothesis are the units that were recognised, where these are syllables, else its text in pinyin;
those of a reference are the corpus's own where it gives them, else what the units' lexicon, or pinyin, has for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from egret.base.errors import first_few
from egret.base.log import log
from egret.lang.lang import Lang
from egret.lang.pinyin import is_han, readings, to_syllables, toneless
from egret.lang.symbols import SPECIAL_TOKENS
from egret.scoring.bootstrap import intervals
from egret.scoring.errors import GAP, Counts, align, count_errors

FIELD = "syllables"  # of the supervision's custom, where the lang folder does not name another
NORMALISER = "mandarin"  # texts that it wrote can be read as pinyin

Rows = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Spoken:
    """The syllables of each utterance as they were said.

    Attributes:
      by_corpus: how many utterances have those that the corpus gives.
      otherwise: where the other utterances have theirs from.
      outside: utterances with a word that the lexicon lacks; they are not scored by syllables.
    """

    syllables: dict[str, list[str]]
    by_corpus: int
    otherwise: Literal["lexicon", "pinyin"]
    outside: list[str]


@dataclass(frozen=True)
class Heard:
    """The syllables of each hypothesis, and whether they are its units or its text in pinyin."""

    syllables: dict[str, list[str]]
    source: Literal["units", "pinyin"]


def spoken(lang: Lang | None, texts: Rows, said: Mapping[str, str]) -> Spoken:
    """The syllables of utterances with words `texts`; `said` has the corpus's where it gives them, else "".

    Args:
      lang: lang folder whose units are syllables; None: utterances that have none of the corpus are read as pinyin.
    """
    found: dict[str, list[str]] = {}
    outside = []
    by_corpus = 0
    for name, words in texts.items():
        if said.get(name):
            found[name] = said[name].split()
            by_corpus += 1
        elif lang is None:
            found[name] = pinyin_of(tuple(words))
        elif lang.outside(" ".join(words)):
            outside.append(name)
        else:
            found[name] = [lang.units[token] for token in lang.encode(" ".join(words))]
    if outside:
        log.warning("%d of %d utterances have words without syllables and are not scored by syllables: %s",
                    len(outside), len(texts), first_few(outside))  # fmt: skip
    return Spoken(found, by_corpus, "pinyin" if lang is None else "lexicon", outside)


@cache
def pinyin_of(words: tuple[str, ...]) -> list[str]:
    """`to_syllables`, once for what several methods recognise alike."""
    return to_syllables(words)


def heard_units(lang: Lang, tokens: Rows) -> Heard:
    """The syllables among the units of hypotheses, special ones and silence left out."""
    passed_over = {*SPECIAL_TOKENS, lang.silence}
    rows = {name: [token for token in row if token not in passed_over] for name, row in tokens.items()}
    return Heard(rows, "units")


def heard_pinyin(hyps: Rows) -> Heard:
    """The words of hypotheses in pinyin."""
    return Heard({name: pinyin_of(tuple(words)) for name, words in hyps.items()}, "pinyin")


def syllable_scores(refs: Spoken, heard: Heard, texts: Rows, hyps: Rows) -> dict[str, Any]:
    """What goes into score.json under `syllables`; rates in percent.

    Args:
      refs: syllables that were said.
      heard: syllables of the hypotheses.
      texts, hyps: words of references and hypotheses.
    """
    rows = {name: heard.syllables[name] for name in refs.syllables if name in heard.syllables}
    toned, bare = both_ways(refs.syllables, rows)
    homophones, of = 0, 0
    for name, syllables in refs.syllables.items():
        of += len(symbols(texts[name]))
        homophones += homophone_errors(texts[name], syllables, hyps.get(name, ()), rows.get(name, ()))
    toned_interval, bare_interval = intervals([_totals(toned), _totals(bare)])
    found = {
        "ser": round(toned.rate, 4),
        "ser_toneless": round(bare.rate, 4),
        "ci95": {"ser": [round(end, 4) for end in toned_interval],
                 "ser_toneless": [round(end, 4) for end in bare_interval]},
        "ref": toned.sum.ref, "ins": toned.sum.ins, "del": toned.sum.dels, "sub": toned.sum.subs,
        "homophone_errors": homophones,
        "homophone_percent": round(100 * homophones / max(1, of), 4),
        "hypotheses": heard.source,
        "references": {"corpus": refs.by_corpus, refs.otherwise: len(refs.syllables) - refs.by_corpus,
                       "none": len(refs.outside)},
    }  # fmt: skip
    if heard.source == "pinyin":
        found["reference_text"] = text_itself(refs, texts)
    return found


def text_itself(refs: Spoken, texts: Rows) -> dict[str, float]:
    """What the text of the references would score, read as pinyin: how far the corpus's own syllables differ."""
    toned, bare = both_ways(refs.syllables, heard_pinyin({name: texts[name] for name in refs.syllables}).syllables)
    return {"ser": round(toned.rate, 4), "ser_toneless": round(bare.rate, 4)}


def both_ways(refs: Rows, hyps: Rows) -> tuple[Counts, Counts]:
    """Errors in syllables with their tones, and without."""
    return count_errors(refs, hyps), count_errors(refs, hyps, lambda row: [toneless(each) for each in row])


def _totals(counts: Counts) -> tuple[list[int], list[int]]:
    rows = counts.utterances.values()
    return [errors.total for errors in rows], [errors.ref for errors in rows]


def symbols(words: Sequence[str]) -> list[str]:
    """Chinese characters one by one, other words whole: what has one syllable, or one name for it, each."""
    return [part for word in words for part in (word if all(map(is_han, word)) else [word])]


def homophone_errors(ref: Sequence[str], said: Sequence[str], hyp: Sequence[str], heard: Sequence[str]) -> int:
    """How many characters are wrong though their toned syllable is right.

    The rows of syllables are aligned. Where one is not as long as its text (as where erhua makes one of two), the
    characters are, and those that have a reading in common sound alike.

    Args:
      ref, hyp: words.
      said, heard: their syllables.
    """
    left, right = symbols(ref), symbols(hyp)
    if left == right:
        return 0
    if len(left) == len(said) and len(right) == len(heard):
        return sum(left[i] != right[j] for i, j in _pairs(said, heard) if said[i] == heard[j])
    pairs = [(left[i], right[j]) for i, j in _pairs(left, right)]
    return sum(one != other and not set(readings(one)).isdisjoint(readings(other)) for one, other in pairs)


def _pairs(left: Sequence[str], right: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places of what stands opposite each other when both are aligned."""
    i = j = 0
    for one, other in align(left, right):
        if GAP not in (one, other):
            yield i, j
        i += one != GAP
        j += other != GAP

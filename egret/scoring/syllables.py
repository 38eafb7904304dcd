"""Errors of a syllable system by level: syllables with and without tones, and characters that only sound right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egret.base.errors import first_few
from egret.base.log import log
from egret.lang.lang import Lang
from egret.lang.pinyin import is_han, readings, toneless
from egret.lang.symbols import SPECIAL_TOKENS
from egret.scoring.bootstrap import intervals
from egret.scoring.errors import GAP, Counts, align, count_errors

FIELD = "syllables"  # of the supervision's custom, where the lang folder does not name another

Rows = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Spoken:
    """The syllables of each utterance as they were said: those that the corpus gives, else the lexicon's.

    Attributes:
      by_corpus, by_lexicon: how many utterances have theirs from where.
      outside: utterances with a word that the lexicon lacks; they are not scored by syllables.
    """

    syllables: dict[str, list[str]]
    by_corpus: int
    by_lexicon: int
    outside: list[str]


def spoken(lang: Lang, texts: Rows, said: Mapping[str, str]) -> Spoken:
    """The syllables of utterances with words `texts`; `said` has the corpus's where it gives them, else ""."""
    found: dict[str, list[str]] = {}
    outside = []
    by_corpus = 0
    for name, words in texts.items():
        if said.get(name):
            found[name] = said[name].split()
            by_corpus += 1
        elif lang.outside(" ".join(words)):
            outside.append(name)
        else:
            found[name] = [lang.units[token] for token in lang.encode(" ".join(words))]
    if outside:
        log.warning("%d of %d utterances have words without syllables and are not scored by syllables: %s",
                    len(outside), len(texts), first_few(outside))  # fmt: skip
    return Spoken(found, by_corpus, len(found) - by_corpus, outside)


def syllable_scores(lang: Lang, refs: Spoken, texts: Rows, hyps: Rows, tokens: Rows) -> dict[str, Any]:
    """What goes into score.json under `syllables`; rates in percent.

    Args:
      refs: syllables that were said.
      texts, hyps: words of references and hypotheses.
      tokens: the units of the hypotheses, special ones and silence among them.
    """
    passed_over = {*SPECIAL_TOKENS, lang.silence}
    heard = {name: [token for token in tokens[name] if token not in passed_over]
             for name in refs.syllables if name in tokens}  # fmt: skip
    toned = count_errors(refs.syllables, heard)
    bare = count_errors(*({name: [toneless(each) for each in row] for name, row in rows.items()}
                          for rows in (refs.syllables, heard)))  # fmt: skip
    homophones, of = 0, 0
    for name, syllables in refs.syllables.items():
        of += len(symbols(texts[name]))
        homophones += homophone_errors(texts[name], syllables, hyps.get(name, ()), heard.get(name, ()))
    toned_interval, bare_interval = intervals([_totals(toned), _totals(bare)])
    return {
        "ser": round(toned.rate, 4),
        "ser_toneless": round(bare.rate, 4),
        "ci95": {"ser": [round(end, 4) for end in toned_interval],
                 "ser_toneless": [round(end, 4) for end in bare_interval]},
        "ref": toned.sum.ref, "ins": toned.sum.ins, "del": toned.sum.dels, "sub": toned.sum.subs,
        "homophone_errors": homophones,
        "homophone_percent": round(100 * homophones / max(1, of), 4),
        "references": {"corpus": refs.by_corpus, "lexicon": refs.by_lexicon, "none": len(refs.outside)},
    }  # fmt: skip


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

"""Dividing a corpus that lacks parts: a dev and a test part of whole speakers, sentences or chapters, or else of
utterances.

What is chosen follows from names and a seed (SHA-256), not from the order of a list, a file system or a library's
random numbers: the same utterances on every machine, and a rejected one moves no other.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from egret.base.errors import EgretError
from egret.base.log import log
from egret.corpus.validate import Parts, Utterance

FEWEST_SPEAKERS = 6  # with fewer, dev and test would be one voice each
LARGEST_SHARE = 0.5  # of all, for dev and test together
AT_MOST = 2000  # utterances of a part by default: the interval of its error rate is narrow then
KNOWN_VOICES = "dev and test are divided off by utterances, for %s: error rates are those of known voices"
ALIASES = {
    "train": ("train", "training", "trn", "tr"),
    "dev": ("dev", "development", "valid", "validation", "val", "cv", "eval"),
    "test": ("test", "testing", "tst", "tt"),
}


@dataclass(frozen=True)
class Division:
    """How to divide: shares in percent of the utterances; a part that the corpus has is not taken."""

    dev_share: float
    test_share: float
    by: Literal["auto", "speakers", "utterances"]
    seed: int


def part_of(name: str) -> str | None:
    """train, dev or test, as what a corpus calls it; "" is train; None: neither."""
    if not name:
        return "train"
    return next((part for part, names in ALIASES.items() if name.strip().lower() in names), None)


def divide(parts: Parts, how: Division) -> Parts:
    """The corpus with train, dev and test, those that it lacks taken from train.

    Raises:
      EgretError: there is nothing to train on, or too little to divide.
    """
    train = parts.get("train", [])
    wanted = {part: share for part, share in (("test", how.test_share), ("dev", how.dev_share)) if not parts.get(part)}
    whole = [each for each in train if not each.problem]
    if not whole:
        raise EgretError("the corpus has no utterances to train on; check the column `part`, or what is rejected")
    if len(whole) <= len(wanted):
        raise EgretError(f"{len(whole)} utterances cannot be divided into train, dev and test; record more")
    counts = {part: max(1, min(round(len(whole) * share / 100), AT_MOST)) for part, share in wanted.items()}
    while sum(counts.values()) >= len(whole):  # of very few, as of three with large shares
        largest = max(counts, key=lambda part: counts[part])
        counts[largest] -= 1
    taken = _by_speaker(whole, counts, how, _voices(parts)) if wanted else {}
    if taken is None:
        taken = _by_utterance(whole, counts, how.seed)
    found = {"train": [each for each in train if id(each) not in taken]}
    for part in ("dev", "test"):
        found[part] = [*parts.get(part, []), *(each for each in train if taken.get(id(each)) == part)]
    say_shared(found)
    return found


def in_turn(names: Iterable[str], kind: Callable[[str], str], seed: int) -> list[str]:
    """Names in an order that depends on nothing but names and seed, of each kind one in turn, and the last of a kind
    only when there is nobody else."""
    by_kind: dict[str, list[str]] = {}
    for name in shuffled(names, seed):
        by_kind.setdefault(kind(name), []).append(name)
    places = [(place + 1 == len(some), place, which) for which, some in by_kind.items() for place in range(len(some))]
    return [by_kind[which][place] for _, place, which in sorted(places)]


def hold_out(
    pool: list[Utterance], group: Callable[[Utterance], str], wanted: int, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Whole groups of utterances, about `wanted` utterances in all, apart from the others: (others, held out)."""
    sizes = Counter(map(group, pool))
    chosen: set[str] = set()
    for name in shuffled(sizes, seed):
        if wanted < sizes[name] / 2:
            break
        chosen.add(name)
        wanted -= sizes[name]
    return [each for each in pool if group(each) not in chosen], [each for each in pool if group(each) in chosen]


def halves(utterances: list[Utterance], group: Callable[[Utterance], str]) -> tuple[list[Utterance], list[Utterance]]:
    """Two halves of whole groups, as many groups of each speaker in either as can be.

    A speaker's groups are dealt longest first, each to the half with fewer groups of this speaker, and of equals to
    the one with fewer utterances of all: so a speaker with one group is in one half only.
    """
    sizes = Counter((each.speaker, group(each)) for each in utterances)
    first: set[tuple[str, str]] = set()
    total = [0, 0]
    for speaker in sorted({speaker for speaker, _ in sizes}, key=lambda name: (len(name), name)):
        dealt = [0, 0]
        of_speaker = [key for key in sizes if key[0] == speaker]
        for key in sorted(of_speaker, key=lambda each: (-sizes[each], each)):
            side = min((0, 1), key=lambda half: (dealt[half], total[half]))
            dealt[side] += 1
            total[side] += sizes[key]
            if side == 0:
                first.add(key)
    found: tuple[list[Utterance], list[Utterance]] = ([], [])
    for each in utterances:
        found[(each.speaker, group(each)) not in first].append(each)
    return found


def _voices(parts: Parts) -> set[str]:
    """The speakers of parts that the corpus has: one of them in a further part would be no new voice there."""
    return {each.speaker for part in ("dev", "test") for each in parts.get(part, []) if each.speaker}


def _by_speaker(
    whole: list[Utterance], counts: dict[str, int], how: Division, taken: set[str]
) -> dict[int, str] | None:
    """The part by utterance (by identity) where whole speakers are taken, or None where utterances are to be."""
    groups: dict[str, list[Utterance]] = {}
    for each in whole:
        groups.setdefault(each.speaker, []).append(each)
    wanted = sum(counts.values())
    problem = ""
    if how.by == "utterances":
        return None
    if "" in groups:
        problem = "the corpus does not say who speaks" if len(groups) == 1 else "some utterances have no speaker"
    elif len(groups) < FEWEST_SPEAKERS:
        problem = f"there are only {len(groups)} speakers"
    if problem and how.by == "auto":
        log.warning(KNOWN_VOICES, problem)
        return None
    if "" in groups or len(groups) <= len(counts):
        raise EgretError(f"--divide speakers: {problem or 'too few speakers'}; use --divide utterances")
    order = shuffled([name for name in groups if name not in taken], how.seed)
    found: dict[int, str] = {}
    for part, count in counts.items():
        chosen = _fill(order, groups, count)
        order = [name for name in order if name not in chosen]
        found |= {id(each): part for name in chosen for each in groups[name]}
    if len(found) > max(LARGEST_SHARE * len(whole), wanted) and how.by == "auto":
        log.warning(KNOWN_VOICES, "single speakers have most of them")
        return None
    return found


def _fill(order: list[str], groups: dict[str, list[Utterance]], count: int) -> set[str]:
    """Speakers in this order with about `count` utterances; at least one, the one with fewest where all have more."""
    chosen: set[str] = set()
    size = 0
    for name in order:
        if size < count and size + len(groups[name]) <= 1.5 * count:
            chosen.add(name)
            size += len(groups[name])
    return chosen or set(sorted(order, key=lambda name: len(groups[name]))[:1])


def _by_utterance(whole: list[Utterance], counts: dict[str, int], seed: int) -> dict[int, str]:
    by_id = {each.id: each for each in whole}
    order = shuffled(by_id, seed)
    asked = [part for part, count in counts.items() for _ in range(count)]
    return {id(by_id[name]): part for name, part in zip(order, asked, strict=False)}


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that depends on nothing but names and seed."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest())


def say_shared(parts: Parts) -> None:
    """Count the sentences of dev and test that training has too, word for word: a language model has read them."""
    known = {each.text for each in parts["train"] if each.text}
    for part in ("dev", "test"):
        if shared := sum(each.text in known for each in parts[part]):
            log.info("%s: %d of %d utterances are of sentences that train has too", part, shared, len(parts[part]))

#!/usr/bin/env python3
"""Make a lexicon of phones or syllables for the words of transcripts and texts.

With --source cmudict a word is pronounced as in --lexicon, if one is given, else as in the CMU dictionary, else, where
it ends with 's, as the word before it and the ending, and the others by the network of g2p-en. Report and
g2p.txt say which words were not in a dictionary, and how they are pronounced now.

With --source pinyin Chinese words and their characters are read by pypinyin, in toned syllables or in initials and
finals, with all readings that they have in its phrases; a Latin word of the transcripts is a unit of its own,
`<HELLO>`. The dictionary's words are then the common characters (GB 2312), those that need no unit besides.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, UsageError, first_few
from egret.base.files import text_lines, write_json, write_text
from egret.base.log import log
from egret.base.options import infile, option
from egret.base.program import Outcome, OutOptions, Step, main
from egret.corpus.cuts import references
from egret.lang import english_g2p, pinyin
from egret.lang.lexicon import Lexicon, normalised_lexicon, read_lexicon, write_lexicon
from egret.lang.normalise import normalise, normalised_word

LISTED = 1000  # words named in the report at most, the most frequent first


@dataclass(kw_only=True)
class Options(OutOptions):
    source: Literal["cmudict", "pinyin"] = option("cmudict", "where pronunciations come from")
    cuts: list[Path] = infile("training cuts: all their words are taken", "stage 0", default=[])
    text: list[Path] = infile("plain text, a sentence a line, .gz accepted", default=[])
    words: Path | None = infile("more words, one a line", default=None)
    vocabulary: int = option(0, "of the words of --text only so many, the most frequent; 0: all", minimum=0)
    extra: Literal["dictionary", "none"] = option("dictionary", "take all words of the dictionary too, or none")
    lexicon: Path | None = infile("dictionary that is looked into first, `word phone phone ...` a line", default=None)
    kind: Literal["syllable", "phone"] = option("syllable", "of pinyin: toned syllables, or initials and toned finals")
    dictionary: Path | None = infile("of pinyin: a user's, `syllable<TAB>characters` a line", default=None)
    rare: bool = option(False, "of pinyin: also readings of characters that no phrase of pypinyin has")
    stress: bool = option(False, "keep the stress of vowels, AH0 and AH1, in place of AH")
    variants: bool = option(True, "keep all pronunciations of a word, else only the first")
    normaliser: str = option("upper", "text normaliser of the words")

    def __post_init__(self) -> None:
        pinyin_only = {"--kind": self.kind != "syllable", "--dictionary": self.dictionary, "--rare": self.rare}
        foreign = {"--stress": self.stress} if self.source == "pinyin" else pinyin_only
        for name, given in foreign.items():
            if given:
                raise UsageError(f"{name} does not go with --source {self.source}; leave it out")
        if self.vocabulary and not self.text:
            raise UsageError("--vocabulary is of the words of --text; give --text, or leave it out")


@dataclass
class Said:
    """How words are pronounced, and how that was found: `by` counts words, the guessed ones are in `guessed`."""

    lexicon: Lexicon = field(default_factory=list)
    by: Counter = field(default_factory=Counter)
    guessed: dict[str, list[str]] = field(default_factory=dict)
    unpronounced: list[str] = field(default_factory=list)


def wanted_words(options: Options) -> Counter:
    """The words to pronounce, with how often they occur; those of --words alone 0 times."""
    spoken = Counter(words_of((text for path in options.cuts for text in references(path).values()), options))
    written = Counter(words_of((line for path in options.text for line in text_lines(path, "--text")), options))
    taken = written.most_common(options.vocabulary or None)
    counts = Counter({word: count + spoken[word] for word, count in taken})
    counts.update({word: count for word, count in spoken.items() if word not in counts})
    if options.words:
        counts.update(dict.fromkeys(listed_words(options), 0))
    if options.vocabulary and len(written) > len(taken):
        log.info("of %d words of --text, the %d most frequent are taken", len(written), len(taken))
    return counts


def words_of(lines: Iterable[str], options: Options) -> Iterator[str]:
    return (word for line in lines for word in normalise(line, options.normaliser).split())


def listed_words(options: Options) -> Iterator[str]:
    """The words of --words, Chinese ones in one piece though the normaliser may part them."""
    for line in text_lines(options.words, "--words") if options.words else []:
        for word in line.split():
            yield from [whole] if (whole := normalised_word(word, options.normaliser)) else words_of([word], options)


def pronounce_english(words: Counter, options: Options) -> Said:
    """Pronunciations of `words`, and of the dictionary's other words where they are asked for."""
    own = own_words(options)
    common = common_words(options)
    dictionary = {**common, **own}
    said = Said()
    found: dict[str, list[tuple[str, ...]]] = {}
    unseen = []
    for word in words:
        if word in dictionary:
            found[word] = dictionary[word]
            said.by["lexicon" if word in own else "cmudict"] += 1
        else:
            unseen.append(word)
    guess(unseen, dictionary, found, said)
    if options.extra == "dictionary":
        more = own or {word: phones for word, phones in common.items() if word.replace("'", "").isalpha()}
        added = {word: phones for word, phones in more.items() if word not in found}
        said.by["not in the texts"] = len(added)
        found |= added
    said.lexicon = as_lexicon(found, options)
    said.guessed = {word: list(kept(found[word][0], options)) for word in unseen if word in found}
    return said


def own_words(options: Options) -> dict[str, list[tuple[str, ...]]]:
    """The pronunciations of --lexicon by normalised word."""
    found: dict[str, list[tuple[str, ...]]] = {}
    if options.lexicon:
        lexicon = normalised_lexicon(read_lexicon(options.lexicon), options.normaliser, str(options.lexicon))
        for word, units in lexicon:
            found.setdefault(word, []).append(tuple(units))
    return found


def common_words(options: Options) -> dict[str, list[tuple[str, ...]]]:
    """Those of the CMU dictionary. A normaliser may make one word of several, as of `a`, `a.` and `em`, `'em`; the
    pronunciations of the one that is only written in another case come first."""
    found: dict[str, list[tuple[str, ...]]] = {}
    others = []
    for word, pronunciations in english_g2p.cmudict().items():
        name = normalised_word(word, options.normaliser)
        if name.upper() == word:
            found[name] = list(pronunciations)
        elif name:
            others.append((name, pronunciations))
    for name, pronunciations in others:
        known = found.setdefault(name, [])
        known += [phones for phones in pronunciations if phones not in known]
    return found


def pronounce_chinese(words: Counter, options: Options) -> Said:
    """Readings of `words` and of their characters, and of the common characters where they are asked for."""
    own = {word: list(map(list, readings)) for word, readings in own_words(options).items()}
    dictionary = pinyin.read_dictionary(options.dictionary) if options.dictionary else None
    spoken = set(words_of((text for path in options.cuts for text in references(path).values()), options))
    said = Said()
    found: dict[str, list[list[str]]] = {}
    characters = (character for word in words for character in word if pinyin.is_han(character))
    for word in dict.fromkeys([*words, *characters]):
        readings = own.get(word) or chinese_units(word, dictionary, options)
        if not readings and word in spoken:
            readings = [[pinyin.marked(word)]]
        if readings:
            found[word] = readings
            said.by[how := way(word, readings, own)] += 1
            if how == "parts" and any(len(pinyin.readings(each, dictionary, rare=False)) > 1 for each in word):
                said.guessed[word] = readings[0]
        else:
            said.unpronounced.append(word)
    if options.extra == "dictionary":
        more = common_characters(found, dictionary, options)
        said.by["not in the texts"] = len(more)
        found |= more
    # Of words that sound alike greedy decoding takes the first.
    by_count = sorted(found, key=lambda word: (-words[word], word))
    said.lexicon = [(word, units) for word in by_count
                    for units in (found[word] if options.variants else found[word][:1])]  # fmt: skip
    return said


def way(word: str, readings: list[list[str]], own: dict[str, list[list[str]]]) -> str:
    """Where the readings of a Chinese word are from, for the counts."""
    if word in own:
        return "lexicon"
    if readings == [[pinyin.marked(word)]]:
        return "units of their own"
    return "characters" if len(word) == 1 else "phrases" if pinyin.is_phrase(word) else "parts"


def common_characters(
    found: dict[str, list[list[str]]], dictionary: pinyin.Dictionary | None, options: Options
) -> dict[str, list[list[str]]]:
    """The readings of characters that are not `found`; where there are words, only in units that these have."""
    known = {unit for readings in found.values() for units in readings for unit in units}
    more = {}
    for character in {**dict.fromkeys(pinyin.common_characters()), **(dictionary or {})}:
        if character not in found:
            readings = chinese_units(character, dictionary, options)
            if kept := [units for units in readings if not found or known.issuperset(units)]:
                more[character] = kept
    return more


def chinese_units(word: str, dictionary: pinyin.Dictionary | None, options: Options) -> list[list[str]]:
    """The readings of a word in the units asked for; none where it has none."""
    found = pinyin.pronunciations(word, dictionary, options.rare)
    if options.kind == "syllable":
        return found
    phones = [tuple(phone for syllable in reading for phone in pinyin.initial_final(syllable)) for reading in found]
    return [list(units) for units in dict.fromkeys(phones)]


def guess(unseen: list[str], dictionary: dict, found: dict[str, list[tuple[str, ...]]], said: Said) -> None:
    """Add to `found` pronunciations of words that no dictionary has."""
    bases = {word: word[:-2] for word in unseen if word[-2:].upper() == "'S" and len(word) > 2}
    read = english_g2p.pronounce(bases.get(word, word) for word in unseen if bases.get(word) not in dictionary)
    for word in unseen:
        base = bases.get(word, word)
        if base in dictionary:
            found[word] = [english_g2p.possessive(phones) for phones in dictionary[base]]
            said.by["with the ending 's"] += 1
        elif base in read:
            found[word] = [english_g2p.possessive(read[base]) if word in bases else read[base]]
            said.by["g2p"] += 1
        else:
            said.unpronounced.append(word)


def kept(phones: tuple[str, ...], options: Options) -> tuple[str, ...]:
    return phones if options.stress else english_g2p.without_stress(phones)


def as_lexicon(found: dict[str, list[tuple[str, ...]]], options: Options) -> Lexicon:
    """Sorted by word, each pronunciation once, in the dictionary's order."""
    lexicon: Lexicon = []
    for word in sorted(found):
        different = list(dict.fromkeys(kept(phones, options) for phones in found[word]))
        lexicon += [(word, list(phones)) for phones in (different if options.variants else different[:1])]
    return lexicon


def run(options: Options) -> Outcome:
    if not (options.cuts or options.text or options.words or options.extra == "dictionary"):
        raise UsageError("no words: give --cuts, --text or --words, or --extra dictionary")
    words = wanted_words(options)
    said = pronounce_chinese(words, options) if options.source == "pinyin" else pronounce_english(words, options)
    if not said.lexicon:
        raise EgretError(f"none of the {len(words)} words can be pronounced; check the texts and --normaliser")
    by_count = sorted(said.guessed, key=lambda word: (-words[word], word))
    unpronounced = sorted(said.unpronounced, key=lambda word: (-words[word], word))
    phones = sorted({phone for _, pronunciation in said.lexicon for phone in pronunciation})
    out = options.out
    write_text(out / "lexicon.txt", write_lexicon(said.lexicon))
    write_text(out / "g2p.txt", "".join(f"{word} {' '.join(said.guessed[word])}\n" for word in by_count))
    report = {
        "source": options.source,
        "words": len({word for word, _ in said.lexicon}),
        "pronunciations": len(said.lexicon),
        "phones": phones,
        "words_by": dict(said.by),
        "guessed": {word: words[word] for word in by_count[:LISTED]},
        "unpronounced": {word: words[word] for word in unpronounced},
    }
    write_json(out / "report.json", report)
    if said.guessed:
        log.info("%d words are in no dictionary (%s); %s has what they are taken to sound like",
                 len(by_count), first_few(by_count), out / "g2p.txt")  # fmt: skip
    if unpronounced:
        log.warning("%d words cannot be pronounced and are left out: %s",
                    len(unpronounced), first_few(unpronounced))  # fmt: skip
    counts = {"words": report["words"], "pronunciations": len(said.lexicon), "phones": len(phones)}
    return Outcome([out / name for name in ("lexicon.txt", "g2p.txt", "report.json")],
                   {**counts, **said.by, "left out": len(unpronounced)})  # fmt: skip


STEP = Step(
    name="prepare_lexicon",
    version=2,
    options=Options,
    run=run,
    description=__doc__ or "",
    example="steps/prepare_lexicon.py --source cmudict --cuts data/cuts/train.jsonl --out data/lexicon",
)

if __name__ == "__main__":
    main(STEP)

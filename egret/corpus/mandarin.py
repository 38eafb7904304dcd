"""What is spoken in Mandarin transcripts, in syllables and phones, and the lexicon that such transcripts give."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby

from egret.lang.lexicon import Lexicon
from egret.lang.normalise import normalise
from egret.lang.pinyin import initial_final, is_han, is_syllable, to_syllables

Pronunciations = dict[str, list[tuple[str, ...]]]


def spoken(text: str, normaliser: str, lexicon: Mapping[str, list[str]]) -> dict[str, str]:
    """The fields `syllables` and `phones` of a supervision's `custom`: toned syllables by phrase, and phones as the
    lexicon has the words, or without one those of the syllables. A field that would be empty is left out, as phones
    are where the lexicon lacks a character."""
    words = segmented(text, normaliser)
    syllables: list[str] = []
    for alone, run in groupby(words, lambda word: len(word) == 1):  # characters that stand alone are read together
        for part in [tuple(run)] if alone else zip(run):
            syllables += _syllables(part)
    if lexicon:
        known = [_spelled(word, lexicon) for word in words]
        phones = [phone for word in known for phone in word] if all(known) else []
    else:
        phones = [phone for name in syllables for phone in _phones(name)]
    return {name: " ".join(units) for name, units in (("syllables", syllables), ("phones", phones)) if units}


def segmented(text: str, normaliser: str) -> list[str]:
    """The words of a normalised text as the transcript divides them; Latin words apart from Chinese ones."""
    whole = normalise(text, normaliser).split()
    apart = [normalise(word, normaliser).split() for word in text.split()]
    if [unit for units in apart for unit in units] != whole:  # a number is read with what follows
        apart = [whole]
    words = []
    for units in apart:
        for han, run in groupby(units, lambda unit: all(map(is_han, unit))):
            group = list(run)
            words += ["".join(group)] if han else group
    return words


@cache
def _syllables(words: tuple[str, ...]) -> list[str]:
    """`to_syllables`, once for what occurs again and again in a hundred thousand sentences."""
    return to_syllables(words)


@cache
def _phones(syllable: str) -> list[str]:
    """Initial and final; a Latin word's name as it is."""
    return initial_final(syllable) if is_syllable(syllable) else [syllable]


def _spelled(word: str, lexicon: Mapping[str, list[str]]) -> list[str]:
    """The phones of a word, of the longest words in it where the lexicon lacks it; none where it lacks a character."""
    phones: list[str] = []
    place = 0
    while place < len(word):
        ends = range(len(word), place, -1)
        end = next((end for end in ends if word[place:end] in lexicon), 0)
        if not end:
            return []
        phones += lexicon[word[place:end]]
        place = end
    return phones


def lexicons(
    transcripts: Iterable[tuple[str, str, str]], dictionary: Iterable[tuple[str, tuple[str, ...]]]
) -> tuple[Lexicon, Lexicon, list[str]]:
    """Words and characters in phones, and in syllables: of transcripts, then of a dictionary of phones.

    Args:
      transcripts: the words, syllables and phones of each.
      dictionary: words and their phones, two for each syllable.

    Returns:
      The lexicon in phones; that in syllables; and the words of pronunciations that only the first has, since in no
      transcript two phones of them are a syllable.
    """
    by_phone, by_syllable, syllable_of = aligned(
        (words.split(), said.split(), phones.split()) for words, said, phones in transcripts
    )
    lost = []
    for word, phones in dict.fromkeys(dictionary):
        by_phone.setdefault(word, []).append(phones)
        pairs = list(zip(phones[::2], phones[1::2], strict=False))
        if len(phones) % 2 == 0 and all(pair in syllable_of for pair in pairs):
            by_syllable.setdefault(word, []).append(tuple(syllable_of[pair] for pair in pairs))
        else:
            lost.append(word)
    in_phones, in_syllables = (
        [(word, list(units)) for word in known for units in dict.fromkeys(known[word])]
        for known in (by_phone, by_syllable)
    )
    return in_phones, in_syllables, lost


def aligned(
    transcripts: Iterable[tuple[Sequence[str], Sequence[str], Sequence[str]]],
) -> tuple[Pronunciations, Pronunciations, dict[tuple[str, str], str]]:
    """Words and characters of transcripts in phones and in syllables, and the syllable of two phones.

    A transcript is given in words, syllables and phones. A character is a syllable and a syllable two phones;
    transcripts in which this does not come out even are passed over. Of several pronunciations the commonest comes
    first.
    """
    heard: dict[str, Counter[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    syllables: dict[tuple[str, str], Counter[str]] = {}
    for words, said, phones in transcripts:
        if len("".join(words)) != len(said) or 2 * len(said) != len(phones):
            continue
        for place, syllable in enumerate(said):
            syllables.setdefault((phones[2 * place], phones[2 * place + 1]), Counter())[syllable] += 1
        at = 0
        for word in words:
            for start, end in {(0, len(word)), *((start, start + 1) for start in range(len(word)))}:
                first, last = at + start, at + end
                both = (tuple(phones[2 * first : 2 * last]), tuple(said[first:last]))
                heard.setdefault(word[start:end], Counter())[both] += 1
            at += len(word)
    ordered = {word: [both for both, _ in heard[word].most_common()] for word in sorted(heard)}
    by_phone = {word: [in_phones for in_phones, _ in known] for word, known in ordered.items()}
    by_syllable = {word: [in_syllables for _, in_syllables in known] for word, known in ordered.items()}
    return by_phone, by_syllable, {pair: counts.most_common(1)[0][0] for pair, counts in syllables.items()}

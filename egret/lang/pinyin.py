"""Chinese text to toned pinyin syllables and back to their parts, with pypinyin's dictionaries.

A toned syllable is pinyin in small letters with the tone's number last, 5 for the neutral tone, and `v` for ü where
it is written so (`lv4`, `nve4`, but `ju2`, `yue4`). There is one syllable for each character, also for the 儿 of
erhua (玩儿 is `wan2 er2`). What has none, as a Latin word, stands in angle brackets: `<HELLO>`.

A user's dictionary has ASRT's form, a line `syllable<TAB>characters` for each syllable (`a1<TAB>阿啊呵`); it is laid
on top of pypinyin's: its readings are added, after those that pypinyin has.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, islice, product
from pathlib import Path

from egret.base.errors import EgretError

SYLLABLE = re.compile(r"[a-zê]+[1-5]")
TONES = "12345"

# Readings of a character by syllable, as `read_dictionary` gives them.
Dictionary = Mapping[str, Sequence[str]]

# Their tone follows the next syllable, or the speaker: a word with them is found by each of these.
CHANGING = {"一": ["yi1", "yi2", "yi4"], "不": ["bu4", "bu2"], "儿": ["er2", "er5"]}
MOST_VARIANTS = 12  # of one word


def canonical(text: str) -> str:
    """A syllable as Egret writes it: `Lü4`, `lu:4` and `lue4` become `lv4`, `lv4` and `lve4`, tone 0 becomes 5.

    The tone may be missing. Text that is no pinyin comes back in small letters.
    """
    name = text.strip().lower().replace("u:", "v").replace("ü", "v")
    if name.endswith("0"):
        name = name[:-1] + "5"
    name = re.sub(r"^([jqxy])v", r"\1u", name)
    return re.sub(r"^([ln])ue", r"\1ve", name)


def is_syllable(name: str) -> bool:
    """Whether a name has the form of a toned syllable."""
    return SYLLABLE.fullmatch(name) is not None


def tone(name: str) -> str:
    """The tone's number of a syllable or a final; "" where it has none."""
    return name[-1] if name and name[-1] in TONES else ""


def toneless(name: str) -> str:
    return name[:-1] if tone(name) else name


def marked(text: str) -> str:
    """What has no syllable, in its place among syllables: `<HELLO>`."""
    return text if text.startswith("<") and text.endswith(">") else f"<{text}>"


@cache
def _numbered(reading: str) -> str:
    """pypinyin's `lǜ` as `lv4`."""
    from pypinyin.contrib.tone_convert import to_tone3

    return canonical(to_tone3(reading, v_to_u=False, neutral_tone_with_five=True))


@cache
def _known() -> dict[str, list[str]]:
    """All readings of each character that pypinyin knows, the commonest first: those of its dictionary of characters
    in its order, then those that the character has only within phrases (the zi5 of 桌子)."""
    from pypinyin.constants import PINYIN_DICT

    found = {}
    counts = _phrase_counts()
    for code, readings in PINYIN_DICT.items():
        character = chr(code)
        in_phrases = [name for name, _ in counts[character].most_common()] if character in counts else []
        own = [_numbered(reading) for reading in readings.split(",")]
        found[character] = list(dict.fromkeys([*own, *in_phrases]))
    return found


@cache
def _phrase_counts() -> dict[str, Counter[str]]:
    """In how many of pypinyin's phrases a character is read in which way."""
    from pypinyin.constants import PHRASES_DICT

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for phrase, readings in PHRASES_DICT.items():
        for character, several in zip(phrase, readings, strict=False):
            counts[character].update(map(_numbered, several))
    return dict(counts)


def readings(character: str, dictionary: Dictionary | None = None, rare: bool = True) -> list[str]:
    """The readings of one character, the commonest first; none where nobody knows one.

    Args:
      rare: also those that no phrase of pypinyin has, as 儿 ren2; the first one and the user's are always there.
    """
    known = _known().get(character, [])
    if not rare:
        counts = _phrase_counts().get(character, Counter())
        known = [name for place, name in enumerate(known) if place == 0 or counts[name]]
    return list(dict.fromkeys([*known, *(dictionary or {}).get(character, [])]))


def to_syllables(words: Sequence[str], dictionary: Dictionary | None = None) -> list[str]:
    """The toned syllables of words in their context.

    A word of several characters is read as the phrase that it is; characters that stand alone side by side are cut
    into pypinyin's phrases, the longest first (银 行 行 长 is yin2 hang2 hang2 zhang3). A stretch of anything else
    gives one marked name (卡拉OK is `ka3 la1 <OK>`).
    """
    names: list[str] = []
    for stretch in _stretches(words):
        if len(stretch) == 1:
            names += (readings(stretch, dictionary) or [marked(stretch)])[:1]
        elif _known().keys() >= set(stretch):
            names += _phrase(stretch)
        else:
            names.append(marked(stretch))
    return names


def _stretches(words: Sequence[str]) -> Iterator[str]:
    """Words of known characters, neighbours of one character joined; other text between them, character by character
    where each has a reading of the user's."""
    alone = ""
    for word in words:
        if len(word) == 1 and word in _known():
            alone += word
            continue
        if alone:
            yield alone
            alone = ""
        for known, characters in groupby(word, lambda character: character in _known()):
            text = "".join(characters)
            if known:
                yield text
            else:
                yield from _unknown(text)
    if alone:
        yield alone


def _unknown(text: str) -> Iterator[str]:
    """Han characters without a reading one by one, other text as it is."""
    for han, characters in groupby(text, is_han):
        stretch = "".join(characters)
        yield from stretch if han else [stretch]


def is_han(character: str) -> bool:
    """Whether a character is a Chinese one: of the CJK ideographs, or 〇."""
    code = ord(character)
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF or code == 0x3007


def _phrase(text: str) -> list[str]:
    from pypinyin import Style, pinyin

    found = pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, v_to_u=False)
    return [canonical(syllables[0]) for syllables in found]


def pronunciations(word: str, dictionary: Dictionary | None = None, rare: bool = True) -> list[list[str]]:
    """All that pypinyin and the user know of how a word is read, the commonest first; none for a word with a
    character, or a Latin letter, without syllable.

    A character has each of its readings. A longer word has its reading as a phrase, those that the dictionary of
    phrases knows besides, and these with the other tones of 一, 不 and 儿, which change in speech.

    Args:
      rare: as for `readings`.
    """
    if len(word) == 1:
        return [[name] for name in readings(word, dictionary, rare)]
    first = to_syllables([word], dictionary)
    if len(first) != len(word) or not all(map(is_syllable, first)):
        return []
    found = [first, *_phrase_variants(word)]
    for known in list(found):
        choices = [CHANGING.get(character, []) if name in CHANGING.get(character, []) else [name]
                   for character, name in zip(word, known, strict=True)]  # fmt: skip
        found += islice((list(choice) for choice in product(*choices)), MOST_VARIANTS)
    return [list(names) for names in dict.fromkeys(map(tuple, found))][:MOST_VARIANTS]


def is_phrase(word: str) -> bool:
    """Whether pypinyin knows a word as a phrase."""
    from pypinyin.constants import PHRASES_DICT

    return word in PHRASES_DICT


def common_characters() -> list[str]:
    """The 6763 Chinese characters of GB 2312."""
    return [character for character in _known() if _level(character) < 3 and is_han(character)]


def _phrase_variants(word: str) -> list[list[str]]:
    from pypinyin.constants import PHRASES_DICT

    if len(PHRASES_DICT.get(word, [])) != len(word):
        return []
    several = product(*([_numbered(reading) for reading in column] for column in PHRASES_DICT[word]))
    return [list(names) for names in islice(several, MOST_VARIANTS)]


def inventory(dictionary: Dictionary | None = None) -> list[str]:
    """All toned syllables that pypinyin's characters and phrases and the user's dictionary have, in order."""
    names = {name for known in _known().values() for name in known}
    return sorted(names.union(*(dictionary or {}).values()))


def characters_of(dictionary: Dictionary | None = None, tones: bool = True) -> dict[str, list[str]]:
    """The characters of each syllable of the inventory, the commonest first: those that are read so in the most
    phrases, then common ones (the first level of GB 2312) and those whose first reading it is.

    Args:
      tones: of each toned syllable; else of each syllable without tone.
    """
    found: dict[str, list[tuple[int, int, int, str]]] = defaultdict(list)
    counts = _phrase_counts()
    for character in {**_known(), **(dictionary or {})}:
        level = _level(character)
        for place, name in enumerate(readings(character, dictionary)):
            uses = counts[character][name] if character in counts else 0
            found[name if tones else toneless(name)].append((-uses, level, place, character))
    return {name: list(dict.fromkeys(row[-1] for row in sorted(rows))) for name, rows in sorted(found.items())}


def _level(character: str) -> int:
    """1 for the 3755 common characters of GB 2312, 2 for its other ones, 3 for the rest."""
    try:
        code = character.encode("gb2312")
    except UnicodeEncodeError:
        return 3
    return 1 if len(code) == 2 and 0xB0 <= code[0] <= 0xD7 else 2


def read_dictionary(path: Path) -> dict[str, list[str]]:
    """A user's dictionary: the readings that it gives each character.

    Raises:
      EgretError: no file, not UTF-8, a line that is not `syllable<TAB>characters`, nothing in it.
    """
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise EgretError(f"--dictionary {path}: no such file; it has lines of `syllable<TAB>characters`") from None
    except UnicodeDecodeError as error:
        raise EgretError(f"--dictionary {path}: not UTF-8 text ({error}); convert it with iconv") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        syllable, tab, characters = line.partition("\t")
        name = canonical(syllable)
        characters = "".join(characters.split())
        if not tab or not characters:
            raise EgretError(f"{path}:{number}: expected `syllable<TAB>characters` as in `a1<TAB>阿啊`, found {line!r}")
        if not is_syllable(name):
            raise EgretError(f"{path}:{number}: {syllable!r} is no toned syllable; write pinyin and a tone, as `lv4`")
        if other := [character for character in characters if not is_han(character)]:
            raise EgretError(f"{path}:{number}: {other[0]!r} is no Chinese character; only those can have a syllable")
        for character in characters:
            if name not in found.setdefault(character, []):
                found[character].append(name)
    if not found:
        raise EgretError(f"{path}: nothing in it; it needs lines of `syllable<TAB>characters`")
    return found


INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcs")
# Interjections that are all nasal are given the vowel that speakers mostly give them.
NASAL = {"m": ("m", "en"), "n": ("ee", "en"), "ng": ("ee", "eng"), "hm": ("h", "en"), "hng": ("h", "eng")}
# Where finals are shortened in spelling after an initial, they are so after ii and uu too.
SHORTENED = {"iou": "iu", "uei": "ui", "uen": "un"}


def initial_final(syllable: str) -> list[str]:
    """The initial and the toned final of a syllable, as the lexicons of AISHELL-1 and THCHS-30 write them.

    A syllable without initial gets one of aa, ee, ii, oo, uu, vv (an1 is `aa an1`, wu3 `uu u3`, yue4 `vv ve4`);
    the i of zhi is ix, that of zi iy, and ü is v everywhere (ju1 is `j v1`). A final with r is one of erhua.

    Raises:
      EgretError: not a toned syllable.
    """
    base, number = toneless(syllable), tone(syllable)
    if not is_syllable(syllable):
        raise EgretError(f"{syllable!r} is no toned pinyin syllable; it needs small letters and a tone, as `lv4`")
    erhua = "r" if len(base) > 2 and base.endswith("r") else ""
    initial, final = _parts(base[: len(base) - len(erhua)])
    if not final:
        raise EgretError(f"{syllable!r} is no pinyin syllable: it has no vowel")
    return [initial, final + erhua + number]


def _parts(base: str) -> tuple[str, str]:
    if base in NASAL:
        return NASAL[base]
    if base[0] in "yw":
        final = _glide(base)
        return final[0] * 2, SHORTENED.get(final, final)
    initial = next((name for name in INITIALS if base.startswith(name)), "")
    final = base[len(initial) :]
    if not initial:
        return ("ee" if final[0] in "eê" else final[0] * 2), final
    if initial in ("j", "q", "x") and final.startswith("u"):
        final = "v" + final[1:]
    if final == "i" and initial in ("zh", "ch", "sh", "r"):
        final = "ix"
    if final == "i" and initial in ("z", "c", "s"):
        final = "iy"
    return initial, final


def _glide(base: str) -> str:
    """The full final of a syllable that is written with y or w."""
    rest = base[1:]
    if base[0] == "w":
        return rest if rest.startswith("u") else "u" + rest
    if rest.startswith("u"):
        return "v" + rest[1:]
    return rest if rest.startswith("i") else "i" + rest

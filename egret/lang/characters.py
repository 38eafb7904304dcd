"""What the normalisers of English and Mandarin share: characters, before numbers are read and after."""

import re
import unicodedata

# What is typed for an apostrophe. Accents are among them: NFKC would make a space and a combining mark of them.
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u201b\u02bb\u02bc\u00b4`\uff07", "'"))
# Letters without a decomposition into a letter of A to Z and accents.
BASE_LETTERS = str.maketrans(
    {"Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "TH", "Ł": "L", "ẞ": "SS", "Ħ": "H", "Ŧ": "T", "Ŋ": "NG"}
)
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Superscripts, fractions, circled and similar numbers: without spaces NFKC would turn 3½ into 31⁄2 and m² into m2.
SMALL_NUMBERS = re.compile(
    "[\u00b9\u00b2\u00b3\u2070-\u2079]+|[\u2080-\u2089]+|[\u00bc-\u00be\u2150-\u215f\u2189\u2460-\u249b\u24ea"
    "\u3248-\u325f\u32b1-\u32cb\u3358-\u3370\u33e0-\u33fe\U0001f100-\U0001f10a]"
)
DIGIT = re.compile("[0-9]")
FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
# Something in a transcript that is no speech, such as <UNK> or <SPOKEN_NOISE>.
MARK = re.compile(r"(?<!\S)(</?[A-Za-z][A-Za-z0-9_-]*>)(?!\S)")


def visible(character: str) -> str:
    """A space for white space of any kind, nothing for what cannot be seen (categories Cc, Cf and Cs)."""
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def compatible(text: str) -> str:
    """Without the invisible, one apostrophe, in NFKC, digits of every script as 0 to 9."""
    if text.isascii() and text.isprintable():
        return text.replace("`", "'")
    text = "".join(map(visible, text)).translate(APOSTROPHES)
    text = unicodedata.normalize("NFKC", SMALL_NUMBERS.sub(r" \g<0> ", text)).translate(APOSTROPHES)
    return FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def upper_letters(text: str) -> str:
    """Upper case; Latin letters without their accents, other scripts as they are; a space for all but letters and '.

    Combining marks stay with letters of the scripts that need them, and go from Latin letters and Han characters.
    """
    text = text.upper()
    if text.isascii():
        return NO_LETTER.sub(" ", text)
    text = unicodedata.normalize("NFKD", text.translate(BASE_LETTERS)).upper().translate(BASE_LETTERS)
    kept: list[str] = []
    base = ""  # of the combining marks that come next
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind != "M":
            base = character if kind == "L" or character == "'" else ""
            kept.append(base or " ")
        elif base and not BARE.match(base):
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


NO_LETTER = re.compile("[^A-Z']")
BARE = re.compile(f"[A-Z'{HAN}]")  # letters that keep no combining mark

"""English text as LibriSpeech writes it: words of A to Z and the apostrophe, numbers spoken (docs/text.md)."""

import re
from functools import cache, lru_cache

from egret.base.errors import EgretError
from egret.lang.characters import DIGIT, MARK, compatible, upper_letters

VERSION = 1

FINISHED = re.compile(r"[A-Z]+(?:'[A-Z]+)*(?: [A-Z]+(?:'[A-Z]+)*)*")
WORD = re.compile(r"[^\s']+(?:'[^\s']+)*")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MONEY = {"$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
         "€": ("euro", "euros", "cent", "cents")}  # fmt: skip
LONGEST = 15  # digits of a number that is read as one
YEARS = range(1100, 2100)

COUNT = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
AMOUNT = re.compile(
    rf"([$£€])\s?({COUNT})(?:\.(\d+))?(?:\s?(hundred|thousand|million|billion|trillion)\b)?", re.IGNORECASE
)
MINUS = re.compile(r"(?<!\S)[-\u2212](?=[$£€]?\.?\d)")
TIME = re.compile(r"(?<![\d:])([01]?\d|2[0-3]):([0-5]\d)(?![\d:])")
FRACTION = re.compile(r"(?<!\d)(?:(\d+)\s+)?(\d+)\u2044(\d+)")
ORDINAL = re.compile(rf"(?<!\d)({COUNT})(?:st|nd|rd|th)(?![A-Za-z])", re.IGNORECASE)
DECADE = re.compile(r"(?<![\d.,])'?((?:1[1-9]|20)?[1-9]0|(?:1[1-9]|20)00)'?s(?![A-Za-z])", re.IGNORECASE)
DECIMAL = re.compile(rf"(?<!\d)({COUNT})?((?:\.\d+)+)")
INTEGER = re.compile(COUNT)


def english(text: str) -> str:
    """The words of a text in upper case, separated by one space; what `<UNK>` and its like stand for stays."""
    if FINISHED.fullmatch(text):
        return text
    if "<" in text and MARK.search(text):
        parts = MARK.split(text)
        parts[::2] = map(english, parts[::2])
        return " ".join(part for part in parts if part)
    text = compatible(text).replace("&", " and ").replace("%", " percent ")
    if DIGIT.search(text):
        text = read_numbers(text)
    return " ".join(WORD.findall(upper_letters(text)))


def read_numbers(text: str) -> str:
    """Every number in words, between spaces."""
    text = MINUS.sub(" minus ", text)
    text = AMOUNT.sub(lambda found: f" {_amount(*found.groups())} ", text)
    text = TIME.sub(lambda found: f" {_time(int(found[1]), int(found[2]))} ", text)
    text = FRACTION.sub(lambda found: f" {_fraction(*found.groups())} ", text)
    text = ORDINAL.sub(lambda found: f" {_ordinal(found[1])} ", text)
    text = DECADE.sub(lambda found: f" {_decade(found[1])} ", text)
    text = DECIMAL.sub(lambda found: f" {_decimal(found[1] or '', found[2])} ", text)
    return INTEGER.sub(lambda found: f" {_integer(found[0])} ", text)


@cache
def _speaker():
    """num2words of English; imported when the first number comes.

    Raises:
      EgretError: it is not installed.
    """
    try:
        from num2words import num2words
    except ImportError:
        raise EgretError("numbers in English need num2words, which is not installed; run local/install.sh") from None
    return num2words


@lru_cache(maxsize=10_000)
def _words(number: int, kind: str = "cardinal") -> str:
    return _speaker()(number, lang="en", to=kind)


def _digits(digits: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in digits)


def _cardinal(count: str) -> str:
    """A count, thousands separated by commas or not; with a leading zero or too long, digit by digit."""
    digits = count.replace(",", "")
    if len(digits) > LONGEST or (digits[0] == "0" and len(digits) > 1):
        return _digits(digits)
    return _words(int(digits))


def _integer(count: str) -> str:
    """As `_cardinal`, but four digits without a comma may be a year."""
    return _words(int(count), "year") if len(count) == 4 and int(count) in YEARS else _cardinal(count)


def _ordinal(count: str) -> str:
    digits = count.replace(",", "")
    return _words(int(digits), "ordinal") if len(digits) <= LONGEST else f"{_digits(digits)} th"


def _decimal(whole: str, rest: str) -> str:
    """2.50 is two point five zero, .5 point five, 1.2.3 one point two point three."""
    points = " ".join(f"point {_digits(part)}" for part in rest.split(".")[1:])
    return f"{_cardinal(whole)} {points}" if whole else points


def _amount(sign: str, whole: str, decimals: str | None, scale: str | None) -> str:
    """$2.50 is two dollars fifty cents, £1.5 million one point five million pounds."""
    one, many, small, smalls = MONEY[sign]
    if scale or (decimals and len(decimals) != 2):
        number = _decimal(whole, f".{decimals}") if decimals else _cardinal(whole)
        return f"{number} {scale or ''} {many}"
    number = _cardinal(whole)
    large = f"{number} {one if number == 'one' else many}"
    if not decimals or decimals == "00":
        return large
    cents = f"{_words(int(decimals))} {small if decimals == '01' else smalls}"
    return cents if number == "zero" else f"{large} {cents}"


def _time(hour: int, minute: int) -> str:
    if not minute:
        return f"{_words(hour)} o'clock" if 1 <= hour <= 12 else f"{_words(hour)} hundred"
    return f"{_words(hour)} {'oh ' if minute < 10 else ''}{_words(minute)}"


def _fraction(whole: str | None, above: str, below: str) -> str:
    """Such as 3½ and ⅔, which NFKC has taken apart."""
    named = {"2": "half", "4": "quarter"}.get(below) or _ordinal(below)
    if above != "1":
        named = "halves" if named == "half" else f"{named}s"
    return f"{_cardinal(whole)} and {_cardinal(above)} {named}" if whole else f"{_cardinal(above)} {named}"


def _decade(digits: str) -> str:
    """1990s is nineteen nineties, 90s nineties, 1900s nineteen hundreds."""
    spoken = _words(int(digits), "year") if len(digits) == 4 else _words(int(digits))
    return f"{spoken[:-1]}ies" if spoken.endswith("y") else f"{spoken}s"

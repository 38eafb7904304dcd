"""Mandarin text: every Han character a word of its own, numbers in Chinese (docs/text.md)."""

import re
from collections.abc import Callable
from functools import cache, lru_cache

from egret.base.errors import EgretError
from egret.lang.characters import DIGIT, HAN, MARK, compatible, upper_letters

VERSION = 1

# The common case: nothing here needs NFKC, has digits or accents.
COMMON = re.compile("[ A-Za-z\u4e00-\u9fff，。！？、；：“”（）《》…—,.!?;:()]*")
HAN_ONLY = re.compile("[\u4e00-\u9fff]+")
UNIT = re.compile(f"[{HAN}]|[^\\s'{HAN}]+(?:'[^\\s'{HAN}]+)*")
COMMON_UNIT = re.compile("[\u4e00-\u9fff]|[A-Z]+")

DIGITS = "零一二三四五六七八九"
CURRENCY = {"$": "美元", "¥": "元", "€": "欧元", "£": "英镑"}
LONGEST = 16  # digits of a number that is read as one, and all that cn2an reads
# Before these a lone 2 is 两.
COUNTED = re.compile(
    "个|位|名|次|天|年(?!级|代)|周|条|张|本|家|件|种|只|台|辆|场|倍|份|块|元|人|岁|米|公里|公斤|小时|分钟|秒|点|千|万|亿"
)

COUNT = r"\d{1,3}(?:,\d{3})+(?![\d,])|\d+"
NUMBER = rf"(?<!\d)(?:{COUNT})(?:\.\d+)?"
TO = r"(?:(?<=\S)-+\s?|\s-+\s|\s?[~\u2013\u2014\u223c\u301c]+\s?)"  # 3 -5 is 3 and -5
# At the start of a word; behind other characters only before degrees and percents, for 神舟-5 is no number below zero.
MINUS = rf"(?:(?<![^\s(])[-\u2212]|(?<![\dA-Za-z%‰])[-\u2212](?={NUMBER}\s?(?:[%‰]|摄氏度|华氏度|度)))?"
YEAR = r"(?:1[1-9]|2[01])\d\d"
DATE = re.compile(r"(?<![\d.])(\d{4})([-/.])(\d\d?)\2(\d\d?)(?![\d.])")
YEARS = re.compile(rf"(?<![\d.,])({YEAR}){TO}({YEAR})(?=年|赛季|学年|财年)")
ONE_YEAR = re.compile(rf"(?<![\d.,])({YEAR}|0\d|[89][1-9])(?=年)")
CLOCK = re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])")
PER_CENT = re.compile(rf"({MINUS}{NUMBER})(?:([%‰])?{TO}({NUMBER}))?\s?([%‰])")
MONEY = re.compile(rf"([$¥€£])\s?({NUMBER})([百千万亿]*)")
FRACTION = re.compile(r"(?:(?<![\d/])(\d+)\s+)?(?<![\d/.])(\d+)\s?[/\u2044]\s?(\d+)(?![\d/.])")
RATIO = re.compile(rf"({NUMBER}):(?=\d)")
RANGE = re.compile(rf"(?<![\dA-Za-z.,-])({NUMBER}){TO}({NUMBER})(?![\d.-])")
ONE = re.compile(rf"({MINUS})({COUNT})((?:\.\d+)*)")


def mandarin(text: str) -> str:
    """Han characters and other words (Latin ones in upper case), separated by one space; `<UNK>` and its like stay."""
    if HAN_ONLY.fullmatch(text):
        return " ".join(text)
    if COMMON.fullmatch(text):
        return " ".join(COMMON_UNIT.findall(text.upper()))
    if "<" in text and MARK.search(text):
        parts = MARK.split(text)
        parts[::2] = map(mandarin, parts[::2])
        return " ".join(part for part in parts if part)
    # A full-width comma never separates thousands.
    text = compatible(text.replace("，", "。")).replace("〇", "零")
    if DIGIT.search(text):
        text = read_numbers(text)
    return " ".join(UNIT.findall(upper_letters(text)))


def read_numbers(text: str) -> str:
    """Every number in Chinese characters."""
    text = text.replace("°C", "摄氏度").replace("°F", "华氏度")
    for pattern, read in READINGS:
        text = pattern.sub(read, text)
    return text


@cache
def _reader() -> Callable[[str, str], str]:
    """cn2an's reading of counts; imported when the first number comes.

    Raises:
      EgretError: it is not installed.
    """
    try:
        from cn2an import an2cn
    except ImportError:
        raise EgretError("numbers in Chinese need cn2an, which is not installed; run local/install.sh") from None
    return an2cn


def digit_by_digit(digits: str) -> str:
    return "".join(DIGITS[int(digit)] for digit in digits)


@lru_cache(maxsize=10_000)
def cardinal(count: str) -> str:
    """A count; two thousand is 两千, and so with 万 and 亿 in the first place."""
    digits = count.replace(",", "")
    if len(digits) > LONGEST:
        return digit_by_digit(digits)
    return re.sub("^二(?=[千万亿])", "两", _reader()(digits, "low"))


def number(written: str) -> str:
    """With a sign and decimals."""
    sign = "负" if written[0] in "-\u2212" else ""
    whole, _, decimals = written.lstrip("-\u2212").partition(".")
    return sign + cardinal(whole) + (f"点{digit_by_digit(decimals)}" if decimals else "")


def _date(found: re.Match) -> str:
    year, month, day = found[1], int(found[3]), int(found[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return found[0]
    return f"{digit_by_digit(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


def _clock(found: re.Match) -> str:
    hour, minute, second = int(found[1]), found[2], found[3]
    spoken = ("两" if hour == 2 else cardinal(str(hour))) + "点"
    if minute != "00" or second:
        spoken += _two_digits(minute) + "分"
    return spoken + (_two_digits(second) + "秒" if second else "")


def _two_digits(digits: str) -> str:
    """A minute or second: 05 is 零五."""
    return digit_by_digit(digits) if digits[0] == "0" and digits != "00" else cardinal(digits)


def _per_cent(found: re.Match) -> str:
    parts = {"%": "百分之", "‰": "千分之"}
    first, own, second, sign = found.groups()
    spoken = parts[own or sign] + number(first)
    return f"{spoken}到{parts[sign]}{number(second)}" if second else spoken


def _fraction(found: re.Match) -> str:
    whole, above, below = found.groups()
    if max(len(above), len(below)) > LONGEST or int(above) >= int(below):
        return found[0]
    spoken = f"{cardinal(below)}分之{cardinal(above)}"
    return f"{cardinal(whole)}又{spoken}" if whole else spoken


def _range(found: re.Match) -> str:
    """3-5 is 三到五; what does not rise is no range, and a telephone number neither."""
    first, second = (part.replace(",", "") for part in found.groups())
    phone = any(len(part) > 1 and part[0] == "0" and "." not in part for part in (first, second))
    if phone or max(len(first), len(second)) > 6 or float(first) >= float(second):
        return f"{found[1]} {found[2]}"
    return f"{found[1]}到{found[2]}"


def _one(found: re.Match) -> str:
    sign, count, decimals = found.groups()
    text, start = found.string, found.start()
    sign = "负" if sign else ""
    if decimals.count(".") == 1:
        return sign + number(count + decimals)
    if decimals:  # a version, an address on the network
        return "点".join([cardinal(count), *map(cardinal, decimals.split(".")[1:])])
    if count == "2" and not text.endswith("第", 0, start) and COUNTED.match(text, found.end()):
        return sign + "两"
    behind_letter = start > 0 and text[start - 1].isascii() and text[start - 1].isalpha()
    if (
        (count[0] == "0" and len(count) > 1)
        or (behind_letter and len(count) > 2)
        or ("," not in count and len(count) > 6 and not count.endswith("000"))
    ):
        return sign + digit_by_digit(count.replace(",", ""))
    return sign + cardinal(count)


# In this order: what an earlier one has read has no digits left.
READINGS: list[tuple[re.Pattern, Callable[[re.Match], str]]] = [
    (DATE, _date),
    (YEARS, lambda found: f"{digit_by_digit(found[1])}到{digit_by_digit(found[2])}"),
    (ONE_YEAR, lambda found: digit_by_digit(found[1])),
    (CLOCK, _clock),
    (PER_CENT, _per_cent),
    (MONEY, lambda found: f"{number(found[2])}{found[3]}{CURRENCY[found[1]]}"),
    (FRACTION, _fraction),
    (RATIO, lambda found: f"{number(found[1])}比"),
    (RANGE, _range),
    (ONE, _one),
]

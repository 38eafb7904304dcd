"""How texts are written before they are compared: by a normaliser, and with what else shall not count as an error."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from egret.base.errors import UsageError
from egret.lang.characters import FOREIGN_DIGIT, HAN
from egret.lang.mandarin import read_numbers
from egret.lang.normalise import identity, normalise

CHINESE = ("numbers", "erhua")  # folds that only mean something in Chinese
DONE = {"mandarin": ("fullwidth", "numbers"), "english": ("fullwidth", "numbers")}  # by the normaliser itself

# U+3000 and U+FF01 to U+FF5E are the space and the ASCII characters in the width of a Chinese one.
HALF_WIDTH = {0x3000: " ", **{0xFF01 + place: chr(0x21 + place) for place in range(94)}}
# Words that begin with a full 儿: 儿子, 儿童, 儿科, 儿孙, 儿媳, 儿歌, 儿戏, 生儿育女; 儿女, but not 玩儿 女儿.
ERHUA = re.compile(rf"([{HAN}])\s?儿(?!\s?(?:[子童科孙媳歌戏育]|女(?!\s?儿)))")
# What stands before a full 儿 at the end of a word: 女儿, 新生儿.
FULL_AFTER = (
    *"女婴幼孤少胎健宠弃男患孪托产侄聋痴乞小",
    *("新生", "私生", "混血", "畸形", "低能", "弱智", "脑瘫", "幸运", "弄潮", "流浪", "留守"),
)
SMALL = ("从小", "打小", "自小", "发小")  # of all that end with 小 these have erhua
LONGEST = 2 * max(map(len, FULL_AFTER))  # with a space before each character


def without_erhua(text: str) -> str:
    """玩 for 玩儿, whether 儿 stands by itself or not; 女儿, 新生儿, 儿子, 儿童 and their like keep it.

    Spaces do not matter, so that a hypothesis in characters is treated as a reference in words is.
    """
    return ERHUA.sub(_without, text)


def _without(found: re.Match[str]) -> str:
    before = "".join(found.string[max(0, found.end(1) - LONGEST) : found.end(1)].split())
    return found[0] if before.endswith(FULL_AFTER) and not before.endswith(SMALL) else found[1]


def chinese_numbers(text: str) -> str:
    """Digits of any script read in Chinese."""
    return read_numbers(FOREIGN_DIGIT.sub(lambda digit: str(int(digit[0])), text))


FOLDS: dict[str, Callable[[str], str]] = {
    "fullwidth": lambda text: text.translate(HALF_WIDTH),
    "numbers": chinese_numbers,
    "erhua": without_erhua,
}


@dataclass(frozen=True)
class Writing:
    """A normaliser by name, and what differences of writing (names of FOLDS, in their order) are no errors besides.

    Raises:
      UsageError: there is no normaliser of that name, or it does already what was asked for besides.
    """

    normaliser: str = "plain"
    folds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        identity(self.normaliser)
        for name in self.folds:
            if name in DONE.get(self.normaliser, ()):
                raise UsageError(f"--fold {name}: the normaliser {self.normaliser!r} sees to that itself; leave it out")
        object.__setattr__(self, "folds", tuple(name for name in FOLDS if name in self.folds))

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> "Writing":
        """That of the content of a score.json, or a best.json."""
        return cls(score["normaliser"]["name"], tuple(score.get("folded", ())))

    def as_plain(self) -> dict[str, Any]:
        """What score.json says of it."""
        return {"normaliser": identity(self.normaliser), "folded": list(self.folds)}

    def words(self, text: str) -> list[str]:
        """The words of a text; equal ones are one object, for a corpus has few different ones and many in all."""
        for name in self.folds:
            text = FOLDS[name](text)
        return list(map(sys.intern, normalise(text, self.normaliser).split()))


def described(score: Mapping[str, Any]) -> str:
    """`mandarin 3, without erhua`: how the texts of a score.json, or a best.json, were written, for people."""
    names = {"fullwidth": "full width as half", "numbers": "numbers in Chinese", "erhua": "without erhua"}
    parts = ["{name} {version}".format(**score["normaliser"]), *(names[name] for name in score.get("folded", ()))]
    return ", ".join(parts)

"""Hot words: phrases that a search prefers, each by a score of its own.

The phrases are looked for as Aho and Corasick (1975, "Efficient string matching") do, in the units of a transcript with
a mark between words. A phrase that has begun has a part of its score, which is taken back when it goes on otherwise, so
that a whole transcript has got the score of each phrase as often as the phrase is in it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from egret.base.errors import EgretError, first_few
from egret.base.files import text_lines
from egret.decoding.word_ends import Unit, word_units
from egret.lang.lang import Lang
from egret.lang.normalise import normalise
from egret.lang.spelling import Pronounced
from egret.lang.symbols import SPECIAL_TOKENS

OPTION = "--prefix.hot-words"
BETWEEN = -1  # the mark between words


@dataclass
class Node:
    """A row of symbols with which a phrase begins.

    Attributes:
      following: nodes by one more symbol.
      shorter: number of the node of its longest end that is a node.
      credit: part of a phrase's score that is given when it has come so far, the most that any of the ends has; a score
        below 0 is not given before the phrase is whole.
      complete: scores of the phrases that are whole now, those that its ends complete included.
    """

    following: dict[int, int] = field(default_factory=dict)
    shorter: int = 0
    credit: float = 0.0
    complete: float = 0.0


class HotWords:
    """The scores of phrases in a row of tokens.

    Args:
      phrases: token ids and the score of each phrase.
      units: each token as part of a word; None: where words end cannot be seen, and phrases are found anywhere.
      passed_over: tokens that are as if they were not there, such as silence.
    """

    def __init__(
        self, phrases: Iterable[tuple[Sequence[int], float]], units: Sequence[Unit] | None, passed_over: Iterable[int]
    ) -> None:
        self.units, self.passed_over = units, frozenset(passed_over)
        self.nodes = [Node()]
        for tokens, score in phrases:
            self._add(self._row(tokens), score)
        self._link()
        self.gains = self._gains()

    def _symbols(self, token: int) -> list[int]:
        if token in self.passed_over:
            return []
        if self.units is None:
            return [token]
        unit = self.units[token]
        return [BETWEEN] * unit.begins + [token] * bool(unit.text) + [BETWEEN] * unit.ends

    def _row(self, tokens: Sequence[int]) -> list[int]:
        """The symbols of a phrase, with marks before and behind it where words can be seen."""
        marks = [] if self.units is None else [BETWEEN]
        row: list[int] = []
        for symbol in [*marks, *(symbol for token in tokens for symbol in self._symbols(token)), *marks]:
            if symbol != BETWEEN or not row or row[-1] != BETWEEN:
                row.append(symbol)
        return row

    def _add(self, row: list[int], score: float) -> None:
        length = sum(symbol != BETWEEN for symbol in row)
        place, heard = 0, 0
        for symbol in row[:-1]:
            place = self._grown(place, symbol)
            heard += symbol != BETWEEN
            node = self.nodes[place]
            node.credit = max(node.credit, score * heard / length)  # of phrases that begin alike the best
        self.nodes[self._grown(place, row[-1])].complete += score

    def _grown(self, place: int, symbol: int) -> int:
        """The number of the node after this one, made where there is none."""
        if symbol not in self.nodes[place].following:
            self.nodes[place].following[symbol] = len(self.nodes)
            self.nodes.append(Node())
        return self.nodes[place].following[symbol]

    def _link(self) -> None:
        pending = deque(self.nodes[0].following.values())
        while pending:
            place = pending.popleft()
            node = self.nodes[place]
            node.complete += self.nodes[node.shorter].complete
            node.credit = max(node.credit, self.nodes[node.shorter].credit)
            for symbol, after in node.following.items():
                self.nodes[after].shorter = self._after(node.shorter, symbol)
                pending.append(after)

    def _gains(self) -> dict[int, float]:
        """The most that each symbol can add. A node has at least the credit of its ends, so that no way to a node adds
        more than the one from the node before it; and symbols that are in no phrase add nothing."""
        gains: dict[int, float] = {}
        for node in self.nodes:
            for symbol, place in node.following.items():
                after = self.nodes[place]
                gains[symbol] = max(gains.get(symbol, 0.0), after.complete + after.credit - node.credit)
        return gains

    def most(self, token: int) -> float:
        return sum(self.gains.get(symbol, 0.0) for symbol in self._symbols(token))

    def _after(self, place: int, symbol: int) -> int:
        while symbol not in self.nodes[place].following:
            if place == 0:
                return 0
            place = self.nodes[place].shorter
        return self.nodes[place].following[symbol]

    def _go(self, context: tuple[int, bool], symbol: int) -> tuple[float, tuple[int, bool]]:
        place, between = context
        if symbol == BETWEEN and between:
            return 0.0, context
        after = self._after(place, symbol)
        node = self.nodes[after]
        return node.complete + node.credit - self.nodes[place].credit, (after, symbol == BETWEEN)

    def begin(self) -> tuple[int, bool]:
        """The node, and whether the last symbol was the mark between words."""
        place = self._after(0, BETWEEN) if self.units is not None else 0
        return place, self.units is not None

    def step(self, context: tuple[int, bool], token: int) -> tuple[float, tuple[int, bool]]:
        added = 0.0
        for symbol in self._symbols(token):
            more, context = self._go(context, symbol)
            added += more
        return added, context

    def end(self, context: tuple[int, bool]) -> float:
        added = 0.0
        if self.units is not None:
            added, context = self._go(context, BETWEEN)
        return added - self.nodes[context[0]].credit


def read_hot_words(path: Path, lang: Lang) -> HotWords:
    """The phrases of a file, lines of `word or phrase` and a score, in units.

    Raises:
      EgretError: it is not there or has no phrases; a line has no score, a phrase has no units, or stands there twice.
    """
    silent = [lang.tokens[name] for name in [*SPECIAL_TOKENS, *([lang.silence] if lang.silence else [])]]
    spelling = lang.spelling
    known = spelling.pronunciations if isinstance(spelling, Pronounced) else None

    def outside(words: list[str]) -> list[str]:
        return lang.outside(" ".join(words)) if known is None else [word for word in words if word not in known]

    phrases = read_phrases(path, OPTION, lang.normaliser)
    remedy = "leave these phrases out, or make the lang folder with their words (steps/prepare_lang.py)"
    refuse_unknown(phrases, outside, f"{OPTION} {path}: {lang.folder} has no units for", remedy)
    rows = [tuple(lang.encode(" ".join(each.words))) for each in phrases]
    for each, row in zip(phrases, rows, strict=True):
        if not set(row) - set(silent):
            raise EgretError(f"{each.where}: {each.text!r} is nothing but silence in {lang.folder}, and would be "
                             f"everywhere; leave it out")  # fmt: skip
    refuse_twice(phrases, rows, "units")
    return HotWords([(row, each.score) for each, row in zip(phrases, rows, strict=True)], word_units(lang), silent)


@dataclass(frozen=True)
class Phrase:
    """A line of a file of hot words.

    Attributes:
      where: what to call it in a message.
      text: as it is written.
      words: normalised.
    """

    number: int
    where: str
    text: str
    words: list[str]
    score: float


def read_phrases(path: Path, option: str, normaliser: str) -> list[Phrase]:
    """The lines of a file of hot words that are not empty.

    Raises:
      EgretError: the file is not there or has no phrases; a line has no score, nothing is left of a phrase.
    """
    phrases: list[Phrase] = []
    bad: list[str] = []
    for number, line in enumerate(text_lines(path, option), 1):
        if not line.strip():
            continue
        where = f"{option} {path}:{number}"
        text, score = _split(line)
        if score is None:
            bad.append(f"line {number}: {line.strip()!r}")
            continue
        words = normalise(text, normaliser).split()
        if not words:
            raise EgretError(f"{where}: nothing is left of {text!r} by the normaliser {normaliser}; leave it out")
        phrases.append(Phrase(number, where, text, words, score))
    if bad:
        raise EgretError(f"{option} {path}: expected `word or phrase  score` with a number below a million as score, "
                         f"found {first_few(bad)}")  # fmt: skip
    if not phrases:
        raise EgretError(f"{option} {path}: no phrases in it; expected lines of `word or phrase  score`")
    return phrases


def refuse_unknown(
    phrases: Sequence[Phrase], outside: Callable[[list[str]], list[str]], says: str, remedy: str
) -> None:
    """Raises EgretError where `outside` finds words in phrases, with all of them and their lines."""
    lines: dict[str, list[int]] = {}
    for each in phrases:
        for word in dict.fromkeys(outside(each.words)):
            lines.setdefault(word, []).append(each.number)
    if lines:
        named = [f"{word} (line{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))})"
                 for word, numbers in lines.items()]  # fmt: skip
        raise EgretError(f"{says} {', '.join(named)}; {remedy}")


def refuse_twice(phrases: Sequence[Phrase], rows: Sequence[tuple[int, ...]], what: str) -> None:
    """Raises EgretError where phrases are the same row of words or units."""
    first: dict[tuple[int, ...], int] = {}
    for each, row in zip(phrases, rows, strict=True):
        if first.setdefault(row, each.number) != each.number:
            raise EgretError(f"{each.where}: the same {what} as line {first[row]}; leave one of them out")


def _split(line: str) -> tuple[str, float | None]:
    """The phrase and its score; None where there is no number of use."""
    text, *rest = line.rsplit(maxsplit=1)
    try:
        score = float(rest[0])
    except (IndexError, ValueError):
        return text, None
    return text, score if abs(score) < 1e6 else None  # NaN neither

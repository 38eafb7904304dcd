"""Symbol tables: `symbol id` a line. Token 0 is CTC's blank and every automaton's epsilon."""

from collections.abc import Iterable
from pathlib import Path

from egret.base.errors import EgretError

BLANK, SOS_EOS, UNKNOWN = "<blk>", "<sos/eos>", "<unk>"
SPECIAL_TOKENS = [BLANK, SOS_EOS, UNKNOWN]  # ids 0, 1 and 2
EPSILON, BACKOFF, START, END = "<eps>", "#0", "<s>", "</s>"

Symbols = dict[str, int]


def token_table(units: Iterable[str], disambiguation: int) -> Symbols:
    """Special tokens, units, then #0 to #<disambiguation>."""
    names = [*SPECIAL_TOKENS, *units, *(f"#{number}" for number in range(disambiguation + 1))]
    return {name: number for number, name in enumerate(names)}


def word_table(words: Iterable[str]) -> Symbols:
    """<eps>, words, then #0, <s> and </s>."""
    return {name: number for number, name in enumerate([EPSILON, *words, BACKOFF, START, END])}


def format_symbols(symbols: Symbols) -> str:
    return "".join(f"{name} {number}\n" for name, number in symbols.items())


def read_symbols(path: Path) -> Symbols:
    """Read a symbol table.

    Raises:
      EgretError: no file, a line that is not `symbol id`, symbols that are not numbered from 0 in their order.
    """
    symbols = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise EgretError(f"{path}: no such symbol table; it is made by steps/prepare_lang.py (stage 2)") from None
    for number, line in enumerate(lines, 1):
        name, _, value = line.rpartition(" ")
        if not name or not value.isdigit():
            raise EgretError(f"{path}:{number}: expected `symbol id`, found {line!r}; make the folder again")
        if int(value) != number - 1 or name in symbols:
            raise EgretError(
                f"{path}:{number}: expected a new symbol with id {number - 1}, found {line!r}; make it again"
            )
        symbols[name] = int(value)
    return symbols


def is_disambiguation(name: str) -> bool:
    return name.startswith("#") and name[1:].isdigit()

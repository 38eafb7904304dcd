"""Text files made with whatever people had: UTF-8 with or without byte-order mark, UTF-16, GBK, Latin-1; line ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError
from egret.base.log import log

# utf-8 refuses what is not UTF-8; gbk is what Windows and many Chinese corpora write (read as GB18030, which holds it).
# In latin-1 every byte is a letter, so that it is for files whose language is known.
Encoding = Literal["utf-8", "gbk", "latin-1"]
TAKEN = "%s:%d: not UTF-8; the file is read as %s, convert it with iconv if it is not that"


def read_text(path: Path, fallback: Encoding = "utf-8") -> str:
    """The content of a text file with `\\n` line ends: UTF-8, UTF-16 by its byte-order mark, else `fallback`.

    Bytes cannot tell GBK from Latin-1 or any other old encoding, so that it is not guessed but allowed by the caller;
    a warning says that it was taken.

    Raises:
      EgretError: no such file, or it is in none of these encodings; names the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise EgretError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise EgretError(f"{path}: is a folder where a file is expected") from None
    return _unified(_decode(path, content, fallback))


def _decode(path: Path, content: bytes, fallback: Encoding) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise EgretError(f"{path}: damaged UTF-16 ({error.reason}); save it as UTF-8") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    if fallback == "gbk":
        try:
            text = content.decode("gb18030")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise EgretError(f"{path}:{line}: neither UTF-8 nor GBK; convert it with iconv -t UTF-8") from None
        log.warning(TAKEN, path, line, "GBK")
        return text
    if fallback == "latin-1":
        log.warning(TAKEN, path, line, "Latin-1")
        return content.decode("latin-1")
    raise EgretError(f"{path}:{line}: not UTF-8; {_advice(content)}")


def _advice(content: bytes) -> str:
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return "convert it: iconv -f ENCODING -t UTF-8, ENCODING being what it is written in"
    return (
        "if it is Chinese in GBK, say --encoding gbk (with --lang zh it is read by itself), else convert it with iconv"
    )


def _unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without white space around, with their numbers from 1."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def named(path: Path, text: str) -> tuple[dict[str, tuple[int, str]], list[tuple[int, str]]]:
    """Of lines `name value...` the (line number, value) by name, and further lines of names that were there before.

    A line without a value has the value "".
    """
    first: dict[str, tuple[int, str]] = {}
    again: list[tuple[int, str]] = []
    for number, line in numbered(text):
        name, *rest = line.split(maxsplit=1)
        value = rest[0] if rest else ""
        if name in first and first[name][1] != value:
            again.append((number, name))
        first.setdefault(name, (number, value))
    return first, again

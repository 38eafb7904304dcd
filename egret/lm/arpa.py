"""ARPA files: checked and completed in one pass in which only the header and the unigrams are held in memory.

The format is that of Doug Paul's as SRILM documents it (ngram-format(5)): `\\data\\` with the counts, one section
of `log10-probability words [log10-back-off]` for each order, `\\end\\`.
"""

import gzip
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import IO

import numpy as np

from egret.base.errors import EgretError
from egret.lang.symbols import END, START

UNKNOWN_NAMES = ("<unk>", "<UNK>")  # what KenLM takes for the unknown word
UNKNOWN_BYTES = tuple(name.encode() for name in UNKNOWN_NAMES)
NOTHING = -20.0  # log10; models without an unknown word list it with -99, -100 or -inf
BLOCK = 4 << 20
PREAMBLE = 1 << 20  # bytes of comment that may stand before \data\, and of a line

Unigrams = dict[bytes, tuple[float, bytes]]  # word to log10 probability, and back-off weight as written or nothing


@dataclass(frozen=True)
class Completion:
    """What `complete` found and did.

    Attributes:
      ngrams: how many the completed model has, by order.
      known: the words of the model before it was completed, <s>, </s> and the unknown word left out.
      added: words that the model had not seen and that now have a unigram.
      mass: probability of words never seen, before it was shared.
      share: what each added word got, and what is left with the unknown word.
      unknown: final unigram probability of the unknown word.
      source: where the mass is from: "<unk>" or "smallest unigram".
      name: spelling of the unknown word in the completed model.
    """

    ngrams: list[int]
    known: set[str]
    added: list[str]
    mass: float
    share: float
    unknown: float
    source: str
    name: str


@contextmanager
def open_arpa(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of an ARPA file, gzipped or not whatever its name says.

    Raises:
      EgretError: there is no such file, it is empty, no model, or its compressed data is damaged.
    """
    try:
        with open(path, "rb") as raw:
            start = raw.read(64)
            raw.seek(0)
            packed = start[:2] == b"\x1f\x8b"
            with gzip.open(raw) if packed else raw as data:
                if packed:
                    start = data.read(64)
                    data.seek(0)
                _refuse_others(path, start)
                yield data  # type: ignore[misc]
    except FileNotFoundError:
        raise EgretError(f"{path}: no such language model; check --arpa") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EgretError(f"{path}: its gzip data is damaged or cut short ({error}); fetch it again") from None


def _refuse_others(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not text:
        raise EgretError(f"{path}: empty; fetch the language model again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise EgretError(f"{path}: a web page (an error message of a server?), not a language model; fetch it again")
    if text.startswith(b"mmap lm"):
        raise EgretError(f"{path}: a KenLM binary; give the ARPA file that it was made from")


def _lines(path: Path, data: IO[bytes]) -> Iterator[bytes]:
    """Lines without the white space around them, blank ones left out, to the end of the file."""
    while line := data.readline(PREAMBLE):
        if line := line.strip():
            yield line


def read_counts(path: Path, data: IO[bytes]) -> list[int]:
    """The numbers of n-grams that the header states, up to and including the line `\\1-grams:`."""
    read = 0
    lines = _lines(path, data)
    for line in lines:
        if line == b"\\data\\":
            break
        read += len(line)
        if read > PREAMBLE:
            raise EgretError(f"{path}: not an ARPA language model (no \\data\\ line); check --arpa")
    else:
        raise EgretError(f"{path}: not an ARPA language model (no \\data\\ line); check --arpa")
    counts: list[int] = []
    for line in lines:
        if line == b"\\1-grams:":
            if not counts:
                break
            return counts
        match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
        if not match or int(match[1]) != len(counts) + 1:
            break
        counts.append(int(match[2]))
    raise EgretError(f"{path}: its header is damaged (expected `ngram {len(counts) + 1}=...`); fetch it again")


def _read_unigrams(path: Path, data: IO[bytes]) -> tuple[Unigrams, bytes]:
    """The unigrams, and the line that ends the section."""
    unigrams: Unigrams = {}
    for line in _lines(path, data):
        if line.startswith(b"\\") and (line == b"\\end\\" or line.endswith(b"-grams:")):
            return unigrams, line
        fields = line.split()
        try:
            if not 2 <= len(fields) <= 3:
                raise ValueError
            unigrams[fields[1]] = (float(fields[0]), fields[2] if len(fields) == 3 else b"")
        except ValueError:
            shown = line[:60].decode(errors="replace")
            raise EgretError(f"{path}: {shown!r} is no unigram; the file is damaged, fetch it again") from None
    raise EgretError(f"{path}: ends within the unigrams, without \\end\\; it was cut short, fetch it again")


def _check_count(path: Path, order: int, stated: int, found: int) -> None:
    if stated != found:
        raise EgretError(
            f"{path}: has {found} {order}-grams where its header says {stated}; it is damaged or was cut short, "
            f"fetch it again"
        )


def complete(source: Path, target: Path, words: Iterable[str], surrogate: str = "", padding: int = 0) -> Completion:
    """Copy a model so that each of `words` has a unigram; the counts of all orders are checked on the way.

    A word that the model has not seen shares the unknown word's probability evenly with the other ones and with
    the unknown word itself, and has no back-off weight; all other n-grams stay as they are, so that the unigrams
    still sum to one. Where the model has no unknown word, or lists it with no probability, the mass to share is
    that of its rarest word, and the unigrams then sum to a little more than one.

    Args:
      source: ARPA, gzipped or not.
      target: plain ARPA, written in one pass (not atomically).
      words: words that need a unigram; of `<unk>` and `<UNK>` the one that is among them, else `<unk>`, is how
        the unknown word is spelt in the completed model.
      surrogate: a word of the model that stands for the unknown words of its training text; it is renamed to
        the unknown word, which gets its probability besides its own.
      padding: words for which the model left as much probability as for the unknown word, besides that one.

    Raises:
      EgretError: the file is not there, empty, no ARPA model, damaged or cut short.
    """
    wanted = {word.encode() for word in words}
    name = next((each for each in UNKNOWN_BYTES if each in wanted), UNKNOWN_BYTES[0])
    with open_arpa(source) as data, open(target, "wb") as out:
        counts = read_counts(source, data)
        unigrams, line = _read_unigrams(source, data)
        _check_count(source, 1, counts[0], len(unigrams))
        for symbol in (START, END):
            if symbol.encode() not in unigrams:
                raise EgretError(f"{source}: has no unigram {symbol}; a model of sentences is needed")
        renames = {each: name for each in (*UNKNOWN_BYTES, surrogate.encode()) if each in unigrams and each != name}
        done = _complete_unigrams(unigrams, wanted, name, surrogate.encode(), counts, padding)
        out.write(b"\\data\\\n")
        out.writelines(b"ngram %d=%d\n" % pair for pair in enumerate(done.ngrams, 1))
        out.write(b"\n\\1-grams:\n")
        for word, (log_probability, weight) in unigrams.items():
            fields = [b"%.7g" % max(log_probability, -99.0), word, *([weight] if weight else [])]
            out.write(b"\t".join(fields) + b"\n")
        out.write(b"\n" + line + b"\n")
        _copy_rest(source, data, out, line, counts, renames)
    return done


def _complete_unigrams(
    unigrams: Unigrams, wanted: set[bytes], name: bytes, surrogate: bytes, counts: list[int], padding: int
) -> Completion:
    """Add the unigrams that are wanted and give the unknown word what is left, in place."""
    no_weight = b"0" if len(counts) > 1 else b""
    unknown = [unigrams.pop(each) for each in UNKNOWN_BYTES if each in unigrams]
    mass, origin = (padding + 1) * sum(10**p for p, _ in unknown if p > NOTHING), "<unk>"
    in_text = [unigrams.pop(surrogate)] if surrogate in unigrams else []
    if not mass:
        present = (p for word, (p, _) in unigrams.items() if p > NOTHING and word != START.encode())
        mass, origin = 10 ** min(present, default=-7.0), "smallest unigram"
    known = {word.decode(errors="replace") for word in unigrams} - {START, END}
    added = sorted(wanted - unigrams.keys() - {name})
    share = mass / (len(added) + 1)
    left = share + sum(10**p for p, _ in in_text)
    weights = [weight for _, weight in (*in_text, *unknown) if weight]
    unigrams[name] = (log10(left), weights[0] if weights else no_weight)
    unigrams.update((word, (log10(share), no_weight)) for word in added)
    names = [word.decode() for word in added]
    return Completion([len(unigrams), *counts[1:]], known, names, mass, share, left, origin, name.decode())


def _copy_rest(
    path: Path, data: IO[bytes], out: IO[bytes], line: bytes, counts: list[int], renames: dict[bytes, bytes]
) -> None:
    """Copy the sections after the unigrams, counting; most blocks are counted and written without a look inside."""
    patterns = [
        (re.compile(rb"(?<=[\t ])" + re.escape(old) + rb"(?=[\t \r\n])"), old, new) for old, new in renames.items()
    ]
    order, found = 1, counts[0]
    ended = False

    def enter(line: bytes) -> None:
        nonlocal order, found, ended
        _check_count(path, order, counts[order - 1], found)
        ended = line == b"\\end\\"
        if ended and order == len(counts):
            return
        if ended or order == len(counts) or line != b"\\%d-grams:" % (order + 1):
            raise EgretError(
                f"{path}: after its {order}-grams comes {line.decode(errors='replace')!r}, but its header promises "
                f"orders 1 to {len(counts)}; it is damaged, fetch it again"
            )
        order, found = order + 1, 0

    enter(line)
    rest = b""
    while not ended and (block := data.read(BLOCK)):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        block, rest = block[:cut].replace(b"\r\n", b"\n"), block[cut:]
        for pattern, old, new in patterns:
            if old in block:
                block = pattern.sub(new, block)
        out.write(block)
        if not (block.startswith((b"\\", b"\n")) or b"\n\\" in block or b"\n\n" in block):
            found += block.count(b"\n")
            continue
        for each in block.split(b"\n"):
            each = each.strip()
            if each.startswith(b"\\") and (each == b"\\end\\" or re.fullmatch(rb"\\\d+-grams:", each)):
                enter(each)
                if ended:
                    break
            elif each:
                found += 1
    if rest.strip() == b"\\end\\" and not ended:  # the last line may lack its newline
        out.write(rest + b"\n")
        enter(rest.strip())
    if not ended:
        raise EgretError(f"{path}: ends within its {order}-grams, without \\end\\; it was cut short, fetch it again")


def ngrams_by_order(path: Path) -> list[dict[bytes, tuple[float, float]]]:
    """All n-grams of a model, by order: words with one space between them to log10 of the probability and of the
    back-off weight, 0 where it has none.

    Raises:
      EgretError: the file is not there, empty, no ARPA model, damaged or cut short.
    """
    with open_arpa(path) as data:
        counts = read_counts(path, data)
        found: list[dict[bytes, tuple[float, float]]] = [{}]
        for line in _lines(path, data):
            order, fields = len(found), line.split()
            if line.startswith(b"\\") and (line == b"\\end\\" or line.endswith(b"-grams:")):
                _check_count(path, order, counts[order - 1], len(found[-1]))
                if order == len(counts):
                    return found
                found.append({})
                continue
            try:
                weight = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
                found[-1][b" ".join(fields[1 : order + 1])] = (float(fields[0]), weight)
            except (ValueError, IndexError):
                shown = line[:60].decode(errors="replace")
                raise EgretError(f"{path}: {shown!r} is no {order}-gram; the file is damaged, fetch it again") from None
    raise EgretError(f"{path}: ends within its {len(found)}-grams, without \\end\\; it was cut short, fetch it again")


def write_arpa(
    target: Path, names: Sequence[Sequence[bytes]], scores: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> None:
    """Write n-grams by order with log10 of their probabilities and, for all orders but the last, back-off weights."""
    with open(target, "wb") as out:
        out.write(b"\\data\\\n")
        out.writelines(b"ngram %d=%d\n" % (order, len(each)) for order, each in enumerate(names, 1))
        for order, (ngrams, log10s) in enumerate(zip(names, scores, strict=True), 1):
            out.write(b"\n\\%d-grams:\n" % order)
            if order < len(names):
                rows = zip(log10s, ngrams, weights[order - 1], strict=True)
                out.writelines(b"%.7g\t%s\t%.7g\n" % row for row in rows)
            else:
                out.writelines(b"%.7g\t%s\n" % row for row in zip(log10s, ngrams, strict=True))
        out.write(b"\n\\end\\\n")


def pack(source: Path, target: Path) -> None:
    """Gzip a file, to the same bytes every time."""
    # Level 6 takes a third of the time of 9 and 2 % more space.
    with (
        open(source, "rb") as data,
        open(target, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(data, packed, BLOCK)

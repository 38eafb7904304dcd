"""N-gram models from text: KenLM's lmplz (modified Kneser-Ney, Heafield et al. 2013), and unigrams of our own.

Words of the text that the lexicon lacks are estimated as one word, which becomes the unknown word when the
model is completed (egret.lm.arpa.complete).
"""

import errno
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import EgretError
from egret.base.files import text_lines
from egret.base.log import log
from egret.lang.normalise import normalise
from egret.lang.symbols import BACKOFF, END, EPSILON, START

RESERVED = frozenset({EPSILON, BACKOFF, START, END})
SMALL_TEXT = 1 << 20  # bytes; lmplz clears all the memory that it is allowed, which takes longer than the rest
# Stands for unknown words while a model is estimated: lmplz refuses <unk> in its text. Private-use characters
# cannot be part of a word.
SURROGATE = "\ue000unknown\ue001"


@dataclass
class TextCounts:
    """What went into a model: sentences and words, empty lines, words by type, and reserved symbols left out."""

    words: Counter[str]
    sentences: int = 0
    empty: int = 0
    reserved: int = 0

    @classmethod
    def none(cls) -> "TextCounts":
        return cls(Counter())

    @property
    def tokens(self) -> int:
        return sum(self.words.values())


def sentences_of(files: Iterable[Path], normaliser: str) -> Iterator[str]:
    """The normalised lines of plain text files, gzipped or not by their names.

    Raises:
      EgretError: a file is not there or is not UTF-8 text.
    """
    for path in files:
        for line in text_lines(path, "--text"):
            yield normalise(line.rstrip("\r\n"), normaliser)


def write_training_text(path: Path, sentences: Iterable[str]) -> TextCounts:
    """Write the sentences that have words, one a line, and count; `<s>` and `</s>` in the text are left out."""
    counts = TextCounts.none()
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for sentence in sentences:
            words = sentence.split()
            if ("<" in sentence or "#" in sentence) and not RESERVED.isdisjoint(words):
                kept = [word for word in words if word not in RESERVED]
                counts.reserved += len(words) - len(kept)
                words = kept
            if not words:
                counts.empty += 1
                continue
            counts.sentences += 1
            counts.words.update(words)
            out.write(" ".join(words) + "\n")
    return counts


def tool(name: str) -> str:
    """The path of a KenLM program: on PATH, or beside this Python.

    Raises:
      EgretError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if not found:
        raise EgretError(f"{name} of KenLM is not on PATH; local/install.sh builds it (utils/doctor.py checks)")
    return found


def estimate_unigrams(counts: Counter[str], sentences: int, arpa: Path) -> None:
    """An ARPA model of order 1, which lmplz does not make: Witten and Bell's (1991) estimate.

    With N tokens, the ends of sentences among them, of T types, a word seen c times gets c / (N + T) and the
    unknown word T / (N + T).
    """
    events = {**counts, END: sentences}
    total = sum(events.values()) + len(events)
    rows = [("<unk>", math.log10(len(events) / total)), (START, -99.0)]
    rows += [(word, math.log10(count / total)) for word, count in sorted(events.items())]
    with open(arpa, "w", encoding="utf-8", newline="\n") as out:
        out.write(f"\\data\\\nngram 1={len(rows)}\n\n\\1-grams:\n")
        out.writelines(f"{probability:.7g}\t{word}\n" for word, probability in rows)
        out.write("\n\\end\\\n")


def lmplz(
    text: Path,
    arpa: Path,
    order: int,
    prune: list[int],
    fallback: str,
    memory: str,
    known: frozenset[str],
    stands_for: str,
    vocabulary: int = 0,
) -> bool:
    """Estimate a model of order 2 or more with KenLM; returns whether it needed discount fallback.

    Args:
      text: one sentence a line.
      prune: n-grams seen no more often than this are left out, by order (lmplz --prune); empty: none.
      fallback: `auto`: fixed discounts where the text is too small to estimate them; `always`; `never`.
      memory: as lmplz takes it, such as 1G or 50%.
      known: words of the lexicon.
      stands_for: what other words become (SURROGATE or a word of the lexicon); empty: the text has no others.
      vocabulary: count as many words when the unigrams are interpolated with a uniform distribution (lmplz
        --vocab_pad): those that the text lacks are left the same share as the unknown word. 0: those of the text.

    Raises:
      EgretError: lmplz failed; with its own last lines.
    """
    _check_handles(order)
    memory = memory if text.stat().st_size > SMALL_TEXT else "64M"
    command = [tool("lmplz"), "--order", str(order), "--memory", memory, "--temp_prefix", f"{arpa.parent}/"]
    command += ["--arpa", str(arpa)]
    if prune:
        command += ["--prune", *map(str, prune)]
    if vocabulary:
        command += ["--vocab_pad", str(vocabulary)]
    for fall_back in {"auto": [False, True], "always": [True], "never": [False]}[fallback]:
        extra = ["--discount_fallback"] if fall_back else []
        code, said = _feed([*command, *extra], text, known, stands_for)
        if code == 0:
            if fall_back and fallback == "auto":
                log.info("lmplz: the text is too small to estimate discounts; used --discount_fallback")
            return fall_back
        if "--discount_fallback" not in said:
            break
    if "--discount_fallback" in said and fallback == "never":
        raise EgretError(
            f"lmplz cannot estimate discounts of so small a text; allow --discount-fallback auto{_tail(said)}"
        )
    _check_space(said, arpa.parent)
    reason = "was killed (out of memory?); lower --memory" if code < 0 else f"failed (code {code})"
    raise EgretError(f"lmplz {reason}; its last lines:{_tail(said)}")


def _feed(command: list[str], text: Path, known: frozenset[str], stands_for: str) -> tuple[int, str]:
    """Run lmplz on a text, words not `known` replaced; its exit code and what it said."""
    log.debug("%s", " ".join(command))
    with open(text.parent / "lmplz.log", "w+b") as said:
        if not stands_for:
            with open(text, "rb") as data:
                code = subprocess.run(command, stdin=data, stdout=said, stderr=said).returncode
        else:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process:
                assert process.stdin is not None
                try:
                    with open(text, encoding="utf-8", newline="\n") as lines, process.stdin as pipe:
                        for line in lines:
                            words = (word if word in known else stands_for for word in line.split())
                            pipe.write((" ".join(words) + "\n").encode())
                except BrokenPipeError:
                    pass  # it died early; its exit code and last lines say why
            code = process.returncode
        said.seek(0)
        return code, said.read().decode(errors="replace")


def _check_handles(order: int) -> None:
    """lmplz waits for ever where it cannot open a file in one of its threads: order 3 takes 13 handles, 6 takes 24.

    Raises:
      OSError: too few handles are allowed.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= allowed < 16 + 8 * order:  # a negative number: as many as you like
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _check_space(said: str, folder: Path) -> None:
    """Tell a full disk from KenLM's other failures: it aborts, and its last words may not fit on the disk either.

    Raises:
      OSError: the disk of this folder is full.
    """
    if os.strerror(errno.ENOSPC) in said or shutil.disk_usage(folder).free < 4096:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))


def _tail(said: str, count: int = 4) -> str:
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip(" *") and not line.startswith(("----", "Name:"))]
    return "".join(f"\n  {line}" for line in lines[-count:]) or " (nothing)"


def for_kenlm(arpa: Path, order: int) -> Path:
    """A plain ARPA model as KenLM can read it: that itself, or, of order 1, one with an empty second order, which KenLM
    needs, written beside it."""
    if order > 1:
        return arpa
    text = arpa.read_text(encoding="utf-8", errors="surrogateescape")
    text = re.sub(r"(?m)^(ngram 1=\d+)$", r"\1\nngram 2=0", text, count=1)
    padded = arpa.with_name(f"{arpa.stem}.padded.arpa")
    padded.write_text(text.replace("\n\\end\\", "\n\\2-grams:\n\n\\end\\"), encoding="utf-8", errors="surrogateescape")
    return padded


def build_binary(arpa: Path, binary: Path, order: int) -> None:
    """KenLM's binary of a plain ARPA model.

    Raises:
      EgretError: build_binary failed; with its own last lines.
    """
    arpa = for_kenlm(arpa, order)
    done = subprocess.run([tool("build_binary"), "probing", str(arpa), str(binary)], capture_output=True)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        _check_space(said, binary.parent)
        raise EgretError(f"build_binary failed (code {done.returncode}); its last lines:{_tail(said)}")

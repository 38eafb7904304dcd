"""CMU Sphinx's lists: a `.fileids` that names the recordings and a `.transcription` that says what is spoken in them.

A line of the first is a path without ending, whose folder is the speaker (`an4_clstk/fash/an251-fash-b`), a line of the
second words and the recording's name, in any order of lines: `<s> YES </s> (an251-fash-b)`.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from egret.base.errors import EgretError, first_few
from egret.corpus.text_file import numbered, read_text
from egret.corpus.validate import Utterance

AUDIO = (".sph", ".wav")
MARKS = {"<s>", "</s>", "<sil>"}  # silences, not words


def utterances(
    fileids: Path, transcription: Path, audio_dir: Path, language: str, read: Callable[[Path], str] = read_text
) -> list[Utterance]:
    """The utterances of a list in its order, then the transcripts that belong to none of them, to be rejected.

    Args:
      audio_dir: the folder in which the names of recordings begin.
      read: reader of text files.

    Raises:
      EgretError: the list is empty, or a file cannot be read.
    """
    lines = list(numbered(read(fileids)))
    if not lines:
        raise EgretError(f"{fileids}: names no recordings; unpack the corpus again")
    files = dict.fromkeys(name for _, name in lines)
    bases = Counter(PurePosixPath(name).name for name in files)
    spoken: dict[str, list[tuple[int, str]]] = {}
    stray = []
    for number, line in numbered(read(transcription)):
        text, base = split_transcript(line, bases)
        if base in bases:
            spoken.setdefault(base, []).append((number, text))
        else:
            what = f"is of {base!r}, which {fileids.name} does not name" if base else "does not end with (utterance)"
            row = Utterance(base or f"{transcription.name}:{number}", transcription, text, "", reason="no recording")
            stray.append(replace(row, problem=f"{transcription}:{number}: {what}"))
    found = []
    first: dict[str, int] = {}
    for number, name in lines:
        base = PurePosixPath(name).name
        text, reason, problem = "", "", ""
        if name in first:
            reason, problem = "listed twice", f"{fileids}:{number}: {name} is on line {first[name]} already"
        else:
            first[name] = number
            text, problem = choose_text(spoken.get(base, []), bases[base], transcription)
            reason = "no transcript"
        found.append(make_utterance(audio_dir, name, text, language, reason, problem))
    return found + stray


def split_transcript(line: str, bases: Iterable[str]) -> tuple[str, str]:
    """Words and utterance of `<s> YES </s> (an251-fash-b)`; "" where the line does not end with an utterance.

    A name may have brackets of its own: the longest one that is listed is taken, else the shortest.
    """
    if not line.endswith(")"):
        return line, ""
    starts = [place for place, letter in enumerate(line) if letter == "("]
    for place in starts:
        if line[place + 1 : -1] in bases:
            break
    else:
        if not starts:
            return line, ""
        place = starts[-1]
    return " ".join(word for word in line[:place].split() if word not in MARKS), line[place + 1 : -1].strip()


def choose_text(spoken: list[tuple[int, str]], recordings: int, path: Path) -> tuple[str, str]:
    """The transcript of an utterance and what is wrong with it, from the lines that bear its name."""
    if not spoken:
        return "", f"no line of {path} is about it"
    # Of several recordings with one name only the first is kept, and the first line is taken to be its.
    if recordings == 1 and len({text for _, text in spoken}) > 1:
        return "", f"lines {first_few([str(number) for number, _ in spoken])} of {path} say different things"
    return spoken[0][1], ""


def make_utterance(audio_dir: Path, name: str, text: str, language: str, reason: str, problem: str) -> Utterance:
    """The utterance of a recording, rejected where `problem` says why."""
    path = PurePosixPath(name)
    speaker = path.parent.name
    if not speaker and not problem:
        reason, problem = "listing", f"{name!r} has no folder, which names the speaker"
    stem = audio_dir / name
    candidates = [stem.with_name(stem.name + ending) for ending in AUDIO]
    audio = next((each for each in candidates if each.is_file()), candidates[0])
    # An id with white space in it could not be told from two in the files of other toolkits.
    name = "_".join(path.name.split())
    return Utterance(name, audio, text, speaker, language=language, problem=problem, reason=reason or "listing")

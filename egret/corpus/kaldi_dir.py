"""A Kaldi data directory (https://kaldi-asr.org/doc/data_prep.html): wav.scp and text, and where they are there
segments, utt2spk and reco2file_and_channel.

A line of wav.scp that ends with a bar is a command. Those that only decode a file (`flac -c -d -s FILE |`,
`sph2pipe -f wav -p -c 1 FILE |`, `cat FILE |`) are understood, and the file is read here; others are run only by
`run_pipes`, for nothing that is merely read may execute what somebody has written into it.
"""

import re
import shlex
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from egret.base.errors import EgretError, counted, first_few
from egret.base.files import atomic_path, digest
from egret.base.log import log, progress
from egret.corpus.text_file import Encoding, named, numbered, read_text
from egret.corpus.validate import Utterance

ABOVE = 4  # folders above the data directory in which relative paths are looked for
IN_ARCHIVE = re.compile(r":\d+$")  # foo.ark:1234
SIDES = {"A": 0, "B": 1}


@dataclass(frozen=True)
class Recording:
    """Where a recording lies: `command` makes the file `audio`, where it is not there already."""

    audio: Path
    channel: int | None = None
    command: str = ""


@dataclass
class KaldiDir:
    """The files of a data directory, by id."""

    folder: Path
    recordings: dict[str, Recording]
    text: dict[str, tuple[int, str]]
    again: dict[str, str]  # what is said twice, and differently, by utterance
    speakers: dict[str, str]
    segments: list[tuple[int, list[str]]] | None
    sides: dict[str, int] = field(default_factory=dict)

    @property
    def commands(self) -> list[Recording]:
        """The recordings that commands have yet to make."""
        return [each for each in self.recordings.values() if each.command]


def read_kaldi_dir(folder: Path, base: Path | None, pipes: Path | None, fallback: Encoding = "utf-8") -> KaldiDir:
    """Read a data directory.

    Args:
      folder: it.
      base: where relative paths begin; None: found by looking in the directory and the folders above it.
      pipes: folder for what commands make; None: commands are refused.
      fallback: the encoding of files that are not UTF-8.

    Raises:
      EgretError: wav.scp or text is not there, names nothing, or has commands where they are refused.
    """
    scp, text = folder / "wav.scp", folder / "text"
    for path in (scp, text):
        if not path.is_file():
            raise EgretError(f"{path}: not there; a Kaldi data directory has wav.scp and text")
    lines, _ = named(scp, read_text(scp, fallback))
    spoken, _ = named(text, read_text(text, fallback))
    if not lines:
        raise EgretError(f"{scp}: names no recordings")
    speakers = _pairs(folder / "utt2spk", fallback)
    segments = folder / "segments"
    return KaldiDir(
        folder=folder,
        recordings=_recordings(scp, lines, base, pipes),
        text=spoken,
        again=_said_twice(text, read_text(text, fallback)),
        speakers=speakers,
        segments=[(number, line.split()) for number, line in numbered(read_text(segments, fallback))]
        if segments.is_file() else None,
        sides=_sides(folder / "reco2file_and_channel", fallback),
    )  # fmt: skip


def utterances(data: KaldiDir) -> list[Utterance]:
    """What a data directory lists, in order, then transcripts of which there is no recording; these and whatever else
    does not fit together have a problem."""
    if data.segments is None:
        listed = [_utterance(data, name, name, 0.0, None, "") for name in data.recordings]
    else:
        listed = [_segment(data, number, words) for number, words in data.segments]
    known = {each.id for each in listed}
    path = data.folder / "text"
    source = "segments" if data.segments is not None else "wav.scp"
    stray = [
        Utterance(name, path, text, "", problem=f"{path}:{number}: {name} is not in {source}", reason="no recording")
        for name, (number, text) in data.text.items()
        if name not in known
    ]
    return listed + stray


def run_pipes(recordings: Iterable[Recording], workers: int) -> None:
    """Run the commands whose files are not there yet, each by a shell as Kaldi does, and keep what they write.

    Raises:
      EgretError: a command failed; its last words are shown.
    """
    waiting = [each for each in recordings if not each.audio.is_file()]
    if waiting:
        log.info("running %d commands of wav.scp; what they write goes to %s", len(waiting), waiting[0].audio.parent)
    with ThreadPoolExecutor(workers) as pool:
        for _ in progress(pool.map(_run, waiting), len(waiting), "commands of wav.scp"):
            pass


def _run(recording: Recording) -> None:
    with atomic_path(recording.audio) as part:
        with open(part, "wb") as out:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", recording.command], stdout=out, stderr=subprocess.PIPE, check=False
            )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            raise EgretError(f"{recording.command!r} of wav.scp failed (code {done.returncode}): {said}")


def _pairs(path: Path, fallback: Encoding) -> dict[str, str]:
    """The first word after the name, of a file that may be absent."""
    if not path.is_file():
        return {}
    return {name: value.split()[0] for name, (_, value) in named(path, read_text(path, fallback))[0].items() if value}


def _sides(path: Path, fallback: Encoding) -> dict[str, int]:
    """Channels of recordings: `rec file A`."""
    if not path.is_file():
        return {}
    rows = (line.split() for _, line in numbered(read_text(path, fallback)))
    return {row[0]: SIDES[row[2]] for row in rows if len(row) == 3 and row[2] in SIDES}


def _said_twice(path: Path, text: str) -> dict[str, str]:
    first, again = named(path, text)
    return {name: f"lines {first[name][0]} and {number} of {path} say different things" for number, name in again}


def _recordings(
    scp: Path, lines: dict[str, tuple[int, str]], base: Path | None, pipes: Path | None
) -> dict[str, Recording]:
    found: dict[str, Recording] = {}
    refused = []
    for name, (number, value) in lines.items():
        if not value or IN_ARCHIVE.search(value):
            what = "has no path" if not value else f"{value} lies in a Kaldi archive, which is not read; extract it"
            raise EgretError(f"{scp}:{number}: {name} {what}")
        if not value.endswith("|"):
            found[name] = Recording(Path(value))
            continue
        command = value.removesuffix("|").strip()
        plain = decoder_of(command)
        if plain:
            found[name] = plain
        elif pipes is not None:
            # By what it does: the same command need not be run again.
            found[name] = Recording(pipes / f"{_file_name(name)}-{digest(command)[:16]}.wav", command=command)
        else:
            refused.append((number, command))
    if refused:
        number, command = refused[0]
        raise EgretError(
            f"{scp}:{number}: {counted(len(refused), 'recording')} would come out of commands (`{command} |`), which "
            f"are not run unasked; look at them, and allow it with --allow-pipes true"
        )
    folder = base or _base(scp.parent, [each.audio for each in found.values() if not each.command])
    return {
        name: each if each.command else Recording(folder / each.audio, each.channel) for name, each in found.items()
    }


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def decoder_of(command: str) -> Recording | None:
    """The file that a command merely decodes, and the channel that it picks; None where it does more."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words or any(letter in command for letter in "|&;<>$`*?(){}\n"):
        return None
    program, options, name = Path(words[0]).name, words[1:-1], words[-1]
    if len(words) < 2 or name.startswith("-"):
        return None
    if program == "cat" and not options:
        return Recording(Path(name))
    if program == "flac" and {"-c", "-d"} <= _letters(options) <= {"-c", "-d", "-s"}:
        return Recording(Path(name))
    if program == "sph2pipe":
        return _sph2pipe(options, name)
    return None


def _letters(options: list[str]) -> set[str]:
    """`-cds` as -c, -d and -s; long names as they are."""
    long = {"--stdout": "-c", "--decode": "-d", "--silent": "-s", "--totally-silent": "-s"}
    return {
        letter
        for word in options
        for letter in ([long.get(word, word)] if word.startswith("--") else [f"-{each}" for each in word[1:]])
    }


def _sph2pipe(options: list[str], name: str) -> Recording | None:
    channel = None
    rest = iter(options)
    for word in rest:
        value = next(rest, "") if word in ("-f", "-c") else ""
        if word == "-c" and value in ("1", "2"):
            channel = int(value) - 1
        elif not (word == "-p" or (word == "-f" and value in ("wav", "rif"))):
            return None
    return Recording(Path(name), channel)


def _base(folder: Path, paths: list[Path]) -> Path:
    """Where relative paths begin. Kaldi's begin where its scripts ran, two folders above data/train as a rule."""
    relative = next((path for path in paths if not path.is_absolute()), None)
    if relative is None:
        return folder
    places = [folder, *list(folder.absolute().parents)[:ABOVE]]
    for place in places:
        if (place / relative).is_file():
            return place
    raise EgretError(
        f"{folder}/wav.scp: {relative} is not there from {first_few(map(str, places), 9)}; "
        f"say with --audio-dir where relative paths begin"
    )


def _segment(data: KaldiDir, number: int, words: list[str]) -> Utterance:
    path = data.folder / "segments"

    def wrong(what: str) -> Utterance:
        return Utterance(words[0], path, "", "", problem=f"{path}:{number}: {what}", reason="segments")

    if len(words) != 4:
        return wrong(f"{len(words)} fields where utterance, recording, start and end are expected")
    name, recording = words[:2]
    try:
        start, end = float(words[2]), float(words[3])
    except ValueError:
        return wrong(f"{words[2]} to {words[3]} are no times in seconds")
    if recording not in data.recordings:
        return wrong(f"the recording {recording} is not in wav.scp")
    if not (0 <= start < end or (end == -1 and start >= 0)):  # -1: to the end of the recording
        return wrong(f"start {start:g} s is not before end {end:g} s")
    return _utterance(data, name, recording, start, None if end == -1 else end, f"{path}:{number}")


def _utterance(data: KaldiDir, name: str, recording: str, start: float, end: float | None, where: str) -> Utterance:
    problem = data.again.get(name, "")
    if name not in data.text:
        problem = f"no line of {data.folder / 'text'} is about it"
    at = data.recordings[recording]
    return Utterance(
        id=name,
        audio=at.audio,
        text=data.text.get(name, (0, ""))[1],
        speaker=data.speakers.get(name, ""),
        start=start,
        end=end,
        channel=at.channel if at.channel is not None else data.sides.get(recording),
        problem=problem,
        reason="no transcript" if problem else "listing",
    )

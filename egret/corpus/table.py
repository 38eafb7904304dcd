"""A table of recordings and transcripts, as spreadsheets and scripts write them: CSV or TSV, with or without a header.

Columns are `path` and `text`, and may be `speaker`, `start`, `end` (seconds, or h:m:s), `id`, `part`, `channel` (from
0) and `syllables`; the names that other projects use for them are known too, and other columns are passed over. Without
a header they are path, text, speaker, start, end. Fields are separated by tabs, commas, semicolons or bars, whichever
makes columns of the first lines; fields may be quoted (RFC 4180), in a table with tabs also not at all.
"""

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from egret.base.errors import EgretError, counted, first_few, nearest
from egret.base.log import log
from egret.corpus.text_file import Encoding, read_text
from egret.corpus.validate import Utterance

DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
# What a column may be called, half-width in lower case with underscores; the first is what it is called here.
COLUMNS = {
    "path": ["path", "audio", "file", "filename", "file_name", "audio_path", "audio_file", "audio_filepath", "wav",
             "wav_path", "wav_filename", "recording", "路径", "音频", "文件", "录音", "文件名", "文件路径", "音频路径",
             "音频文件", "录音文件"],
    "text": ["text", "transcript", "transcription", "sentence", "words", "label", "normalized_text", "文本",
             "转写", "内容", "文字", "句子", "文本内容", "转写文本"],
    "speaker": ["speaker", "speaker_id", "spk", "spk_id", "client_id", "说话人", "发音人", "讲话人", "说话者"],
    "start": ["start", "start_time", "begin", "offset", "from", "开始", "起始", "开始时间", "起始时间"],
    "end": ["end", "end_time", "stop", "to", "结束", "终止", "结束时间", "终止时间"],
    "id": ["id", "utt", "utt_id", "utterance", "utterance_id", "uttid", "编号"],
    "part": ["part", "split", "set", "subset", "部分", "集合", "划分", "数据集"],
    "channel": ["channel", "声道", "通道"],
    "syllables": ["syllables", "pinyin", "拼音", "音节"],
}  # fmt: skip
MEANT = {"path": "the recordings", "text": "the transcripts"}  # the columns that a table must have
BARE = ["path", "text", "speaker", "start", "end"]  # the columns of a table without a header
CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$")
LOOKED_AT = 50  # rows from which the delimiter and the number of columns are known
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Entry:
    """A line of a table as an utterance, and the part that it asks for; "" where it does not."""

    utterance: Utterance
    part: str


def read_table(path: Path, folder: Path | None = None, fallback: Encoding = "utf-8") -> list[Entry]:
    """The rows of a table in order; one that makes no sense becomes an utterance with a problem, which names the line.

    Args:
      folder: where relative paths begin; None: the table's own folder.
      fallback: the encoding of a table that is not UTF-8.

    Raises:
      EgretError: no such file, empty, no columns to be made out, or none that is a path or a text.
    """
    text = read_text(path, fallback)
    rows, delimiter = _parse(path, text)
    base = path.parent if folder is None else folder
    header = _header(path, rows[0][1], base, delimiter)
    if header is None:
        _refuse_header(path, rows, base)
        columns, width = _bare(path, rows, delimiter)
        log.info("%s: %s without a header, separated by %s; taken as %s",
                 path, counted(len(rows), "row"), DELIMITERS[delimiter], ", ".join(columns))  # fmt: skip
    else:
        columns, width = header, len(rows[0][1])
        rows = rows[1:]
        if not rows:
            raise EgretError(f"{path}: a header and no rows; add a row for each recording")
        log.info("%s: %s, separated by %s", path, counted(len(rows), "row"), DELIMITERS[delimiter])
    return _entries(path, rows, columns, width, base)


def _parse(path: Path, text: str) -> tuple[list[Row], str]:
    """The rows that are not empty with the number of their line, and the delimiter."""
    if not text.strip():
        raise EgretError(f"{path}: empty; it needs a line `path,text` and one for each recording")
    senses = {delimiter: _sense(_first_rows(text, delimiter)) for delimiter in DELIMITERS}
    delimiter = max(senses, key=lambda each: senses[each])
    if senses[delimiter] == (0, 0.0):
        line, *_ = (line for line in text.split("\n") if line.strip())
        raise EgretError(
            f"{path}: one column only, {line.strip()[:60]!r}; separate the columns by {', '.join(DELIMITERS.values())}"
        )
    try:
        return _rows(text, delimiter), delimiter
    except csv.Error as error:
        raise EgretError(f'{path}: not a table: {error}; a field with quotes in it is written "say ""yes"""') from None


def _first_rows(text: str, delimiter: str) -> list[Row]:
    """Those that tell the delimiter, as far as they can be read."""
    rows: list[Row] = []
    with suppress(csv.Error):
        rows.extend(islice(_read(text, delimiter, csv.QUOTE_MINIMAL), LOOKED_AT))
    return rows


def _rows(text: str, delimiter: str) -> list[Row]:
    try:
        rows = list(_read(text, delimiter, csv.QUOTE_MINIMAL))
        if delimiter != "\t" or all("\n" not in field for _, row in rows for field in row):
            return rows
    except csv.Error:
        if delimiter != "\t":
            raise
    # Quotes that do not match are then part of the text, as in Common Voice's tables.
    return list(_read(text, delimiter, csv.QUOTE_NONE))


def _read(text: str, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Row]:
    csv.field_size_limit(1 << 20)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    line = 1
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"from line {line} on: {error}") from None


def _sense(rows: list[Row]) -> tuple[int, float]:
    """How much sense a delimiter makes: known column names in the first row, else the share of rows that have the
    commonest number of fields above one."""
    if not rows:
        return 0, 0.0
    some = rows[:LOOKED_AT]
    known = len({name for field in some[0][1] if (name := _column(field))}) if len(some[0][1]) > 1 else 0
    counts = Counter(len(row) for _, row in some if len(row) > 1)
    alike = max(counts.values(), default=0) / len(some)
    return (known if known > 1 else 0), alike


def _column(field: str) -> str:
    """What a column of this name is here; "" where it is nothing."""
    name = re.sub(r"[\s-]+", "_", unicodedata.normalize("NFKC", field).strip().lower())
    return next((column for column, names in COLUMNS.items() if name in names), "")


def _header(path: Path, row: list[str], base: Path, delimiter: str) -> dict[str, int] | None:
    """The place of each column, or None where the first row is a recording already.

    Raises:
      EgretError: a header without a path or a text, or with two of a kind.
    """
    names = [_column(field) for field in row]
    if not any(names) or any(_names_file(base, field) for field in row):
        return None
    if missing := [column for column in MEANT if column not in names]:
        unknown = [field for field, name in zip(row, names, strict=True) if field and not name]
        advice = [f"the column with {MEANT[column]} to {column}{_perhaps(unknown, column)}" for column in missing]
        raise EgretError(
            f"{path}: the header lacks a column {' and a column '.join(missing)}; it has {', '.join(row)} (separated "
            f"by {DELIMITERS[delimiter]}); rename {' and '.join(advice)}"
        )
    places: dict[str, int] = {}
    for name in filter(None, dict.fromkeys(names)):
        same = [place for place, other in enumerate(names) if other == name]
        exact = [place for place in same if row[place].lower() == name]
        if len(same) > 1 and len(exact) != 1:
            twice = " and ".join(row[place] for place in same)
            raise EgretError(f"{path}: the columns {twice} both may be the {name}; call one of them {name}")
        places[name] = (exact or same)[0]
    if passed := [field for place, field in enumerate(row) if place not in places.values() and field]:
        log.info("%s: these columns are passed over: %s", path, first_few(passed, 8))
    return places


def _perhaps(unknown: list[str], column: str) -> str:
    """Which of the unknown columns may be meant."""
    near = next((field for field in unknown if nearest(field.lower(), COLUMNS[column])), "")
    return f" (perhaps {near})" if near else ""


def _refuse_header(path: Path, rows: list[Row], base: Path) -> None:
    """Look whether a first row that is about to be taken for a recording is a header in words that are not known.

    Raises:
      EgretError: where the next rows name files that are there, it has something that is no such name.
    """
    (number, first), *following = rows[:LOOKED_AT]
    if any(_names_file(base, field) for field in first):
        return
    endings: dict[int, set[str]] = {}  # of the files, by the place of their column
    for _, row in following:
        for place, field in enumerate(row):
            if _names_file(base, field):
                endings.setdefault(place, set()).add(Path(field).suffix.lower())
    for place, known in endings.items():
        # A recording that is missing has the ending of the others.
        if place < len(first) and first[place] and Path(first[place]).suffix.lower() not in known:
            raise EgretError(
                f"{path}:{number}: the first line looks like a header, for {first[place]!r} is no recording and those "
                f"below it are; rename its columns to path, text (it has {', '.join(first)})"
            )


def _names_file(base: Path, field: str) -> bool:
    with suppress(OSError):  # a text may be longer than a name can be
        return bool(field) and audio_path(base, field).is_file()
    return False


def _bare(path: Path, rows: list[Row], delimiter: str) -> tuple[dict[str, int], int]:
    counts = Counter(len(row) for _, row in rows[:LOOKED_AT])
    width = max(counts, key=lambda number: (counts[number], -number))
    if not 2 <= width <= len(BARE):
        raise EgretError(
            f"{path}:{rows[0][0]}: {width} fields separated by {DELIMITERS[delimiter]} and no header that says which "
            f"is which; put a first line such as path,text,speaker"
        )
    return {name: place for place, name in enumerate(BARE[:width])}, width


def _entries(path: Path, rows: list[Row], columns: dict[str, int], width: int, base: Path) -> list[Entry]:
    place_of_path = columns["path"]
    paths = [audio_path(base, row[place_of_path] if len(row) > place_of_path else "") for _, row in rows]
    folders = {path.parent for path in paths if path != base}
    common = os.path.commonpath(folders) if len({folder.is_absolute() for folder in folders}) == 1 else ""
    entries = []
    for audio, (number, row) in zip(paths, rows, strict=True):
        said = {name: row[place] for name, place in columns.items() if place < len(row)}
        problem = ""
        if any(row[width:]) or len(row) <= max(columns["path"], columns["text"]):
            hint = "; quote a field that has a delimiter in it" if len(row) > width else ""
            problem = f"{len(row)} fields where {width} are expected{hint}"
        elif not said["path"]:
            problem = "no path"
        entries.append(_entry(f"{path}:{number}", said, audio, common, problem))
    return entries


def _entry(where: str, said: dict[str, str], audio: Path, common: str, problem: str) -> Entry:
    times: dict[str, float | None] = {"start": 0.0, "end": None}
    channel = None
    if not problem:
        for name in times:
            if said.get(name):
                times[name] = seconds(said[name])
                problem = problem or ("" if times[name] is not None else f"{name} {said[name]!r} is no time in seconds")
        start, end = times["start"], times["end"]
        if not problem and start is not None and end is not None and start >= end:
            problem = f"start {start:g} s is not before end {end:g} s"
        if said.get("channel"):
            channel = int(said["channel"]) if said["channel"].isdecimal() else None
            problem = problem or ("" if channel is not None else f"channel {said['channel']!r} is no number from 0")
    start = times["start"] or 0.0
    utterance = Utterance(
        id=said.get("id") or utterance_id(audio, common, start, times["end"], channel),
        audio=audio,
        text=said.get("text", ""),
        speaker=said.get("speaker", ""),
        start=start,
        end=times["end"],
        channel=channel,
        problem=f"{where}: {problem}" if problem else "",
        reason="table" if problem else "listing",
        custom={"syllables": " ".join(said["syllables"].split())} if said.get("syllables") else {},
    )
    return Entry(utterance, said.get("part", ""))


def audio_path(base: Path, name: str) -> Path:
    """The recording of a name in a table: relative to `base`, its slashes turned where it comes from Windows."""
    path = base / (Path(name).expanduser() if name.startswith("~/") else name)
    if "\\" in name and not path.exists():
        return base / name.replace("\\", "/")
    return path


def seconds(text: str) -> float | None:
    """Seconds of `12.5`, `12,5`, `0:12.5` or `1:02:03`; None where it is no time."""
    text = text.replace(",", ".")
    if found := CLOCK.match(text):
        return 3600 * int(found[1] or 0) + 60 * int(found[2]) + float(found[3])
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def utterance_id(audio: Path, common: str, start: float, end: float | None, channel: int | None) -> str:
    """A name that follows from the recording and the extent: its path below the folder that all share."""
    name = str(audio).removeprefix(common).removesuffix(audio.suffix)
    name = "_".join(name.strip("/").replace("/", "-").split())
    if start or end is not None:
        name += f"-{round(start * 1000):08d}-{'end' if end is None else f'{round(end * 1000):08d}'}"
    return name if channel is None else f"{name}-c{channel}"

"""Alignments in the formats of others: NIST's CTM and Praat's TextGrid."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

Row = dict[str, Any]


def ctm(cut: dict[str, Any], row: Row) -> str:
    """Lines `recording channel start duration word confidence` (NIST's CTM), seconds from the recording's beginning.
    White space in the recording's name becomes `_`, for it would be another field."""
    recording, channel = "_".join(str(cut["recording"]["id"]).split()), cut["channel"]
    return "".join(
        f"{recording} {channel} {cut['start'] + word['start']:.3f} {word['duration']:.3f} {word['word']} "
        f"{word['confidence']:.4f}\n"
        for word in row["words"]
    )


def textgrid_name(name: str) -> str:
    """A file name for any id, different for different ones."""
    return quote(name, safe=" ") + ".TextGrid"


def textgrid(row: Row, duration: float) -> str:
    """A TextGrid in Praat's long text format, with a tier of words and one of tokens; seconds from the beginning of the
    utterance, of `duration`. What is between is labelled with nothing."""
    duration = round(duration, 3)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *_extent("", 0, duration), "tiers? <exists>"]
    lines += ["size = 2", "item []:"]
    for number, kind in enumerate(("word", "token"), 1):
        intervals = _filled([(item["start"], item["duration"], item[kind]) for item in row[kind + "s"]], duration)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{kind}s"']
        lines += [*_extent(" " * 8, 0, duration), f"        intervals: size = {len(intervals)}"]
        for place, (start, end, label) in enumerate(intervals, 1):
            text = label.replace('"', '""')
            lines += [f"        intervals [{place}]:", *_extent(" " * 12, start, end), f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def _extent(indent: str, start: float, end: float) -> list[str]:
    return [f"{indent}xmin = {start:.3f}", f"{indent}xmax = {end:.3f}"]


def _filled(items: Sequence[tuple[float, float, str]], duration: float) -> list[tuple[float, float, str]]:
    """Intervals from 0 to the end without gaps, as Praat wants them."""
    found: list[tuple[float, float, str]] = []
    now = 0.0
    for start, length, label in items:
        end = round(start + length, 3)
        if start > now:
            found.append((now, start, ""))
        if end > start:  # Praat has no interval without a length
            found.append((max(start, now), end, label))
            now = end
    if now < duration or not found:
        found.append((now, duration, ""))
    return found


def suspicious(rows: Iterable[tuple[str, float, str, str]]) -> str:
    """A table of (id, confidence, worst word, text), the lowest confidence first."""
    lines = ["id\tconfidence\tworst word\ttext"]
    lines += [f"{name}\t{confidence:.4g}\t{word}\t{text}" for name, confidence, word, text in
              sorted(rows, key=lambda row: (row[1], row[0]))]  # fmt: skip
    return "\n".join(lines) + "\n"

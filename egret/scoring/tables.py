"""Scores as text for people: each utterance, each speaker, confusions, and the table of methods and parts."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from egret.base.errors import counted
from egret.scoring.errors import GAP, Counts, align, total

COMMONEST = 100  # rows of each kind of confusion
SPEAKER_COLUMNS = ["speaker", "utterances", "words", "ins", "del", "sub", "WER", "CER"]
SYLLABLE_COLUMNS = ["syllables % [95 %]", "toneless %", "homophones"]
Words = Sequence[str]


def width(text: str) -> int:
    """Columns that a text takes on a terminal: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def per_utterance(refs: Mapping[str, Words], hyps: Mapping[str, Words], counts: Counts) -> str:
    """Every utterance: its errors, then reference, hypothesis and kind of error (S, D, I) under each other."""
    missing = set(counts.missing)
    blocks = []
    for name, errors in counts.utterances.items():
        note = ", no hypothesis" if name in missing else ""
        kinds = f"{errors.ins} ins, {errors.dels} del, {errors.subs} sub{note}"
        heading = f"{name}  {counted(errors.total, 'error')} in {counted(errors.ref, 'word')} ({kinds})"
        columns: list[tuple[str, str, str]] = []
        for ref, hyp in align(refs[name], hyps.get(name, ())):
            kind = "I" if ref == GAP else "D" if hyp == GAP else "" if ref == hyp else "S"
            size = max(width(word) for word in (ref, hyp) if word != GAP)
            shown = ("*" * size if word == GAP else padded(word, size) for word in (ref, hyp))
            columns.append((*shown, padded(kind, size)))  # type: ignore[arg-type]
        rows = list(zip(*columns, strict=True)) or [(), (), ()]
        lines = [f"  {label} {' '.join(row)}".rstrip() for label, row in zip(("ref:", "hyp:"), rows, strict=False)]
        if errors.total:
            lines.append(f"       {' '.join(rows[2])}".rstrip())
        blocks.append("\n".join([heading, *lines]) + "\n")
    return "\n".join(blocks)


def per_speaker(speakers: Mapping[str, str], words: Counts, characters: Counts) -> str:
    """A row for each speaker, the highest WER first, and one for all."""
    return columns(SPEAKER_COLUMNS, speaker_rows(speakers, words, characters))


def speaker_rows(speakers: Mapping[str, str], words: Counts, characters: Counts) -> list[list[str]]:
    """The cells of `per_speaker`, below SPEAKER_COLUMNS."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in words.utterances:
        groups[speakers.get(name) or "?"].append(name)

    def row(speaker: str, names: Iterable[str]) -> tuple[float, list[str]]:
        names = list(names)
        by_word = total(words.utterances[name] for name in names)
        by_character = total(characters.utterances[name] for name in names)
        kinds = [str(count) for count in (by_word.ref, by_word.ins, by_word.dels, by_word.subs)]
        cells = [speaker, str(len(names)), *kinds, f"{by_word.rate:.2f}", f"{by_character.rate:.2f}"]
        return by_word.rate, cells

    rows = sorted((row(*group) for group in groups.items()), key=lambda pair: (-pair[0], pair[1][0]))
    return [cells for _, cells in [*rows, row("all", words.utterances)]]


def confusions(refs: Mapping[str, Words], hyps: Mapping[str, Words]) -> str:
    """The commonest substitutions, deletions and insertions with how often they happened."""
    parts = []
    for title, counter in confused(refs, hyps).items():
        rows = list(counter.items())
        parts.append(f"{sum(counter.values())} {title}, {len(counter)} different\n")
        parts += [f"{count:7d}  {what}\n" for what, count in rows[:COMMONEST]]
        if len(rows) > COMMONEST:
            parts.append(f"         and {len(rows) - COMMONEST} more\n")
        parts.append("\n")
    return "".join(parts[:-1])


def confused(refs: Mapping[str, Words], hyps: Mapping[str, Words]) -> dict[str, dict[str, int]]:
    """For each kind of error, what happened how often, the commonest first."""
    substituted: Counter[str] = Counter()
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    for name, reference in refs.items():
        for ref, hyp in align(reference, hyps.get(name, ())):
            if ref == GAP:
                inserted[hyp] += 1
            elif hyp == GAP:
                deleted[ref] += 1
            elif ref != hyp:
                substituted[f"{ref} -> {hyp}"] += 1
    kinds = {
        "substitutions (reference -> hypothesis)": substituted,
        "deletions": deleted,
        "insertions": inserted,
    }
    return {title: dict(sorted(found.items(), key=lambda row: (-row[1], row[0]))) for title, found in kinds.items()}


def chosen_cell(score: Mapping[str, Any]) -> str:
    """On what a method's parameters were chosen; a floor, which looks at the transcripts, is no method."""
    return "floor" if score["params"].get("floor") else score["chosen_on"]


def score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Methods and parts with their scores (as in score.json): what is shown on the screen."""
    by_syllable = any("syllables" in score for score in scores)
    rows = []
    for score in scores:
        rtf = score.get("rtf") or {}
        speed = sum(rtf.get(key) or 0.0 for key in ("encoder", "search"))
        rows.append(
            [
                score["method"],
                score["part"],
                rate(score["wer"], score["ci95"]["wer"]),
                rate(score["cer"], score["ci95"]["cer"]),
                *(syllable_cells(score.get("syllables")) if by_syllable else []),
                *(str(score[key]) for key in ("ins", "del", "sub", "ref", "missing")),
                f"{speed:.4f}" if rtf else "-",
                chosen_cell(score),
            ]
        )
    names = [
        "method",
        "part",
        "WER % [95 %]",
        "CER % [95 %]",
        *(SYLLABLE_COLUMNS if by_syllable else []),
        "ins",
        "del",
        "sub",
        "words",
        "missing",
        "RTF",
        "chosen on",
    ]
    return columns(names, rows)


def syllable_cells(scores: Mapping[str, Any] | None) -> list[str]:
    """What score.json has under `syllables`, below SYLLABLE_COLUMNS."""
    if scores is None:
        return ["-"] * len(SYLLABLE_COLUMNS)
    toned = rate(scores["ser"], scores["ci95"]["ser"])
    return [toned, f"{scores['ser_toneless']:.2f}", str(scores["homophone_errors"])]


def rate(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def columns(names: list[str], rows: list[list[str]]) -> str:
    """A table in which numbers stand to the right and text to the left, with a heading."""
    sizes = [max(width(row[place]) for row in [names, *rows]) for place in range(len(names))]
    right = [
        bool(rows) and all(row[place].replace(".", "").replace("-", "").isdigit() or row[place] == "-" for row in rows)
        for place in range(len(names))
    ]
    lines = []
    for row in [names, *rows]:
        cells = (
            " " * (size - width(cell)) + cell if to_right else padded(cell, size)
            for cell, size, to_right in zip(row, sizes, right, strict=True)
        )
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)

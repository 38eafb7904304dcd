"""Scores as text for people: each utterance, each speaker, confusions, and the table of methods and parts."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from egret.base.errors import counted
from egret.scoring.details import COMMONEST, Group, Tally, ranked
from egret.scoring.errors import GAP, Counts, align

GROUP_COLUMNS = ["utterances", "words", "ins", "del", "sub", "WER", "CER"]
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


def per_utterance(refs: Mapping[str, Words], hyps: Mapping[str, Words], counts: Counts) -> Iterator[str]:
    """Every utterance: its errors, then reference, hypothesis and kind of error (S, D, I) under each other."""
    missing = set(counts.missing)
    between = ""
    for name, errors in counts.utterances.items():
        note = ", no hypothesis" if name in missing else ""
        kinds = f"{errors.ins} ins, {errors.dels} del, {errors.subs} sub{note}"
        heading = f"{name}  {counted(errors.total, 'error')} in {counted(errors.ref, 'word')} ({kinds})"
        if not errors.total and name not in missing:  # most are so, and both lines are the same
            text = " ".join(refs[name])
            yield between + f"{heading}\n" + "".join(f"  {side}: {text}".rstrip() + "\n" for side in ("ref", "hyp"))
            between = "\n"
            continue
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
        yield between + "\n".join([heading, *lines]) + "\n"
        between = "\n"


def groups_table(title: str, groups: Sequence[Group], everyone: Group) -> str:
    """A row for each group, and one for all."""
    return columns([title, *GROUP_COLUMNS], group_rows([*groups, everyone]))


def group_rows(groups: Sequence[Group]) -> list[list[str]]:
    """The cells below the group's name and GROUP_COLUMNS."""
    return [
        [each.name, str(each.utterances),
         *(str(count) for count in (each.words.ref, each.words.ins, each.words.dels, each.words.subs)),
         f"{each.words.rate:.2f}", f"{each.characters.rate:.2f}"]
        for each in groups
    ]  # fmt: skip


def confusions(tally: Tally) -> str:
    """The commonest substitutions, deletions and insertions with how often they happened."""
    parts = []
    for title, rows in confused(tally).items():
        parts.append(f"{sum(count for _, count in rows)} {title}, {len(rows)} different\n")
        parts += [f"{count:7d}  {what}\n" for what, count in rows[:COMMONEST]]
        if len(rows) > COMMONEST:
            parts.append(f"         and {len(rows) - COMMONEST} more\n")
        parts.append("\n")
    return "".join(parts[:-1])


def confused(tally: Tally) -> dict[str, list[tuple[str, int]]]:
    """For each kind of error, what happened how often, the commonest first."""
    return {
        "substitutions (reference -> hypothesis)": [
            (" -> ".join(pair), count) for pair, count in ranked(tally.substituted)
        ],
        "deletions": ranked(tally.deleted),
        "insertions": ranked(tally.inserted),
    }


def out_of_lexicon(tally: Tally) -> str:
    """Every word of the references that the lexicon lacks: how often it was said, and how often not recognised."""
    rows = [[word, str(count), str(tally.lost[word])] for word, count in ranked(tally.outside)]
    return columns(["word", "said", "wrong"], rows)


def chosen_cell(score: Mapping[str, Any]) -> str:
    """On what a method's parameters were chosen; a floor, which looks at the transcripts, is no method."""
    return "floor" if score["params"].get("floor") else score["chosen_on"]


def score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    """Methods and parts with their scores (as in score.json): what is shown on the screen."""
    return columns(*score_cells(scores))


def score_cells(scores: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows. Mixed errors are shown where there is Chinese, apart from CER where they are not the same;
    syllables where they were scored."""
    by_syllable = any("syllables" in score for score in scores)
    chinese = any(score.get("han") for score in scores)
    in_mixed = chinese and any(score.get("latin") != "word" for score in scores)
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
                *([rate(score["mer"], score["ci95"]["mer"]) if "mer" in score else "-"] if in_mixed else []),
                f"{score['ser']:.2f}",
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
        "CER, MER % [95 %]" if chinese and not in_mixed else "CER % [95 %]",
        *(["MER % [95 %]"] if in_mixed else []),
        "SER %",
        *(SYLLABLE_COLUMNS if by_syllable else []),
        "ins",
        "del",
        "sub",
        "words",
        "missing",
        "RTF",
        "chosen on",
    ]
    return names, rows


def remarks(score: Mapping[str, Any]) -> list[str]:
    """What is to be known about a score besides, a sentence each."""
    where = f"{score['part']}, {score['method']}"
    found = []
    if score["missing"]:
        found.append(f"{where}: {counted(score['missing'], 'utterance')} without a hypothesis "
                     f"({_named(score, 'missing')}), all deletions")  # fmt: skip
    if score["unreferenced"]:
        found.append(f"{where}: {counted(score['unreferenced'], 'hypothesis', 'hypotheses')} without a reference "
                     f"({_named(score, 'unreferenced')}) not counted")  # fmt: skip
    if score["empty_references"]:
        found.append(f"{where}: {counted(score['empty_references'], 'reference')} without a word; what is heard there "
                     f"is insertions")  # fmt: skip
    if not score["ref"]:
        found.append(f"{where}: there are no words at all to recognise; every insertion counts as 100 %")
    if (outside := score.get("out_of_lexicon")) and outside["words"]:
        found.append(f"{where}: {counted(outside['words'], 'word')} ({outside['percent']:.2f} %) not in the lexicon, "
                     f"{outside['wrong']} of them wrong; WER of the utterances without any "
                     f"{outside['wer_of_others']:.2f}")  # fmt: skip
    if sure := score.get("confidence"):
        right, wrong = ("-" if sure[key] is None else f"{sure[key]:.2f}" for key in ("mean_right", "mean_wrong"))
        entropy = "-" if sure["nce"] is None else f"{sure['nce']:.3f}"
        found.append(f"{where}: mean confidence of right words {right}, of wrong words {wrong}, normalised cross "
                     f"entropy {entropy}")  # fmt: skip
    return found


def _named(score: Mapping[str, Any], kind: str) -> str:
    """The first few ids of a kind of which score.json has the count and the first."""
    return ", ".join(score[f"{kind}_first"][:3]) + (", ..." if score[kind] > 3 else "")


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

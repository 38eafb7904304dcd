"""What the tests of alignment share: a reader of Praat's long text format, and utterances that are one recording."""

import re

Interval = tuple[float, float, str]


def read_textgrid(content: str) -> dict[str, list[Interval]]:
    """The intervals of each tier, as Praat's manual describes the format (`TextGrid file formats`); checks that they
    are as many as it says and follow each other without gaps."""
    head, *tiers = re.split(r"^ {4}item \[\d+\]:\n", content, flags=re.MULTILINE)
    assert head.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
    assert f"size = {len(tiers)}\n" in head
    end = float(re.search(r"^xmax = (\S+)$", head, re.MULTILINE)[1])
    found = {}
    for tier in tiers:
        name = re.search(r'name = "(.*)"', tier)[1]
        rows = re.findall(r'xmin = (\S+)\n +xmax = (\S+)\n +text = "((?:[^"]|"")*)"', tier)
        found[name] = [(float(start), float(stop), text.replace('""', '"')) for start, stop, text in rows]
        assert int(re.search(r"intervals: size = (\d+)", tier)[1]) == len(rows)
        assert [0.0, *(stop for _, stop, _ in found[name])] == [*(start for start, _, _ in found[name]), end]
    return found

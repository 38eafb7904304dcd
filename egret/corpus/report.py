"""What a corpus is after stage 0: counts, hours, durations, words, for each part."""

from collections import Counter
from typing import Any

from egret.corpus.cuts import Cut, text_of
from egret.corpus.validate import Checked, Parts
from egret.lang.normalise import identity

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


def corpus_report(parts: Parts, checked: Checked, normaliser: str) -> dict[str, Any]:
    """The content of `report.json`: durations in seconds, characters without spaces."""
    about = {part: _part_report(part, len(listed), checked) for part, listed in parts.items()}
    seconds = sum(cut["duration"] for cuts in checked.cuts.values() for cut in cuts)
    return {
        "normaliser": identity(normaliser),
        "hours": round(seconds / 3600, 4),
        "speakers_in_several_parts": _shared_speakers(checked),
        "parts": about,
    }


def _part_report(part: str, listed: int, checked: Checked) -> dict[str, Any]:
    cuts = checked.cuts[part]
    durations = sorted(cut["duration"] for cut in cuts)
    words = Counter(word for cut in cuts for word in text_of(cut).split())
    characters = Counter("".join(text_of(cut) for cut in cuts))
    del characters[" "]
    return {
        "utterances": listed,
        "kept": len(cuts),
        "rejected": dict(sorted(Counter(x.reason for x in checked.rejected if x.part == part).items())),
        "hours": round(sum(durations) / 3600, 4),
        "speakers": len(_speakers(cuts)),
        "sampling_rates": sorted({cut["recording"]["sampling_rate"] for cut in cuts}),
        "duration_percentiles": {str(p): round(_percentile(durations, p), 3) for p in PERCENTILES},
        "words": words.total(),
        "distinct_words": len(words),
        "characters": characters.total(),
        "distinct_characters": len(characters),
    }


def _speakers(cuts: list[Cut]) -> set[str]:
    """Those who are named; a corpus may not say who speaks."""
    return {supervision["speaker"] for cut in cuts for supervision in cut["supervisions"]} - {""}


def _shared_speakers(checked: Checked) -> int:
    """Speakers heard in more than one part: with any, an error rate says little about new speakers."""
    parts = Counter(speaker for cuts in checked.cuts.values() for speaker in _speakers(cuts))
    return sum(count > 1 for count in parts.values())


def _percentile(ordered: list[float], percent: float) -> float:
    """By linear interpolation between the two nearest ranks, as numpy.percentile does."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

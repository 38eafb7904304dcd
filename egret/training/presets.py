"""Published settings of SpecAugment by name, as fields of SpecAugmentOptions; docs/augmentation.md has the sources.

Widths of frequency masks are parts of all mel bins: the numbers were published for 80 of them, or, ASRT's, for 200
bins of a spectrum.
"""

from typing import Any, Literal

SpecAugmentPreset = Literal["none", "lb", "ld", "sm", "ss", "asrt", "kospeech", "mindaudio"]


def _park(warp: int, bins: int, bands: int, frames: int, part: float, stretches: int) -> dict[str, Any]:
    """A row of table 1 of Park et al. 2019: W, F, m_F, T, p, m_T."""
    return {
        "time_warp": warp,
        "frequency_masks": bands,
        "frequency_width": 0,
        "frequency_part": bins / 80,
        "fixed_time_masks": stretches,
        "time_width": frames,
        "time_part": part,
    }


SPEC_AUGMENT_DEFAULTS: dict[str, Any] = {
    "time_warp": 0,
    "frequency_warp": 0.0,
    "time_masks": 0.0,
    "fixed_time_masks": 0,
    "time_width": 10,
    "time_part": 1.0,
    "frequency_masks": 0,
    "frequency_width": 10,
    "frequency_part": 1.0,
    "mask_chance": 1.0,
    "kind_chances": [],
    "fill": "mean",
}

SPEC_AUGMENT: dict[str, dict[str, Any]] = {
    "none": {},
    "lb": _park(80, 27, 1, 100, 1.0, 1),
    "ld": _park(80, 27, 2, 100, 1.0, 2),
    "sm": _park(40, 15, 2, 70, 0.2, 2),
    "ss": _park(40, 27, 2, 70, 0.2, 2),
    "asrt": {
        "fixed_time_masks": 1,
        "time_width": 100,
        "frequency_masks": 1,
        "frequency_width": 0,
        "frequency_part": 100 / 200,
        "kind_chances": [0.6, 0.15, 0.15, 0.1],
        "fill": "lowest",
    },
    "kospeech": {
        "fixed_time_masks": 4,
        "time_width": 0,
        "time_part": 1 / 20,
        "frequency_masks": 2,
        "frequency_width": 0,
        "frequency_part": 18 / 80,
    },
    "mindaudio": {
        "fixed_time_masks": 2,
        "time_width": 50,
        "frequency_masks": 2,
        "frequency_width": 0,
        "frequency_part": 10 / 80,
        "mask_chance": 0.8,
        "fill": "lowest",
    },
}

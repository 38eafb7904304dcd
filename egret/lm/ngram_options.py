"""What can be set when an n-gram model is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.options import infile, option, runtime
from egret.base.program import OutOptions
from egret.lang.segment import Segmentation


@dataclass(kw_only=True)
class NgramOptions(OutOptions):
    """What an n-gram model is made of, and how."""

    lang: Path = infile("lang folder: its words.txt is the lexicon", "steps/prepare_lang.py (stage 2)")
    cuts: list[Path] = infile("cuts whose transcripts are training text", "stage 0", default=[])
    text: list[Path] = infile("plain training text, a sentence a line, .gz accepted", default=[])
    other_text: list[Path] = infile(
        "text of another kind: a model of its own is made and interpolated with that of --cuts and --text", default=[]
    )
    other_weight: float = option(
        0.0,
        "weight of that model; 0: the one with which --weight-cuts are most probable",
        minimum=0,
        maximum=0.999,
    )
    weight_cuts: list[Path] = infile("cuts whose transcripts choose that weight: dev, no test", "stage 0", default=[])
    dev_cuts: list[Path] = infile(
        "cuts for perplexity and OOV rate, each reported by its part's name", "stage 0", default=[]
    )
    arpa: Path | None = infile("an ARPA model from elsewhere, gzipped or not, in place of estimating one", default=None)
    order: int = option(3, "order of the model (of --arpa: the order that it has)", minimum=1, maximum=6)
    prune: list[int] = option([], "leave out n-grams seen no more often than this, by order: 0 0 1", minimum=0)
    discount_fallback: Literal["auto", "always", "never"] = option("auto", "fixed discounts, for small texts")
    normaliser: str = option("", "text normaliser; empty: that of --lang")
    segment: Segmentation = option("none", "cut normalised text into words of --lang: by longest match or by jieba")
    memory: str = runtime("1G", "memory for sorting (lmplz --memory)")

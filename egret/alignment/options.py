"""What can be set in forced alignment."""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import UsageError
from egret.base.options import group, infile, option, runtime
from egret.base.program import OutOptions


@dataclass(kw_only=True)
class SegmentOptions:
    """Of --long: how recordings are heard in chunks and cut up into segments."""

    max_seconds: float = option(20.0, "a segment's length at most", above=0)
    min_pause: float = option(0.3, "seconds between two words from which on they are well parted", above=0)
    margin: float = option(0.2, "seconds before and after the words of a segment, at most half of the pause", minimum=0)
    min_agreement: float = option(
        0.0,
        "words of less agreement, and those beside them, are kept out of segments.jsonl and listed in rejected.jsonl",
        minimum=0,
        maximum=1,
    )
    chunk: float = option(30.0, "seconds that the encoder hears at once", above=0)
    overlap: float = option(5.0, "seconds before and after each chunk that it hears, too", minimum=0)
    beam: float = option(
        2000.0,
        "paths worse by more than this natural logarithm are dropped; where none is left to the end, all of the work "
        "is done again with four times as much",
        above=0,
    )


@dataclass(kw_only=True)
class AlignOptions(OutOptions):
    experiment: Path = infile("folder of the trained model, which must have a CTC output", "steps/train.py (stage 4)")
    weights: str = option("final", "final, or the name of a checkpoint such as epoch-030")
    lang: Path = infile("lang folder, with the units of the model", "steps/prepare_lang.py (stage 2)")
    cuts: Path = infile("cuts with features and transcripts", "steps/extract_features.py (stage 1)")
    widen: float = option(
        0.08,
        "seconds by which a token is taken to be longer than its frames, before and after, at most half of the blanks "
        "beside it: CTC says when it is sure of a token, not from when to when it lasts",
        minimum=0,
    )
    textgrid: bool = option(False, "also leave a Praat TextGrid of each utterance in <out>/textgrid/")
    long: bool = option(
        False, "recordings of minutes or hours, each with all that is said in it: cut up into segments.jsonl"
    )
    segment: SegmentOptions = group(SegmentOptions)
    max_reject_percent: float = option(5.0, "more utterances that cannot be aligned than this are an error", minimum=0)
    max_duration: float = runtime(200.0, "seconds of speech in a batch", above=0)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores", minimum=0)

    def __post_init__(self) -> None:
        if not self.long and self.segment != SegmentOptions():
            raise UsageError("--segment.* say how --long true cuts recordings up, which is not asked for")
        if self.segment.max_seconds <= 2 * self.segment.margin:
            raise UsageError(f"--segment.max-seconds {self.segment.max_seconds:g}: the margins alone are "
                             f"{2 * self.segment.margin:g} s (--segment.margin)")  # fmt: skip

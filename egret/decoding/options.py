"""What can be set in decoding."""

from dataclasses import dataclass
from pathlib import Path

from egret.base.errors import UsageError
from egret.base.options import group, infile, option, runtime
from egret.base.program import OutOptions
from egret.models.options import MAX_RATIO

METHODS = ["ctc_greedy", "attention_beam", "hlg_1best"]
AUTO = "auto"


@dataclass(kw_only=True)
class HlgOptions:
    """Search in the decoding graph HLG."""

    search_beam: float = option(20.0, "paths that are worse by more than this are dropped while searching", above=0)
    output_beam: float = option(8.0, "and by more than this, in the lattice", above=0)
    min_active: int = option(30, "states kept at a frame whatever the beam", minimum=1)
    max_active: int = option(10000, "states kept at a frame at most", minimum=1)
    sure_blank: float = option(
        1.0,
        "of neighbouring frames whose blank is above this only the first is searched; 1: all are",
        above=0,
        maximum=1,
    )
    graph_scale: list[float] = option(
        [1.0], "weight of the graph's scores against the model's; several: the best on dev is taken", above=0
    )
    word_score: list[float] = option(
        [0.0], "added for each word: above 0 where too many are left out; several: every pair with the scales is tried"
    )

    def __post_init__(self) -> None:
        if self.max_active <= self.min_active:  # k2 would abort
            raise UsageError(f"--hlg.max-active {self.max_active}: must be above --hlg.min-active ({self.min_active})")


@dataclass(kw_only=True)
class AttentionOptions:
    """Search with the attention decoder."""

    beam: int = option(8, "hypotheses of each utterance", minimum=1)
    length_penalty: list[float] = option(
        [1.0],
        "power of the length by which hypotheses are compared; above 0 where too many words are left out; several: the "
        "best on dev is taken",
        minimum=0,
    )
    max_ratio: float = option(MAX_RATIO, "most tokens, as a part of the frames of features", above=0)


@dataclass(kw_only=True)
class DecodeOptions(OutOptions):
    experiment: Path = infile("folder of the trained model", "steps/train.py (stage 4)")
    weights: str = option("final", "final, or the name of a checkpoint such as epoch-030")
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    graph: Path | None = infile("folder with HLG", "steps/compile_graph.py (stage 3)", default=None)
    dev_cuts: list[Path] = infile("cuts on which, all together, parameters are chosen", "stage 1", default=[])
    test_cuts: list[Path] = infile("cuts to recognise", "steps/extract_features.py (stage 1)")
    method: list[str] = option(
        ["ctc_greedy"],
        f"decoding methods: {', '.join(METHODS)}; auto: all that the model has outputs for, in a graph if there is one",
    )
    hlg: HlgOptions = group(HlgOptions)
    attention: AttentionOptions = group(AttentionOptions)
    max_duration: float = runtime(200.0, "seconds of speech in a batch", above=0)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores", minimum=0)

"""What can be set in decoding."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from egret.base.errors import UsageError, first_few
from egret.base.options import defaults, group, infile, option, runtime
from egret.base.program import ParallelOptions
from egret.corpus.cuts import part_name
from egret.models.options import MAX_RATIO

METHODS = [
    "ctc_greedy",
    "ctc_prefix_beam",
    "attention_beam",
    "joint_beam",
    "hlg_1best",
    "hlg_nbest",
    "nbest_oracle",
    "lattice_rescore",
    "attention_rescore",
    "neural_lm_rescore",
]
WITHOUT_GRAPH = {"ctc_greedy", "ctc_prefix_beam", "attention_beam", "joint_beam"}
# Which find several hypotheses.
LISTING = {
    "ctc_prefix_beam",
    "attention_beam",
    "joint_beam",
    "hlg_nbest",
    "nbest_oracle",
    "lattice_rescore",
    "attention_rescore",
    "neural_lm_rescore",
}
AUTO, ALL = "auto", "all"
# Of which auto takes those that the model has outputs for, with the graph and the language models if they are given.
AUTO_METHODS = [
    "ctc_greedy",
    "attention_beam",
    "hlg_1best",
    "lattice_rescore",
    "attention_rescore",
    "neural_lm_rescore",
]


@dataclass(kw_only=True)
class HlgOptions:
    """Search in the decoding graph HLG."""

    searcher: Literal["k2", "kaldi-decoder"] = option(
        "k2", "what searches; kaldi-decoder: hlg_1best only, without k2, one utterance after the other"
    )
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
    hot_words: Path | None = infile(
        "lines of `word or phrase  score`: added where it is in a lattice; a wider output beam finds more", default=None
    )

    def __post_init__(self) -> None:
        if self.max_active <= self.min_active:  # k2 would abort
            raise UsageError(f"--hlg.max-active {self.max_active}: must be above --hlg.min-active ({self.min_active})")
        if self.searcher != "k2" and self.hot_words:
            raise UsageError("--hlg.hot-words are added to lattices, which --hlg.searcher k2 makes")

    @property
    def beams(self) -> dict[str, float]:
        """What does not vary in a search."""
        names = ("search_beam", "output_beam", "min_active", "max_active", "sure_blank")
        return {name: getattr(self, name) for name in names}


@dataclass(kw_only=True)
class NbestOptions:
    """Lists of the best word sequences, and what chooses from them."""

    paths: int = option(100, "different word sequences of each utterance that a lattice gives, at most", minimum=1)
    keep: int = option(
        0, "how many different word sequences hyp.jsonl lists, of every method that finds several; 0: none", minimum=0
    )
    attention_scale: list[float] = option(
        [1.0],
        "attention_rescore, and neural_lm_rescore of lattices: weight of the decoder's scores; several: the best on "
        "dev is taken",
        minimum=0,
    )
    neural_lm_scale: list[float] = option(
        [0.5], "neural_lm_rescore: weight of the language model's scores; several: the best on dev is taken", minimum=0
    )


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
class PrefixOptions:
    """CTC prefix beam search, with an n-gram model of words or hot words if wanted."""

    beam: int = option(16, "transcripts kept of each utterance", minimum=1)
    tokens: int = option(20, "tokens with which they may grow at a frame, the most probable ones", minimum=1)
    token_beam: float = option(
        10.0, "of these, those less probable than the frame's best by more than this are left out", above=0
    )
    lm: Path | None = infile(
        "n-gram model of words, KenLM's binary or ARPA, for units that make words (char, bpe, word)",
        "steps/train_ngram.py (stage 3)",
        default=None,
    )
    lm_scale: list[float] = option([0.5], "its weight; several: the best on dev is taken", above=0)
    word_score: list[float] = option(
        [0.0], "added for each word; several: every pair with the scales of the model is tried"
    )
    hot_words: Path | None = infile("lines of `word or phrase  score`: added where it is recognised", default=None)

    def __post_init__(self) -> None:
        if self.lm is None and self.lm_scale != defaults(PrefixOptions, "option")["lm_scale"]:
            raise UsageError("--prefix.lm-scale is the weight of --prefix.lm, which is not given")


@dataclass(kw_only=True)
class JointOptions:
    """Search with CTC and the attention decoder together."""

    beam: int = option(8, "hypotheses of each utterance", minimum=1)
    ctc_weight: list[float] = option(
        [0.3], "of CTC, the rest is the decoder's; several: the best on dev is taken", above=0, maximum=1
    )
    preselect: float = option(
        1.5, "tokens after each hypothesis that CTC scores, the decoder's best, as a multiple of the beam", minimum=1
    )
    length_penalty: list[float] = option(
        [0.0],
        "power of the length by which hypotheses are compared; several: every pair with the weights is tried",
        minimum=0,
    )
    max_ratio: float = option(MAX_RATIO, "most tokens, as a part of the frames of features", above=0)


@dataclass(kw_only=True)
class DecodeOptions(ParallelOptions):
    experiment: Path = infile("folder of the trained model", "steps/train.py (stage 4)")
    weights: str = option("final", "final, or the name of a checkpoint such as epoch-030")
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
    graph: Path | None = infile("folder with HLG", "steps/compile_graph.py (stage 3)", default=None)
    dev_cuts: list[Path] = infile("cuts on which, all together, parameters are chosen", "stage 1", default=[])
    test_cuts: list[Path] = infile("cuts to recognise", "steps/extract_features.py (stage 1)")
    method: list[str] = option(
        ["ctc_greedy"],
        f"decoding methods: {', '.join(METHODS)}; all: every one that the model has outputs for, with the graph and "
        f"the language models if they are given; auto: {', '.join(AUTO_METHODS)} of these, but of a model of lf_mmi "
        f"not the first, which is of no use with it",
    )
    hlg: HlgOptions = group(HlgOptions)
    attention: AttentionOptions = group(AttentionOptions)
    prefix: PrefixOptions = group(PrefixOptions)
    joint: JointOptions = group(JointOptions)
    nbest: NbestOptions = group(NbestOptions)
    neural_lm: Path | None = infile(
        "neural_lm_rescore: folder of a neural language model", "steps/train_lm.py (stage 6)", default=None
    )
    rescore_lm: Path | None = infile(
        "lattice_rescore: G of a larger n-gram", "steps/train_ngram.py --order 4 (stage 3)", default=None
    )
    first_lm: Path | None = infile(
        "lattice_rescore: the G that HLG was made of, whose scores are taken off; without it all of HLG's are, those "
        "of silences among them",
        "steps/train_ngram.py (stage 3)",
        default=None,
    )
    rescore_scale: list[float] = option(
        [1.0],
        "lattice_rescore: share of the larger n-gram's scores, the rest is the first one's; several: the best on dev "
        "is taken",
        minimum=0,
        maximum=1,
    )
    word_times: bool = option(
        False, "give start and duration of each word in seconds, and how sure CTC is of it, in hyp.jsonl"
    )
    max_duration: float = runtime(200.0, "seconds of speech in a batch", above=0)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores, or each job's part of them", minimum=0)
    num_gpus: int = runtime(0, "GPUs, of each job; 0: on the CPU", minimum=0, maximum=1)
    round: Literal["", "dev", "test"] = runtime("", "parts of which a job does its share (set by the launcher)")

    def __post_init__(self) -> None:
        names = [part_name(path) for path in {*self.test_cuts, *self.dev_cuts}]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            # Hypotheses lie in folders named after their part.
            raise UsageError(f"--test-cuts: more than one manifest is of the part {first_few(twice)}; rename one")
        if bool(self.round) != bool(self.job):
            raise UsageError("--job and --round are set by the launcher, and go together; give only --nj")
        if self.round == "dev" and not self.dev_cuts:
            raise UsageError("--round dev: there are no --dev-cuts")
        if self.first_lm and not self.rescore_lm:
            raise UsageError("--first-lm goes with --rescore-lm, which is not given")
        if not {AUTO, ALL} & set(self.method):  # else it is known only with the model
            self.refuse_unread(self.method, "which is not asked for")
        elif not self.graph:
            self.refuse_unread(METHODS, "which needs --graph")
        if self.neural_lm is None and self.nbest.neural_lm_scale != defaults(NbestOptions, "option")["neural_lm_scale"]:
            raise UsageError("--nbest.neural-lm-scale is the weight of --neural-lm, which is not given")
        if self.rescore_lm is None and self.rescore_scale != defaults(DecodeOptions, "option")["rescore_scale"]:
            raise UsageError("--rescore-scale is the share of --rescore-lm, which is not given")
        if self.rescore_lm and not self.graph:
            raise UsageError("--rescore-lm: there is no lattice to rescore without --graph")

    @property
    def shares(self) -> Path:
        """As of other steps; in a folder for each round."""
        return super().shares / self.round

    @property
    def choice(self) -> Path:
        """Where the jobs find the settings that were chosen on dev."""
        return super().shares / "chosen.json"

    def parts(self, of_round: str) -> list[Path]:
        """The manifests of the dev or the test parts."""
        return self.dev_cuts if of_round == "dev" else self.test_cuts

    def files_of(self, method: str, params: dict[str, Any]) -> dict[str, str]:
        """What is given that a method reads with a setting besides the model and the lang folder, by name."""
        in_graph = set() if params.get("lists") in WITHOUT_GRAPH else set(METHODS) - WITHOUT_GRAPH
        given = [
            ("graph", self.graph, in_graph),
            ("hot_words", self.hlg.hot_words, in_graph),
            ("rescore_lm", self.rescore_lm, {"lattice_rescore"}),
            ("first_lm", self.first_lm, {"lattice_rescore"}),
            ("neural_lm", self.neural_lm, {"neural_lm_rescore"}),
            ("lm", self.prefix.lm, {"ctc_prefix_beam"}),
            ("hot_words", self.prefix.hot_words, {"ctc_prefix_beam"}),
        ]
        return {name: str(path) for name, path, readers in given if path and method in readers}

    def refuse_unread(self, methods: Collection[str], why: str, searched: bool = True) -> None:
        """Raises UsageError where a model or another thing is given that none of the methods reads.

        Args:
          searched: the model has CTC, by which a graph is searched.
        """
        in_graph = set(METHODS) - WITHOUT_GRAPH if self.graph and searched else set()
        graph = "methods that search in a graph (--graph, --method hlg_1best)"
        several = f"methods that find several hypotheses ({', '.join(sorted(LISTING))})"
        lists = "methods that choose from lists of a graph's lattices (--graph, --method hlg_nbest)"
        for name, given, readers, what in [
            ("--rescore-lm", self.rescore_lm, {"lattice_rescore"}, "--method lattice_rescore"),
            ("--neural-lm", self.neural_lm, {"neural_lm_rescore"}, "--method neural_lm_rescore"),
            ("--prefix.lm", self.prefix.lm, {"ctc_prefix_beam"}, "--method ctc_prefix_beam"),
            ("--prefix.hot-words", self.prefix.hot_words, {"ctc_prefix_beam"}, "--method ctc_prefix_beam"),
            ("--hlg.hot-words", self.hlg.hot_words, in_graph, graph),
            ("--hlg.searcher", self.hlg.searcher != "k2", in_graph, graph),
            ("--nbest.keep", self.nbest.keep, LISTING, several),
            ("--nbest.paths", self.nbest.paths != defaults(NbestOptions, "option")["paths"],
             in_graph - {"hlg_1best", "lattice_rescore"}, lists),
        ]:  # fmt: skip
            if given and not readers & set(methods):
                raise UsageError(f"{name} is for {what}, {why}")

"""The best path through HLG by kaldi-decoder, Kaldi's decoders in a wheel of their own: a second opinion without k2."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from egret.base.errors import EgretError
from egret.decoding.best import Best, begun_tokens, read_graph, without_sure_blanks
from egret.decoding.options import HlgOptions
from egret.graph.arcs import ArcTable
from egret.graph.syllable_graph import outputs
from egret.lang.lang import Lang


class KaldiDecoder:
    """HLG searched by Kaldi's FasterDecoder, one utterance after the other."""

    def __init__(self, folder: Path, lang: Lang) -> None:
        """Load `HLG.safetensors`.

        Raises:
          EgretError: kaldi-decoder or kaldifst is not installed; the graph was made for another lang folder.
        """
        try:
            import kaldi_decoder  # noqa: F401
            import kaldifst  # noqa: F401
        except ImportError as error:
            raise EgretError(f"--hlg.searcher kaldi-decoder needs the packages kaldi-decoder and kaldifst, which cannot"
                             f" be imported ({error}); local/install.sh --dev installs them") from None  # fmt: skip
        self.table = read_graph(folder, lang)
        self.outputs = Outputs.of(self.table)
        self.made: dict[
            float, object
        ] = {}  # by what is added for a word, for a sweep comes back to each at every batch

    def decode(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float = 0.0
    ) -> list[Best]:
        """As `egret.decoding.graph.GraphDecoder.decode`."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        fst, said = self.fst(word_score / graph_scale), self.outputs.said
        found = []
        for frames, length, before in zip(log_probs, lengths.tolist(), passed_over, strict=True):
            score, places, ended = best_path(fst, (frames[:length] / graph_scale).numpy(), options, graph_scale)
            tokens, words = zip(*(said[place] for place in places), strict=True) if places else ((), ())
            found.append(Best(list(chain(*words)), list(filter(None, tokens)), score * graph_scale + before, not ended))
        return found

    def fst(self, word_score: float) -> object:
        """The graph with so much added for each word."""
        if word_score not in self.made:
            self.made[word_score] = make_fst(self.table, self.outputs, word_score)
        return self.made[word_score]


@dataclass(frozen=True)
class Outputs:
    """What the arcs of HLG say, as output labels of kaldifst's automaton.

    Attributes:
      said: for each label the token that begins, or 0, and the words; label 0 is nothing.
      labels: of each arc.
      counts: of each arc, how many words it says.
    """

    said: list[tuple[int, list[int]]]
    labels: list[int]
    counts: np.ndarray

    @classmethod
    def of(cls, graph: ArcTable) -> "Outputs":
        words = outputs(graph)
        splits, values = words.splits.tolist(), words.values.tolist()
        places: dict[tuple[int, tuple[int, ...]], int] = {(0, ()): 0}
        labels = [
            places.setdefault((token, tuple(values[splits[arc] : splits[arc + 1]])), len(places))
            for arc, token in enumerate(begun_tokens(graph).tolist())
        ]
        return cls([(token, list(row)) for token, row in places], labels, words.counts)


def make_fst(graph: ArcTable, said: Outputs, word_score: float) -> object:
    """HLG as kaldifst's automaton."""
    import kaldifst

    fst = kaldifst.StdVectorFst()
    for _ in range(graph.num_states):
        fst.add_state()
    fst.start = 0
    fst.set_final(graph.num_states - 1, 0.0)
    scores = (graph.scores + word_score * said.counts).tolist()
    for (source, destination, label), output, score in zip(graph.arcs.tolist(), said.labels, scores, strict=True):
        # Label 0 is epsilon there: DecodableCtc has the blank on 1. An arc into the final state takes no frame.
        fst.add_arc(source, kaldifst.StdArc(label + 1, output, -score, destination))
    return fst


def best_path(
    fst: object, log_probs: np.ndarray, options: HlgOptions, graph_scale: float
) -> tuple[float, list[int], bool]:
    """Of log probabilities [T, V] divided by the scale the best path: score, output labels, and whether it ends where
    the graph may end."""
    import kaldi_decoder
    import kaldifst

    if not len(log_probs):
        return float("-inf"), [], True
    beams = kaldi_decoder.FasterDecoderOptions(
        beam=options.search_beam / graph_scale, max_active=options.max_active, min_active=options.min_active
    )
    decoder = kaldi_decoder.FasterDecoder(fst, beams)
    decoder.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(log_probs)))
    found, path = decoder.get_best_path()
    if not found:
        return float("-inf"), [], True
    _, _, places, weight = kaldifst.get_linear_symbol_sequence(path)
    return -(weight.value1 + weight.value2), places, decoder.reached_final()

"""The best path through HLG by kaldi-decoder, Kaldi's decoders in a wheel of their own: a second opinion without k2."""

from pathlib import Path

import numpy as np
from torch import Tensor

from egret.base.errors import EgretError
from egret.decoding.best import Best, read_graph, without_sure_blanks
from egret.decoding.options import HlgOptions
from egret.graph.arcs import ArcTable
from egret.graph.ragged import Ragged
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
        self.words = outputs(self.table)
        self.made: tuple[float, object, list[list[int]]] | None = None

    def decode(
        self, log_probs: Tensor, lengths: Tensor, options: HlgOptions, graph_scale: float, word_score: float = 0.0
    ) -> list[Best]:
        """As `egret.decoding.graph.GraphDecoder.decode`."""
        log_probs, lengths, passed_over = without_sure_blanks(log_probs, lengths, options.sure_blank)
        fst, said = self.fst(word_score / graph_scale)
        found = []
        for frames, length, before in zip(log_probs, lengths.tolist(), passed_over, strict=True):
            score, words, tokens = best_path(fst, (frames[:length] / graph_scale).numpy(), options, graph_scale)
            spoken = [word for place in words for word in said[place]]
            found.append(Best(spoken, tokens, score * graph_scale + before))
        return found

    def fst(self, word_score: float) -> tuple[object, list[list[int]]]:
        """The graph with so much added for each word, and the words of its output labels."""
        if self.made is None or self.made[0] != word_score:
            self.made = (word_score, *make_fst(self.table, self.words, word_score))
        return self.made[1:]


def make_fst(graph: ArcTable, words: Ragged, word_score: float) -> tuple[object, list[list[int]]]:
    """HLG as kaldifst's automaton, and the words of each of its output labels: one label may stand for several."""
    import kaldifst

    fst = kaldifst.StdVectorFst()
    for _ in range(graph.num_states):
        fst.add_state()
    fst.start = 0
    fst.set_final(graph.num_states - 1, 0.0)
    said: list[list[int]] = [[]]
    places: dict[tuple[int, ...], int] = {(): 0}
    splits, values = words.splits.tolist(), words.values.tolist()
    scores = (graph.scores + word_score * words.counts).tolist()
    for arc, (source, destination, label) in enumerate(graph.arcs.tolist()):
        row = tuple(values[splits[arc] : splits[arc + 1]])
        if row not in places:
            places[row] = len(said)
            said.append(list(row))
        # Label 0 is epsilon there: DecodableCtc has the blank on 1. An arc into the final state takes no frame.
        fst.add_arc(source, kaldifst.StdArc(label + 1, places[row], -scores[arc], destination))
    return fst, said


def best_path(
    fst: object, log_probs: np.ndarray, options: HlgOptions, graph_scale: float
) -> tuple[float, list[int], list[int]]:
    """Score, output labels and tokens of the best path of log probabilities [T, V] divided by the scale."""
    import kaldi_decoder
    import kaldifst

    if not len(log_probs):
        return float("-inf"), [], []
    beams = kaldi_decoder.FasterDecoderOptions(
        beam=options.search_beam / graph_scale, max_active=options.max_active, min_active=options.min_active
    )
    decoder = kaldi_decoder.FasterDecoder(fst, beams)
    decoder.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(log_probs)))
    found, path = decoder.get_best_path()
    if not found or not decoder.reached_final():
        return float("-inf"), [], []
    _, labels, places, weight = kaldifst.get_linear_symbol_sequence(path)
    frames = np.array(labels, np.int64) - 1
    changed = np.append(True, frames[1:] != frames[:-1])[: len(frames)]
    return -(weight.value1 + weight.value2), places, frames[changed & (frames > 0)].tolist()

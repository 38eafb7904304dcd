"""Small graphs, scores to decode in them, and a look into arc tables, for the tests."""

import random
from pathlib import Path

import torch

from egret.graph import arcs
from egret.graph.arcs import ArcTable
from egret.graph.grammar import grammar
from egret.lang.lang import Lang
from egret.lang.symbols import BACKOFF
from exhaustive import random_ngram

LEXICON = [("a", ["x"]), ("ab", ["x", "y"]), ("be", ["y"]), ("bee", ["y"]), ("c", ["z", "z"])]


def outputs(graph: ArcTable, arc: int) -> list[int]:
    """The output labels of one arc, epsilon (0) and -1 left out."""
    if graph.aux is None:
        return []
    if graph.aux_splits is None:
        labels = graph.aux[arc : arc + 1]
    else:
        labels = graph.aux[graph.aux_splits[arc] : graph.aux_splits[arc + 1]]
    return [int(label) for label in labels if label > 0]


def one_hot(path: list[int], units: int = 6) -> torch.Tensor:
    """Log probabilities [1, T, V] in which only one path is likely, and more so with each frame."""
    log_probs = torch.full((1, len(path), units), -99.0)
    for frame, token in enumerate(path):
        log_probs[0, frame, token] = -0.5 - frame
    return log_probs


def make_graph(folder: Path, lang: Lang, order: int = 2) -> Path:
    from egret.graph.hlg import compile_hlg

    folder.mkdir(exist_ok=True)
    ngram = random_ngram(random.Random(2), lang.word_names[1:-3], order)
    g = grammar(ngram.write(folder / "lm.arpa"), lang.folder / "words.txt", order)
    lexicon = arcs.load(lang.folder / "L_disambig.safetensors")
    graph, _ = compile_hlg(lexicon, g, len(lang.units), lang.first_disambiguation, lang.words[BACKOFF])
    arcs.save(folder / "HLG.safetensors", graph, arcs.identity(lang))
    return folder

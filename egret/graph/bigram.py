"""A bigram of tokens, as the denominator of LF-MMI has it: estimated from transcripts, and as an arc table.

In every matrix here [V, V], row t is what follows token t and column t what t follows; the id of the blank, 0, which no
transcript has, stands for the beginning (row) and for the end (column).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from egret.graph.arcs import FINAL_LABEL, ArcTable, from_rows
from egret.lang.transcript import Slot

EDGE = 0  # beginning and end


def expected_counts(transcripts: Iterable[Sequence[Slot]], pause: Slot, probability: float, units: int) -> np.ndarray:
    """How often a token is expected to follow another, float64 [V, V], where every pronunciation of a word is as
    likely as its others.

    Args:
      transcripts: each as `egret.lang.transcript.Transcripts.slots` gives it.
      pause, probability: the slot that is silence or nothing, and how likely silence is.
      units: V.
    """
    counts = np.zeros((units, units))
    for slots in transcripts:
        last = {EDGE: 1.0}  # how likely each token is the last so far
        for slot in slots:
            after: dict[int, float] = {}
            for tokens in slot:
                share = (probability if tokens else 1 - probability) if slot is pause else 1 / len(slot)
                for token, chance in last.items():
                    if tokens:
                        counts[token, tokens[0]] += share * chance
                    else:
                        after[token] = after.get(token, 0.0) + share * chance
                if tokens:
                    np.add.at(counts, (tokens[:-1], tokens[1:]), share)
                    after[tokens[-1]] = after.get(tokens[-1], 0.0) + share
            last = after
        for token, chance in last.items():
            counts[token, EDGE] += chance
    return counts


def smoothed(counts: np.ndarray) -> np.ndarray:
    """Natural logarithms of the probabilities, [V, V], each row's sum being one: counts and those of all tokens mixed
    by how many different ones follow (Witten and Bell 1991); every token counts as seen once more than it was."""
    seen = counts.sum(axis=0) + 1
    unigram = seen / seen.sum()
    different = (counts > 0).sum(axis=1, keepdims=True)
    total = counts.sum(axis=1, keepdims=True) + different
    mixed = (counts + different * unigram) / np.maximum(total, 1)
    return np.log(np.where(total > 0, mixed, unigram)).astype(np.float32)


def bigram_graph(log_probs: np.ndarray, ids: Sequence[int]) -> ArcTable:
    """An acceptor of all sequences of the tokens `ids` with their probabilities, [V, V], without epsilons; the label of
    the n-th of them is n, from 1 on."""
    final = len(ids) + 1
    rows = [(before, after, after, 0, float(log_probs[row, column]))
            for before, row in enumerate([EDGE, *ids]) for after, column in enumerate(ids, 1)]  # fmt: skip
    rows += [(before, final, FINAL_LABEL, 0, float(log_probs[row, EDGE])) for before, row in enumerate([EDGE, *ids])]
    return replace(from_rows(rows, final=final), aux=None)

"""Disambiguation symbols as marks of the tokens before them: what remains distinct where epsilons are removed."""

from dataclasses import dataclass, replace

import numpy as np

from egret.graph.arcs import ArcTable


@dataclass(frozen=True)
class Marks:
    """How tokens are marked.

    Attributes:
      backoff: the label of #0, which is not a mark.
      period: label modulo period is the token that a label above 0 stands for.
    """

    backoff: int
    period: int


def marked(lexicon: ArcTable, first_disambiguation: int) -> tuple[ArcTable, Marks]:
    """L_disambig, in which a token followed by #k (above #0) has become one token with a mark.

    No row of tokens with which a word is said begins another one's, marks included, and a pause is marked, too: what is
    said is a matter of the labels alone, without any epsilon.

    Args:
      lexicon: each #k stands alone between a state that only one arc enters and what follows.

    Raises:
      ValueError: it does not.
    """
    source, destination, label = lexicon.arcs.T.astype(np.int64)
    period = max(int(label.max(initial=0)), first_disambiguation) + 1
    marks = Marks(first_disambiguation, period)
    symbol = np.flatnonzero(label > first_disambiguation)
    between = np.unique(source[symbol])
    before = np.flatnonzero(np.isin(destination, between))
    if len(before) != len(between) or np.isin(source, between).sum() != len(symbol):
        raise ValueError("a disambiguation symbol that does not follow one token of its own")
    assert lexicon.aux is not None and lexicon.aux_splits is None
    entering = before[np.argsort(destination[before])][np.searchsorted(between, source[symbol])]
    joined = np.stack([source[entering], destination[symbol],
                       label[entering] + period * (label[symbol] - first_disambiguation)], axis=1)  # fmt: skip
    kept = np.ones(lexicon.num_arcs, bool)
    kept[before] = kept[symbol] = False
    rows = np.concatenate([lexicon.arcs[kept], joined]).astype(np.int32)
    scores = np.concatenate([lexicon.scores[kept], lexicon.scores[entering] + lexicon.scores[symbol]])
    aux = np.concatenate([lexicon.aux[kept], lexicon.aux[entering]])
    order = np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))
    return replace(lexicon, arcs=rows[order], scores=scores[order].astype(np.float32), aux=aux[order]), marks

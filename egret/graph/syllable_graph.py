"""LG for a second level of recognition: from a row of units, without a model's scores, to words.

It is L without silence composed with G, in k2's conventions (egret.graph.arcs): labels are unit ids, outputs words.
`egret.decoding.syllables` searches it with NumPy alone, so that k2 is needed only here. Words that sound alike have
arcs of their own, for lists of several texts.
"""

import numpy as np

from egret.base.errors import UsageError
from egret.graph.arcs import ArcTable, from_k2
from egret.graph.lexicon_graph import lexicon_graph
from egret.graph.ragged import Ragged
from egret.lang.lang import Lang
from egret.lang.lexicon import disambiguate, read_lexicon
from egret.lang.symbols import BACKOFF

KINDS = ("syllable", "phone")


def compile_syllable_graph(lang: Lang, grammar: ArcTable) -> ArcTable:
    """LG of a lang folder's lexicon and G.

    Raises:
      UsageError: the folder's words are spelled, not pronounced.
    """
    if lang.about["kind"] not in KINDS:
        raise UsageError(f"--lg: the units of {lang.folder} are of the kind {lang.about['kind']!r}; LG leads from "
                         f"syllables or phones to words")  # fmt: skip
    from egret.graph.hlg import compile_lg

    entries, _ = disambiguate(read_lexicon(lang.folder / "lexicon.txt", literal=True))
    lexicon = lexicon_graph(entries, lang.tokens, lang.words, backoff_loop=True)
    return from_k2(compile_lg(lexicon, grammar, lang.first_disambiguation, lang.words[BACKOFF]))


def outputs(graph: ArcTable) -> Ragged:
    """The words of each arc; 0 and -1 are none."""
    if graph.aux is None:
        return Ragged(np.zeros(0, np.int64), np.zeros(graph.num_arcs, np.int64))
    splits = np.arange(graph.num_arcs + 1) if graph.aux_splits is None else graph.aux_splits
    words = Ragged(graph.aux.astype(np.int64), np.diff(splits).astype(np.int64))
    return words.where(words.values > 0)

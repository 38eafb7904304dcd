"""LG for a second level of recognition: from a row of units, without a model's scores, to words.

It is L without silence composed with G, in k2's conventions (egret.graph.arcs): labels are unit ids, outputs words.
`egret.decoding.syllables` searches it with NumPy alone, so that k2 is needed only here.
"""

from egret.base.errors import UsageError
from egret.graph.arcs import ArcTable, from_k2
from egret.graph.lexicon_graph import lexicon_graph
from egret.lang.lang import Lang
from egret.lang.lexicon import disambiguate, read_lexicon
from egret.lang.symbols import BACKOFF

KINDS = ("syllable", "phone")


def compile_syllable_graph(lang: Lang, grammar: ArcTable) -> ArcTable:
    """LG of a lang folder's lexicon and G; words that sound alike have arcs of their own.

    Raises:
      UsageError: the folder's words are spelled, not pronounced.
    """
    from egret.graph.hlg import compile_lg

    if lang.about["kind"] not in KINDS:
        raise UsageError(f"--lg: the units of {lang.folder} are of the kind {lang.about['kind']!r}; LG leads from "
                         f"syllables or phones to words")  # fmt: skip
    entries, _ = disambiguate(read_lexicon(lang.folder / "lexicon.txt", literal=True))
    lexicon = lexicon_graph(entries, lang.tokens, lang.words, backoff_loop=True)
    return from_k2(compile_lg(lexicon, grammar, lang.first_disambiguation, lang.words[BACKOFF]))

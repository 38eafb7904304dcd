"""L: from tokens to words, with optional silence, as an arc table.

After Kaldi's make_lexicon_fst (Povey et al. 2011): silence may stand at the beginning and after each word,
with the stated probability.
"""

import math

from egret.graph.arcs import FINAL_LABEL, ArcTable, from_rows
from egret.lang.lexicon import Lexicon
from egret.lang.symbols import BACKOFF, Symbols

Row = tuple[int, int, int, int, float]


def lexicon_graph(
    lexicon: Lexicon,
    tokens: Symbols,
    words: Symbols,
    silence: str | None = None,
    silence_probability: float = 0.5,
    silence_disambiguation: str | None = None,
    backoff_loop: bool = False,
) -> ArcTable:
    """L as a transducer from token ids to word ids.

    Args:
      lexicon: with disambiguation symbols for L_disambig, without for L.
      silence: the token of optional silence; None: there is none.
      silence_probability: of silence at the beginning and after each word.
      silence_disambiguation: a token that follows silence, so that LG can be determinised.
      backoff_loop: let #0 pass, for G's back-off arcs (L_disambig).
    """
    if silence is None:
        start, loop, after_silence, next_state = 0, 0, None, 1
        rows: list[Row] = []
        stay, pause = 0.0, None
    else:
        start, loop, after_silence, next_state = 0, 1, 2, 3
        stay, pause = math.log1p(-silence_probability), math.log(silence_probability)
        rows = [(start, loop, 0, 0, stay), (start, after_silence, 0, 0, pause)]
        if silence_disambiguation is None:
            rows.append((after_silence, loop, tokens[silence], 0, 0.0))
        else:
            rows.append((after_silence, next_state, tokens[silence], 0, 0.0))
            rows.append((next_state, loop, tokens[silence_disambiguation], 0, 0.0))
            next_state += 1
    if backoff_loop:
        rows.append((loop, loop, tokens[BACKOFF], words[BACKOFF], 0.0))
    for word, pronunciation in lexicon:
        state, output = loop, words[word]
        for token in pronunciation[:-1]:
            rows.append((state, next_state, tokens[token], output, 0.0))
            state, next_state, output = next_state, next_state + 1, 0
        last = tokens[pronunciation[-1]]
        rows.append((state, loop, last, output, stay))
        if after_silence is not None and pause is not None:
            rows.append((state, after_silence, last, output, pause))
    rows.append((loop, next_state, FINAL_LABEL, FINAL_LABEL, 0.0))
    return from_rows(rows, final=next_state)

"""L: from tokens to words, with optional silence, as an arc table.

After Kaldi's make_lexicon_fst (Povey et al. 2011): silence may stand at the beginning and after each word,
with the stated probability. A boundary, where there is one, stands between two words always, and may stand at the
beginning and at the end.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from egret.graph.arcs import FINAL_LABEL, ArcTable, from_rows
from egret.lang.lexicon import Lexicon
from egret.lang.symbols import BACKOFF, Symbols
from egret.lang.transcript import Slot

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
        stay = pause = 0.0
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
    ends = [(loop, stay)] if after_silence is None else [(loop, stay), (after_silence, pause)]
    spoken, next_state = word_arcs(lexicon, tokens, words, loop, ends, next_state)
    rows += spoken
    rows.append((loop, next_state, FINAL_LABEL, FINAL_LABEL, 0.0))
    return from_rows(rows, final=next_state)


def bounded_lexicon_graph(
    lexicon: Lexicon, tokens: Symbols, words: Symbols, boundary: str, backoff_loop: bool = False
) -> ArcTable:
    """L of words with a boundary between them: with `boundary` `_`, a b reads `a _ b`, `_ a _ b`, `a _ b _`.

    Args:
      boundary: a token that is in no pronunciation.
      lexicon, backoff_loop: as `lexicon_graph`.
    """
    # #0 passes before a word or the end, on one side of the boundary only, or the same words would have two paths.
    start, loop, spoken, end, next_state = 0, 1, 2, 3, 4
    edge = tokens[boundary]
    rows: list[Row] = [(start, loop, 0, 0, 0.0), (start, loop, edge, 0, 0.0)]
    rows += [(spoken, loop, edge, 0, 0.0), (spoken, end, 0, 0, 0.0)]
    if backoff_loop:
        rows += [(state, state, tokens[BACKOFF], words[BACKOFF], 0.0) for state in (loop, end)]
    arcs, next_state = word_arcs(lexicon, tokens, words, loop, [(spoken, 0.0)], next_state)
    rows += arcs
    rows += [(state, next_state, FINAL_LABEL, FINAL_LABEL, 0.0) for state in (loop, end)]
    return from_rows(rows, final=next_state)


def transcript_graph(slots: Sequence[Slot], pause: Slot, pause_probability: float) -> ArcTable:
    """An acceptor of every row of tokens that the slots of a transcript allow, with the scores that L gives them.

    Args:
      slots, pause: of `egret.lang.transcript.Transcripts`: alternatives, sequences of token ids; a slot that is
        `pause` is left out or taken with this probability.
    """
    rows: list[Row] = []
    free = len(slots) + 1  # states 0 to len(slots) stand between slots
    for place, slot in enumerate(slots):
        weights = [0.0] * len(slot)
        if slot is pause:
            weights = [math.log(pause_probability) if tokens else math.log1p(-pause_probability) for tokens in slot]
        for tokens, weight in zip(slot, weights, strict=True):
            state, labels = place, tokens or [0]
            for label in labels[:-1]:
                rows.append((state, free, label, 0, 0.0))
                state, free = free, free + 1
            rows.append((state, place + 1, labels[-1], 0, weight))
    rows.append((len(slots), free, FINAL_LABEL, 0, 0.0))
    return replace(from_rows(rows, final=free), aux=None)


def word_arcs(
    lexicon: Lexicon, tokens: Symbols, words: Symbols, first: int, ends: list[tuple[int, float]], free: int
) -> tuple[list[Row], int]:
    """Every pronunciation as a chain of arcs from state `first` to each of `ends`, with its score.

    Returns:
      The arcs, and the lowest number from `free` on that no state of theirs has.
    """
    rows: list[Row] = []
    for word, pronunciation in lexicon:
        state, output = first, words[word]
        for token in pronunciation[:-1]:
            rows.append((state, free, tokens[token], output, 0.0))
            state, free, output = free, free + 1, 0
        rows += [(state, end, tokens[pronunciation[-1]], output, score) for end, score in ends]
    return rows, free

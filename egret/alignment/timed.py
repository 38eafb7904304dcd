"""When each word and token was said and how sure the model is of it, from the frames of an alignment."""

from typing import Any

import numpy as np

from egret.alignment.text import NO_WORD, Text
from egret.graph.automaton import BLANK
from egret.graph.clock import Clock
from egret.graph.viterbi import Alignment
from egret.lang.lang import Lang


def timed(
    name: str, alignment: Alignment, text: Text, log_probs: np.ndarray, lang: Lang, clock: Clock
) -> dict[str, Any]:
    """A row of align.jsonl.

    A token's `confidence` is the geometric mean of its posterior probabilities over its frames, a word's the geometric
    mean of those of its tokens. A word's `agreement` looks at all frames that are nearer to it than to the words beside
    it: by how much the path through them is less probable than the most probable token of every frame, as a ratio of
    probabilities, its root taken for the number of the word's tokens. Where the model by itself hears nothing but the
    text, it is 1; it is low at a word that is wrong, and beside one that is missing. The utterance's `confidence` is
    the lowest agreement of its words. All lie between 0 and 1. (Of a model of `lf_mmi` the probabilities are its scores
    made to sum to one in each frame. They rank words as well, and are lower.)

    Args:
      log_probs: float [T, V] that the alignment is of.
    """
    times = clock.times(alignment.spans)
    owners = [text.owners[span.slot] for span in alignment.spans]
    tokens = [
        {**_extent("token", lang.units[span.token], *time), "confidence": _rounded(np.exp(span.score)),
         "word": None if owner == NO_WORD else owner}
        for span, time, owner in zip(alignment.spans, times, owners, strict=True)
    ]  # fmt: skip
    of_word: list[list[int]] = [[] for _ in text.words]
    for place, owner in enumerate(owners):
        if owner != NO_WORD:
            of_word[owner].append(place)
    agreements = _agreements(alignment, of_word, log_probs)
    words = []
    for word, places, agreement in zip(text.words, of_word, agreements, strict=True):
        confidence = np.exp(np.mean([alignment.spans[place].score for place in places]))
        extent = _extent("word", word, times[places[0]][0], times[places[-1]][1])
        words.append({**extent, "confidence": _rounded(confidence), "agreement": _rounded(agreement)})
    worst = int(np.argmin(agreements))
    return {"id": name, "words": words, "tokens": tokens, "score": round(alignment.score, 4),
            "confidence": words[worst]["agreement"], "worst": worst}  # fmt: skip


def _extent(kind: str, name: str, start: float, end: float) -> dict[str, Any]:
    return {kind: name, "start": start, "duration": round(end - start, 3)}


def _rounded(probability: float) -> float:
    """To four digits, for the least probable words are to be told apart, too."""
    return float(f"{min(probability, 1.0):.4g}")


def _agreements(alignment: Alignment, of_word: list[list[int]], log_probs: np.ndarray) -> list[float]:
    path = np.full(len(log_probs), BLANK)
    for span in alignment.spans:
        path[span.start : span.end] = span.token
    behind = log_probs[np.arange(len(path)), path].astype(np.float64) - log_probs.max(axis=1)
    total = np.concatenate([[0.0], np.cumsum(behind)])
    starts = [alignment.spans[places[0]].start for places in of_word]
    ends = [alignment.spans[places[-1]].end for places in of_word]
    edges = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), len(path)]
    return [
        float(np.exp((total[last] - total[first]) / len(places)))
        for places, first, last in zip(of_word, edges[:-1], edges[1:], strict=True)
    ]

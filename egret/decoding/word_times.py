"""When words were said and how sure CTC is of them: the best alignment of hypotheses (Graves et al. 2006)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egret.decoding.search import Encoded
from egret.graph.automaton import expand, plain
from egret.graph.clock import Clock
from egret.graph.viterbi import Span, align_batch
from egret.lang.bpe import BEGIN
from egret.lang.lang import Lang
from egret.lang.lexicon import read_lexicon
from egret.lang.spelling import Pronounced
from egret.lang.symbols import SPECIAL_TOKENS

Said = tuple[int, tuple[str, ...], tuple[str, ...]]  # the place of an utterance, its tokens and words


class WordTimes:
    """Finds the words of hypotheses in their tokens, and these in CTC's frames."""

    def __init__(self, lang: Lang, modified: bool = False) -> None:
        """`modified`: the model was trained by k2's modified topology, which wants no blank between equal tokens."""
        self.lang, self.modified = lang, modified
        self.pronunciations: dict[str, list[list[str]]] = {}
        if isinstance(lang.spelling, Pronounced):
            for word, names in read_lexicon(lang.folder / "lexicon.txt", literal=True):
                self.pronunciations.setdefault(word, []).append(names)

    def add(self, hypotheses: Sequence[dict[str, Any]], encoded: Encoded, clocks: Sequence[Clock]) -> None:
        """Put `times`, [start, duration] in seconds of each word, and `confidence`, the geometric mean of the
        probabilities of its tokens, into rows of hyp.jsonl; where tokens do not make the words, or have no room in the
        frames, `untimed`.

        Most settings of a sweep find the same, and what was found before is not aligned again.

        Args:
          encoded: the utterances, by a model that has CTC.
          clocks: of the utterances.
        """
        found: dict[Said, dict[str, Any]] = encoded.kept.once("word_times", dict)
        said = [(place, tuple(row["tokens"]), tuple(row["words"])) for place, row in enumerate(hypotheses)]
        fresh = [each for each in said if each not in found]
        found.update((each, {"times": [], "confidence": []}) for each in fresh if not each[2])
        if spoken := [each for each in fresh if each[2]]:
            found.update(zip(spoken, self._timed(spoken, encoded, clocks), strict=True))
        for row, each in zip(hypotheses, said, strict=True):
            row.update(found[each])

    def _timed(self, said: Sequence[Said], encoded: Encoded, clocks: Sequence[Clock]) -> Iterator[dict[str, Any]]:
        """What `add` puts into the row of each."""
        log_probs, lengths = encoded.ctc_on_cpu
        places = [place for place, _, _ in said]
        tokens = [[self.lang.tokens[name] for name in names] for _, names, _ in said]
        paths = aligned(log_probs[places].numpy(), lengths[places].tolist(), tokens, self.modified)
        for (place, names, words), spans in zip(said, paths, strict=True):
            ranges = None if spans is None else self.ranges(names, words)
            if spans is None or ranges is None:
                yield {"untimed": True}
                continue
            times = clocks[place].times(spans)
            extents = [(times[first][0], times[end - 1][1]) for first, end in ranges]
            yield {
                "times": [[start, round(end - start, 3)] for start, end in extents],
                "confidence": [round(math.exp(sum(span.score for span in spans[first:end]) / (end - first)), 4)
                               for first, end in ranges],
            }  # fmt: skip

    def ranges(self, names: Sequence[str], words: Sequence[str]) -> list[tuple[int, int]] | None:
        """The first token of each word and the one after its last; None: these tokens do not make these words."""
        places = [place for place, name in enumerate(names) if name not in SPECIAL_TOKENS]
        find = self._pronounced if self.pronunciations else self._spelled
        found = find([names[place] for place in places], words)
        return found and [(places[first], places[end - 1] + 1) for first, end in found]

    def _spelled(self, names: list[str], words: Sequence[str]) -> list[tuple[int, int]] | None:
        found, at = [], 0
        for word in words:
            while at < len(names) and names[at] == self.lang.boundary:
                at += 1
            begun, text = at, ""
            while at < len(names) and len(text) < len(word):
                text += names[at].replace(BEGIN, "")
                at += 1
            if text != word:
                return None
            found.append((begun, at))
        return found

    def _pronounced(self, names: list[str], words: Sequence[str]) -> list[tuple[int, int]] | None:
        """The words in any of their pronunciations, in their order, such that the fewest units are left over that are
        no silence."""
        lost = len(names) + 1
        # Of each number of words and of units: how many are left over, and where the last word begins; -1: one is.
        before = [(lost, -1)] * (len(names) + 1)
        before[0] = (0, -1)
        for place, name in enumerate(names):
            before[place + 1] = (before[place][0] + (name != self.lang.silence), -1)
        table = [before]
        for word in words:
            row = [(lost, -1)] * (len(names) + 1)
            for end in range(1, len(names) + 1):
                row[end] = (row[end - 1][0] + (names[end - 1] != self.lang.silence), -1)
                for units in self.pronunciations.get(word, []):
                    first = end - len(units)
                    if first >= 0 and table[-1][first][0] <= row[end][0] and names[first:end] == units:
                        row[end] = (table[-1][first][0], first)
            table.append(row)
        if table[-1][-1][0] >= lost:
            return None
        found: list[tuple[int, int]] = []
        end = len(names)
        while len(found) < len(words):
            first = table[len(words) - len(found)][end][1]
            if first < 0:
                end -= 1
            else:
                found.append((first, end))
                end = first
        return found[::-1]


def aligned(
    log_probs: np.ndarray, lengths: Sequence[int], targets: Sequence[Sequence[int]], modified: bool = False
) -> list[list[Span] | None]:
    """The tokens of each utterance in the most probable CTC path that has them; None: there is no such path.

    Args:
      log_probs: [N, T, V] of lengths [N].
      modified: by k2's modified topology.
    """
    automata = [expand(plain(tokens), modified) for tokens in targets]
    fits = [row for row, found in enumerate(automata) if lengths[row] >= max(1, found.frames)]
    spans: list[list[Span] | None] = [None] * len(automata)
    if fits:
        paths = align_batch(log_probs[fits], [lengths[row] for row in fits], [automata[row] for row in fits])
        for row, path in zip(fits, paths, strict=True):
            spans[row] = path.spans if np.isfinite(path.score) else None
    return spans

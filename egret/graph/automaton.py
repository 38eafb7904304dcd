"""A text as the states of CTC's automaton: every way to hear it, for forced alignment.

What was said is given as slots, one after the other, each with alternatives, each a sequence of token ids: a word's
pronunciations, or silence and nothing (`egret.lang.transcript`). All alternatives are as likely as each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from egret.lang.transcript import Slot

BLANK = 0
NOWHERE = -1  # before the first frame; of blanks, in no slot


@dataclass(frozen=True)
class Automaton:
    """States of the CTC automaton, sorted so that each but for its loop is entered from earlier ones only.

    Attributes:
      labels: int64 [S], the token that a state emits at each frame.
      slots: int64 [S], the slot that it belongs to; NOWHERE: none, it is a blank.
      sources: int64 [A], the states that it is entered from, itself among them; of one state after the other.
      splits: int64 [S + 1], where in `sources` those of each state begin.
      starts: bool [S], where a path may begin.
      ends: int64 [E], where it may end.
      frames: the fewest frames that a path can have.
    """

    labels: np.ndarray
    slots: np.ndarray
    sources: np.ndarray
    splits: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    frames: int

    def entered(self, state: int) -> np.ndarray:
        """The states that one is entered from, itself among them."""
        return self.sources[self.splits[state] : self.splits[state + 1]]


def plain(tokens: Sequence[int]) -> list[Slot]:
    """Slots of a sequence without alternatives."""
    return [[[token]] for token in tokens]


def expand(slots: Sequence[Slot], modified: bool = False) -> Automaton:
    """A state for each token, in which it lasts, and one for the blank after it (after the last token of a slot one for
    all alternatives); blanks may be left out between different tokens. State 0 is the blank that may come first.

    Args:
      modified: by k2's modified topology, in which equal neighbours need no blank between them either.
    """
    labels, places, before, depth = [BLANK], [NOWHERE], [[NOWHERE, 0]], {NOWHERE: 0, 0: 1}

    def add(label: int, slot: int, entered: list[int]) -> int:
        state = len(labels)
        labels.append(label)
        places.append(slot)
        before.append([*entered, state])
        depth[state] = 1 + min(depth[each] for each in entered)
        return state

    def parted(state: int, token: int) -> bool:
        return modified or state == NOWHERE or labels[state] != token

    reached = [NOWHERE, 0]
    for place, slot in enumerate(slots):
        said: list[int] = []
        for tokens in slot:
            here = reached
            for number, token in enumerate(tokens):
                spoken = add(token, place, [state for state in here if parted(state, token)])
                if number + 1 < len(tokens):
                    here = [spoken, add(BLANK, NOWHERE, [spoken])]
                else:
                    said.append(spoken)
        left_out = [] if all(map(len, slot)) else reached
        after = [*said, add(BLANK, NOWHERE, said)] if said else []
        reached = [*left_out, *after]
    sources = [[each for each in entered if each != NOWHERE] for entered in before]
    splits = np.cumsum([0, *map(len, sources)])
    starts = np.array([NOWHERE in entered for entered in before])
    ends = np.array([state for state in reached if state != NOWHERE])
    fewest = min(depth[state] for state in reached)
    arcs = np.array(list(chain.from_iterable(sources)))
    return Automaton(np.array(labels), np.array(places), arcs, splits, starts, ends, fewest)

"""G: an n-gram model as an arc table, through kaldilm's arpa2fst; needs neither k2 nor torch.

In the table of G

- labels are word ids of words.txt; the label of a back-off arc is the id of `#0`,
- outputs (`aux`) are the same word ids, but 0 on back-off arcs,
- arcs into the final state have label and output -1 and carry the probability of `</s>`,
- scores are natural logarithms, larger is better; `<s>` is in no label: the start state is its history.

That is `k2.Fsa.from_openfst(text, acceptor=False)` of arpa2fst's text with the states numbered anew. To compose
with L_disambig, drop the outputs; composition then takes words from the labels, and `#0` meets the loop that
L_disambig has for it.

A sentence's probability under the model is the score of the path that takes a back-off arc only where its state
has no arc of the next word. Composition lets `#0` pass anywhere, so a search may find a higher-scoring path
through a needless back-off; every toolkit built on epsilon back-off has this property.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from egret.base.errors import EgretError
from egret.graph.arcs import FINAL_LABEL, ArcTable
from egret.lang.symbols import BACKOFF

LINES = 100_000  # read at a time
# kaldilm ends its process (abort) when it meets what it does not expect: it gets one of its own.
ARPA_TO_FST = """
import sys
import kaldilm
arpa, words, disambig, order, out = sys.argv[1:]
text = kaldilm.arpa2fst(
    input_arpa=arpa, disambig_symbol=disambig, read_symbol_table=words, max_order=int(order), max_arpa_warnings=0
)
with open(out, "w") as file:
    file.write(text)
"""


def grammar(arpa: Path, words: Path, order: int) -> ArcTable:
    """G of a plain-text ARPA model; n-grams with a word that `words` lacks are left out.

    Args:
      arpa: not gzipped.
      words: words.txt, with `#0`, `<s>` and `</s>`.
      order: n-grams up to this order are used.

    Raises:
      EgretError: kaldilm cannot be imported, or cannot read the model.
    """
    with tempfile.TemporaryDirectory(dir=arpa.parent) as folder:
        text = Path(folder) / "G.fst.txt"
        arpa_to_openfst(arpa, words, order, text)
        with open(text, encoding="ascii") as lines:
            return from_openfst(lines)


def arpa_to_openfst(arpa: Path, words: Path, order: int, text: Path) -> None:
    """Write G in OpenFst's text format: lines `source destination label output [cost]` and `final [cost]`.

    Raises:
      EgretError: as `grammar`.
    """
    command = [sys.executable, "-c", ARPA_TO_FST, str(arpa), str(words), BACKOFF, str(order), str(text)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode == 0:
        return
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if said and "ModuleNotFoundError" in said[-1]:
        raise EgretError("G needs kaldilm, which is not installed; run local/install.sh (utils/doctor.py checks)")
    complaints = [line for line in said if line.startswith(("[F]", "[E]"))] or said[-1:]
    raise EgretError(f"{arpa}: kaldilm cannot make G of it (code {done.returncode}): {' '.join(complaints)}")


def from_openfst(lines: Iterable[str]) -> ArcTable:
    """A transducer in OpenFst's text format, costs being negative natural logarithms, in k2's conventions.

    States are numbered in the order in which they appear as a source; the first is the start. All final states
    get an arc to a new last one.

    Raises:
      EgretError: no state is final.
    """
    blocks = list(_read_blocks(lines))
    states, rows, costs, finals, final_costs = (np.concatenate(part, axis=-1) for part in zip(*blocks, strict=True))
    del blocks
    if not len(finals):
        raise EgretError("G has no final state: no sentence of words.txt is possible under the language model")
    known, first = np.unique(states, return_index=True)
    dead_ends = np.setdiff1d(rows[1], known)  # states without arcs of their own
    states = np.concatenate([known[np.argsort(first)], dead_ends])
    table = np.zeros(states.max() + 1, np.int32)
    table[states] = np.arange(len(states))
    rows[:2] = table[rows[:2]]
    finals = table[finals]
    ends = np.stack([finals, np.full_like(finals, len(states)), *[np.full_like(finals, FINAL_LABEL)] * 2])
    rows = np.concatenate([rows, ends], axis=1)
    order = np.lexsort((rows[1], rows[2], rows[0]))
    rows = rows[:, order]
    scores = -np.concatenate([costs, final_costs])[order]
    return ArcTable(np.ascontiguousarray(rows[:3].T), scores, np.ascontiguousarray(rows[3]))


def _read_blocks(lines: Iterable[str]) -> Iterator[tuple[np.ndarray, ...]]:
    """Of some lines at a time: each line's state, arcs [4, A], their costs [A], final states [F], their costs [F]."""
    lines = (line for line in lines if not line.isspace() and line)
    while True:
        block = list(islice(lines, LINES))
        counts = np.fromiter((len(line.split()) for line in block), np.int64, len(block))
        # Ten times as fast as float() of each.
        values = np.append(np.fromstring(" ".join(block), sep=" "), 0.0) if block else np.zeros(1)
        if len(values) != counts.sum() + 1:
            raise EgretError("G: kaldilm wrote something other than numbers")
        begins = np.cumsum(counts) - counts
        # The cost is the last field, where there is one more than labels or a state; else 0, as is the last value.
        costs = values[np.where((counts == 2) | (counts == 5), begins + counts - 1, -1)].astype(np.float32)
        is_arc = counts > 2
        rows = np.stack([values[begins[is_arc] + column].astype(np.int32) for column in range(4)])
        states = values[begins].astype(np.int32)
        yield states, rows, costs[is_arc], states[~is_arc], costs[~is_arc]
        if not block:
            return

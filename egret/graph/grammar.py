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
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from egret.base.errors import EgretError
from egret.graph.arcs import FINAL_LABEL, ArcTable
from egret.lang.symbols import BACKOFF

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
    columns = [array("i") for _ in range(4)]
    scores = array("f")
    finals: list[tuple[int, float]] = []
    number: dict[int, int] = {}
    for line in lines:
        fields = line.split()
        if not fields:
            continue
        source = number.setdefault(int(fields[0]), len(number))
        if len(fields) <= 2:
            finals.append((source, -float(fields[1]) if len(fields) == 2 else 0.0))
            continue
        columns[0].append(source)
        for column, field in zip(columns[1:], fields[1:4], strict=True):
            column.append(int(field))
        scores.append(-float(fields[4]) if len(fields) == 5 else 0.0)
    if not finals:
        raise EgretError("G has no final state: no sentence of words.txt is possible under the language model")
    rows = np.array([np.frombuffer(column, np.int32) for column in columns], np.int32).reshape(4, -1)
    for state in np.unique(rows[1]).tolist():  # a state without arcs of its own: a dead end
        number.setdefault(state, len(number))
    table = np.zeros(max(number) + 1, np.int32)
    table[list(number)] = list(number.values())
    rows[1] = table[rows[1]]
    last = len(number)
    ends = np.array([[state, last, FINAL_LABEL, FINAL_LABEL] for state, _ in finals], np.int32).T
    rows = np.concatenate([rows, ends], axis=1)
    values = np.concatenate([np.frombuffer(scores, np.float32), np.array([s for _, s in finals], np.float32)])
    order = np.lexsort((rows[1], rows[2], rows[0]))
    rows = rows[:, order]
    return ArcTable(np.ascontiguousarray(rows[:3].T), values[order], np.ascontiguousarray(rows[3]))

"""Automata as plain tables of arcs, in k2's conventions, stored as safetensors; nothing here needs k2.

An arc table has one row per arc, ordered by source state; state 0 is the start, the last state is the only
final one and every arc into it has label -1 (k2, "Fsa"). Scores are natural logarithms, larger is better.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from egret.base.errors import EgretError
from egret.base.files import digest, write_tensors
from egret.lang.lang import Lang

if TYPE_CHECKING:
    import k2

FINAL_LABEL = -1


@dataclass(frozen=True)
class ArcTable:
    """An automaton of A arcs.

    Attributes:
      arcs: int32 [A, 3], the columns source state, destination state, label.
      scores: float32 [A].
      aux: int32 [A], the output label of each arc, or None (an acceptor) or, where an arc has any number of
        output labels, int32 values with `aux_splits`.
      aux_splits: int32 [A + 1] or None; the outputs of arc i are aux[aux_splits[i]:aux_splits[i + 1]].
    """

    arcs: np.ndarray
    scores: np.ndarray
    aux: np.ndarray | None = None
    aux_splits: np.ndarray | None = None

    @property
    def num_arcs(self) -> int:
        return len(self.arcs)

    @property
    def num_states(self) -> int:
        return int(self.arcs[:, :2].max()) + 1 if len(self.arcs) else 0


def from_rows(rows: list[tuple[int, int, int, int, float]], final: int) -> ArcTable:
    """A transducer from (source, destination, label, aux label, score) in any order.

    `final` must be the largest state number; arcs into it have label -1.
    """
    rows = sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    table = np.array([row[:4] for row in rows], dtype=np.int32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], dtype=np.float32)
    if len(table) and (table[:, :2].max() != final or not ((table[:, 1] == final) == (table[:, 2] == -1)).all()):
        raise ValueError("the last state must be the final one, and only arcs into it have label -1")
    return ArcTable(table[:, :3].copy(), scores, table[:, 3].copy())


def save(path: Path, graph: ArcTable, about: dict[str, Any] | None = None) -> None:
    """Write an arc table, atomically; `about` (JSON) is kept in the file's header."""
    tensors = {"arcs": graph.arcs, "scores": graph.scores}
    if graph.aux is not None:
        tensors["aux"] = graph.aux
    if graph.aux_splits is not None:
        tensors["aux_splits"] = graph.aux_splits
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_tensors(path, tensors, {"egret": json.dumps(about or {})})


def load(path: Path) -> ArcTable:
    """Read an arc table.

    Raises:
      EgretError: the file is not there, truncated or not a graph.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        table = ArcTable(**load_file(path))
    except FileNotFoundError:
        raise EgretError(f"{path}: no such graph; run the step that makes it") from None
    except (SafetensorError, TypeError, OSError) as error:
        raise EgretError(
            f"{path}: not a whole graph file ({error}); give another file, or make this one again"
        ) from None
    if fault := damage(table):
        raise EgretError(f"{path}: damaged ({fault}); make it again")
    return table


def damage(table: ArcTable) -> str:
    """What is wrong with an arc table, on which k2 would abort; empty: nothing that can be seen."""
    if table.arcs.shape != (table.num_arcs, 3) or table.scores.shape != (table.num_arcs,):
        return "tables of other shapes"
    if not table.num_arcs:
        return ""
    sources, destinations, labels = table.arcs.T
    if table.arcs[:, :2].min() < 0 or (np.diff(sources) < 0).any() or sources.max() >= table.num_states - 1:
        return "arcs in no order of states"
    if labels.min() < FINAL_LABEL or ((labels == FINAL_LABEL) != (destinations == table.num_states - 1)).any():
        return "labels that end a path elsewhere than in the final state"
    if not np.isfinite(table.scores).all():
        return "scores that are no numbers"
    splits = table.aux_splits
    if splits is not None and (len(splits) != table.num_arcs + 1 or splits[0] or (np.diff(splits) < 0).any()
                               or table.aux is None or splits[-1] != len(table.aux)):  # fmt: skip
        return "outputs that belong to no arc"
    return ""


def about(path: Path) -> dict[str, Any]:
    """What `save` was told about a graph."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return json.loads((file.metadata() or {}).get("egret", "{}"))


def identity(lang: Lang) -> dict[str, str]:
    """What a graph must have been made from to be used with a lang folder: kept in its header."""
    return {"units": digest(lang.units), "words": digest(lang.word_names)}


def is_for(about: dict[str, Any], lang: Lang) -> bool:
    """Whether a graph with this header was made from what a lang folder has."""
    return about.items() >= identity(lang).items()


def to_k2(graph: ArcTable) -> "k2.Fsa":
    """The same automaton as a k2 Fsa, with `aux_labels` where it has outputs."""
    import k2
    import torch

    scores = torch.from_numpy(graph.scores.astype(np.float32))
    arcs = torch.from_numpy(graph.arcs.astype(np.int32))
    fsa = k2.Fsa(torch.cat([arcs, scores.view(torch.int32).unsqueeze(1)], dim=1))
    if graph.aux is not None:
        aux = torch.from_numpy(graph.aux.astype(np.int32))
        if graph.aux_splits is None:
            fsa.aux_labels = aux
        else:
            splits = torch.from_numpy(graph.aux_splits.astype(np.int32))
            shape = k2.ragged.create_ragged_shape2(splits, None, len(aux))
            fsa.aux_labels = k2.RaggedTensor(shape, aux)
    return fsa


def from_k2(fsa: "k2.Fsa") -> ArcTable:
    """A k2 Fsa (one, not a vector of them) as an arc table."""
    import k2

    arcs = fsa.arcs.values().cpu().numpy()[:, :3].astype(np.int32)
    scores = fsa.scores.detach().cpu().numpy().astype(np.float32)
    aux = getattr(fsa, "aux_labels", None)
    if aux is None:
        return ArcTable(arcs, scores)
    if isinstance(aux, k2.RaggedTensor):
        splits = aux.shape.row_splits(1).cpu().numpy().astype(np.int32)
        return ArcTable(arcs, scores, aux.values.cpu().numpy().astype(np.int32), splits)
    return ArcTable(arcs, scores, aux.cpu().numpy().astype(np.int32))

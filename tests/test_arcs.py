"""Arc tables: what is written is what is read, and what k2 makes of it."""

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.graph import arcs
from egret.graph.arcs import ArcTable, from_rows
from folders import make_lang

ROWS = [(0, 1, 3, 7, -0.5), (1, 2, -1, -1, 0.25), (0, 0, 2, 0, -1.5), (1, 1, 4, 8, 0.0)]


def acceptor() -> ArcTable:
    table = from_rows(ROWS, final=2)
    return ArcTable(table.arcs, table.scores)


def transducer() -> ArcTable:
    return from_rows(ROWS, final=2)


def ragged() -> ArcTable:
    """Arcs with no, two, one and (the final one) no output labels."""
    table = from_rows(ROWS, final=2)
    return ArcTable(table.arcs, table.scores, np.array([7, 8, 9], np.int32), np.array([0, 0, 2, 2, 3], np.int32))


KINDS = pytest.mark.parametrize("make", [acceptor, transducer, ragged])


def same(a: ArcTable, b: ArcTable) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("arcs", "scores", "aux", "aux_splits")]
    return all(x is y if x is None or y is None else x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def test_rows_are_ordered_by_source_state():
    table = transducer()
    assert table.arcs.tolist() == [[0, 0, 2], [0, 1, 3], [1, 2, -1], [1, 1, 4]]
    assert table.scores.tolist() == [-1.5, -0.5, 0.25, 0.0]
    assert table.aux is not None and table.aux.tolist() == [0, 7, -1, 8]
    assert (table.num_states, table.num_arcs) == (3, 4)


@pytest.mark.parametrize(
    ("rows", "final"),
    [
        ([(0, 1, 3, 3, 0.0)], 1),  # into the final state without -1
        ([(0, 1, 3, 3, 0.0), (1, 0, -1, -1, 0.0)], 1),  # -1 into another state
        ([(0, 1, -1, -1, 0.0)], 2),  # the final state is not the last
    ],
)
def test_what_k2_would_not_take_is_refused(rows, final):
    with pytest.raises(ValueError, match="final"):
        from_rows(rows, final)


@KINDS
def test_a_saved_table_is_read_back_the_same(tmp_path, make):
    arcs.save(tmp_path / "g.safetensors", make())
    assert same(arcs.load(tmp_path / "g.safetensors"), make())


def test_a_slice_is_saved_as_it_looks(tmp_path):
    wide = np.repeat(np.array([[0, 1, 7, 9], [1, 2, 8, 9], [2, 3, -1, 9]], np.int32), 2, axis=0)
    arcs.save(tmp_path / "g.safetensors", ArcTable(wide[::2, :3], np.zeros(3, np.float32)))
    assert arcs.load(tmp_path / "g.safetensors").arcs.tolist() == wide[::2, :3].tolist()


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((0, 0), 2, "arcs in no order of states"),
        ((1, 1), -5, "arcs in no order of states"),
        ((2, 2), 3, "labels that end a path elsewhere"),
        ((1, 2), -1, "labels that end a path elsewhere"),
        ((1, 2), -7, "labels that end a path elsewhere"),
        (None, np.nan, "scores that are no numbers"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, place, value, says):
    table = ArcTable(np.array([[0, 1, 7], [1, 2, 8], [2, 3, -1]], np.int32), np.zeros(3, np.float32))
    if place:
        table.arcs[place] = value
    else:
        table.scores[1] = value
    arcs.save(tmp_path / "g.safetensors", table)
    with pytest.raises(EgretError, match=f"g.safetensors: damaged .{says}"):
        arcs.load(tmp_path / "g.safetensors")


def test_an_empty_table_is_kept_too(tmp_path):
    empty = from_rows([], final=0)
    arcs.save(tmp_path / "g.safetensors", empty)
    assert same(arcs.load(tmp_path / "g.safetensors"), empty) and empty.num_states == 0


def test_the_header_keeps_what_it_was_told(tmp_path):
    told = {"order": 3, "words": "zürich", "nested": {"a": [1, None]}}
    arcs.save(tmp_path / "g.safetensors", transducer(), told)
    arcs.save(tmp_path / "h.safetensors", transducer())
    assert arcs.about(tmp_path / "g.safetensors") == told
    assert arcs.about(tmp_path / "h.safetensors") == {}


def test_the_same_table_is_the_same_bytes(tmp_path):
    for name in ("g", "h"):
        arcs.save(tmp_path / name, ragged(), {"order": 3})
    assert (tmp_path / "g").read_bytes() == (tmp_path / "h").read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, kept):
    arcs.save(tmp_path / "g.safetensors", ragged())
    content = (tmp_path / "g.safetensors").read_bytes()
    (tmp_path / "g.safetensors").write_bytes(content[:kept])
    with pytest.raises(EgretError, match=r"g\.safetensors: not a whole graph"):
        arcs.load(tmp_path / "g.safetensors")


def test_another_safetensors_file_is_no_graph(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(EgretError, match=r"w\.safetensors: not a whole graph"):
        arcs.load(tmp_path / "w.safetensors")


def test_a_missing_graph_is_an_error_that_names_it(tmp_path):
    with pytest.raises(EgretError, match=r"none\.safetensors: no such graph"):
        arcs.load(tmp_path / "none.safetensors")


def test_identity_differs_with_the_units_and_with_the_words(tmp_path):
    one = arcs.identity(make_lang(tmp_path / "1", [("a", ["x"]), ("b", ["y"])]))
    same_again = arcs.identity(make_lang(tmp_path / "2", [("b", ["x", "y"]), ("a", ["y"])]))
    other_word = arcs.identity(make_lang(tmp_path / "3", [("a", ["x"]), ("c", ["y"])]))
    other_unit = arcs.identity(make_lang(tmp_path / "4", [("a", ["x"]), ("b", ["z"])]))
    assert same_again == one
    assert other_word["units"] == one["units"] and other_word["words"] != one["words"]
    assert other_unit["words"] == one["words"] and other_unit["units"] != one["units"]


@pytest.mark.k2
@KINDS
def test_a_table_survives_k2(make):
    pytest.importorskip("k2")
    assert same(arcs.from_k2(arcs.to_k2(make())), make())


@pytest.mark.k2
def test_k2_sees_labels_scores_and_outputs():
    k2 = pytest.importorskip("k2")
    theirs = k2.Fsa.from_str("0 0 2 0 -1.5\n0 1 3 7 -0.5\n1 2 -1 -1 0.25\n1 1 4 8 0.0\n2", num_aux_labels=1)
    ours = arcs.to_k2(transducer())
    assert k2.to_str(ours) == k2.to_str(theirs)
    assert arcs.to_k2(ragged()).aux_labels.tolist() == [[], [7, 8], [], [9]]
    assert not hasattr(arcs.to_k2(acceptor()), "aux_labels")


@pytest.mark.k2
def test_a_table_from_k2_does_not_change_with_the_automaton():
    pytest.importorskip("k2")
    fsa = arcs.to_k2(transducer())
    table = arcs.from_k2(fsa)
    fsa.scores = fsa.scores * 2
    assert same(table, transducer())

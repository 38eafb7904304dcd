"""Looking into arc tables, for the tests."""

from egret.graph.arcs import ArcTable


def outputs(graph: ArcTable, arc: int) -> list[int]:
    """The output labels of one arc, epsilon (0) and -1 left out."""
    if graph.aux is None:
        return []
    if graph.aux_splits is None:
        labels = graph.aux[arc : arc + 1]
    else:
        labels = graph.aux[graph.aux_splits[arc] : graph.aux_splits[arc + 1]]
    return [int(label) for label in labels if label > 0]

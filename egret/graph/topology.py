"""Which of CTC's topologies a model's graphs are made with; nothing here needs k2."""

from typing import Any, Literal

Topology = Literal["auto", "standard", "modified"]
# From so many units the standard topology, quadratic in their number, gives way to the linear one.
LARGEST_STANDARD_TOPOLOGY = 500


def is_modified(topology: Topology, units: int) -> bool:
    """Whether a topology is k2's modified one, in which two equal neighbours need no blank between them.

    `auto` is modified for more than 500 units, the special ones included.
    """
    return topology == "modified" or (topology == "auto" and units > LARGEST_STANDARD_TOPOLOGY)


def was_modified(config: dict[str, Any], units: int) -> bool:
    """The same of the loss that a model was trained with, by its configuration: PyTorch's CTC has the standard one."""
    return config.get("loss") in ("ctc_graph", "lf_mmi") and is_modified(config.get("topology", "auto"), units)

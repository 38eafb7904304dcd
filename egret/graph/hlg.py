"""HLG: CTC topology, lexicon and grammar composed by k2 into one decoding graph.

After Povey et al. 2021 (k2, icefall) and Miao et al. 2015: LG is determinised with the help of the
disambiguation symbols. There, they then become epsilons, and removing these keeps of the paths with the same tokens
between two states the best only, whatever its words: of words that sound alike and lead to the same history of G, one.
Here they are marks of the tokens before them (`egret.graph.marks`), which stay until only the back-off's epsilons are
gone; so HLG has all words.
"""

import k2
import torch

from egret.base.log import Meter, log
from egret.graph.arcs import ArcTable, from_k2, to_k2
from egret.graph.marks import Marks, marked
from egret.graph.topology import Topology, is_modified


def ctc_topology(units: int, modified: bool) -> k2.Fsa:
    """H for token ids 0 (blank) to units - 1: repeats merge, blanks vanish."""
    return k2.arc_sort(k2.ctc_topo(units - 1, modified=modified))


def compile_hlg(
    lexicon: ArcTable,
    grammar: ArcTable,
    units: int,
    first_disambiguation: int,
    backoff_word: int,
    topology: Topology = "auto",
) -> tuple[ArcTable, dict[str, float]]:
    """HLG of L_disambig and G, and what it took.

    Args:
      units: tokens that the model gives scores for.
      first_disambiguation: token id of #0; it and all above are disambiguation symbols.
      backoff_word: word id of #0.
      topology: of CTC; auto: modified for more than 500 units.

    Returns:
      HLG (labels tokens, outputs words) and states, arcs, seconds and peak memory.
    """
    meter = Meter()
    lg = compile_lg(lexicon, grammar, first_disambiguation, backoff_word)
    log.info("LG: %d states, %d arcs", lg.shape[0], lg.num_arcs)
    h = ctc_topology(units, is_modified(topology, units))
    hlg = k2.compose(h, lg, inner_labels="tokens", treat_epsilons_specially=True)
    hlg = k2.arc_sort(k2.connect(hlg))
    table = from_k2(hlg)
    report = {
        "states": table.num_states,
        "arcs": table.num_arcs,
        "lg_states": lg.shape[0],
        "lg_arcs": lg.num_arcs,
        "seconds": meter.seconds,
        "peak_memory_mib": meter.peak_mib,
    }
    return table, report


def compile_lg(lexicon: ArcTable, grammar: ArcTable, first_disambiguation: int, backoff_word: int) -> k2.Fsa:
    """LG of L_disambig and G, determinised, without disambiguation symbols and epsilons, its arcs sorted.

    Args: as of `compile_hlg`.
    """
    log.info("L: %d states, %d arcs; G: %d states, %d arcs",
             lexicon.num_states, lexicon.num_arcs, grammar.num_states, grammar.num_arcs)  # fmt: skip
    table, marks = marked(lexicon, first_disambiguation)
    g = k2.arc_sort(without_outputs(to_k2(grammar)))
    lg = k2.connect(k2.compose(k2.arc_sort(to_k2(table)), g, treat_epsilons_specially=True))
    lg = k2.connect(k2.determinize(lg, k2.DeterminizeWeightPushingType.kLogWeightPushing))
    lg = k2.connect(k2.remove_epsilon(without_backoff(lg, marks.backoff, backoff_word)))
    lg.labels = without_marks(lg.labels, marks)
    return k2.arc_sort(lg)


def without_outputs(fsa: k2.Fsa) -> k2.Fsa:
    """An acceptor: G's outputs are its labels, and composition takes them from there."""
    if hasattr(fsa, "aux_labels"):
        del fsa.aux_labels
    return fsa


def without_backoff(lg: k2.Fsa, backoff: int, backoff_word: int) -> k2.Fsa:
    """Back-off becomes epsilon. The tensors are made anew: k2 1.23 leaves an Fsa whose labels were changed in place in
    a state in which `remove_epsilon` gives wrong properties."""
    lg.labels = lg.labels.masked_fill(lg.labels == backoff, 0)
    aux = lg.aux_labels
    if isinstance(aux, k2.RaggedTensor):
        values = aux.values.masked_fill(aux.values == backoff_word, 0)
        lg.aux_labels = k2.RaggedTensor(aux.shape, values).remove_values_eq(0)
    else:
        lg.aux_labels = aux.masked_fill(aux == backoff_word, 0)
    return lg


def without_marks(labels: torch.Tensor, marks: Marks) -> torch.Tensor:
    """Marked tokens become the tokens that they are."""
    return torch.where(labels > 0, labels % marks.period, labels)

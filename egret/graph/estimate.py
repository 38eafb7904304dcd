"""How much memory a composition of HLG will take, from the sizes of L and G; needs neither k2 nor torch.

Every n-gram of G is spelled once in L o G, so that its arcs are about those of G times the arcs of a word in L. With
random lexicons of 2,000 to 20,000 words, bigrams of 24,000 to 250,000 arcs, 40 and 1,000 units and both topologies, HLG
had 0.9 to 1.1 times as many arcs (with the 3-gram of AN4's 130 words 2.5 times), and k2 1.23.4 took 140 to 260 bytes
for each of them at its peak; `report.json` of steps/compile_graph.py shows how near it comes.
"""

from dataclasses import dataclass

from egret.base.errors import EgretError
from egret.base.log import log
from egret.base.memory import available
from egret.graph.arcs import ArcTable

BYTES_AN_ARC = 250
TOPOLOGY_BYTES = 3 * 16  # of an arc of the topology, with copies


@dataclass(frozen=True)
class Estimate:
    """About how large HLG will be, and how much memory will be taken at most until it is there, in bytes."""

    arcs: int
    memory: int


def estimate(lexicon: ArcTable, grammar: ArcTable, units: int, modified: bool) -> Estimate:
    """Of L_disambig, G, and CTC's topology of so many units."""
    words = int((lexicon.aux > 0).sum()) if lexicon.aux is not None else lexicon.num_arcs
    arcs = round(grammar.num_arcs * lexicon.num_arcs / max(words, 1))
    topology = 3 * units if modified else units * units
    return Estimate(arcs, arcs * BYTES_AN_ARC + topology * TOPOLOGY_BYTES)


def refuse_too_large(expected: Estimate, modified: bool, go_on: bool) -> None:
    """Say what a composition will take, before it is begun.

    Raises:
      EgretError: it will not fit the memory that is free, and is not to `go_on` all the same.
    """
    free = available()
    if free is None:
        log.info("HLG will have about %.3g arcs; making it takes about %.2f GB of memory", expected.arcs,
                 expected.memory / 1e9)  # fmt: skip
        return
    log.info("HLG will have about %.3g arcs; making it takes about %.2f GB of the %.1f GB of memory that are free",
             expected.arcs, expected.memory / 1e9, free / 1e9)  # fmt: skip
    if expected.memory <= free:
        return
    topology = "" if modified else ", --topology modified for many units"
    said = (f"HLG of about {expected.arcs:.3g} arcs takes about {expected.memory / 1e9:.1f} GB of memory to make, and "
            f"{free / 1e9:.1f} GB are free; prune the n-gram model (--prune of steps/train_ngram.py) or take a lower "
            f"order{topology}, and rescore with the larger one (--rescore-lm of steps/decode.py)")  # fmt: skip
    if not go_on:
        raise EgretError(f"{said}; --check-memory false tries it all the same")
    log.warning("%s", said)

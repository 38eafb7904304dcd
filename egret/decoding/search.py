"""What every search takes and gives, and what the searches of one run share."""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.decoding.options import DecodeOptions
from egret.lang.lang import Lang
from egret.models.model import JointModel

if TYPE_CHECKING:
    from egret.decoding.graph import GraphDecoder


class Kept:
    """What has been made of a batch and serves other settings and methods, too.

    Attributes:
      owed: seconds that a search would have taken longer, had it not found what it needs.
    """

    def __init__(self) -> None:
        self.owed = 0.0
        self._found: dict[Hashable, tuple[Any, float]] = {}

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, made only the first time that it is asked for."""
        if key in self._found:
            self.owed += self._found[key][1]
        else:
            begun, owed = time.monotonic(), self.owed
            made = make()
            self._found[key] = made, time.monotonic() - begun + self.owed - owed
        return self._found[key][0]

    def settle(self) -> float:
        """The seconds owed, which are forgotten."""
        owed, self.owed = self.owed, 0.0
        return owed


@dataclass(frozen=True)
class Encoded:
    """What the encoder makes of a batch: its output [N, T, D], lengths [N], and CTC's log probabilities [N, T, V]; the
    features' lengths [N]; the transcripts, which none but a floor may look at."""

    x: Tensor
    lengths: Tensor
    frames: Tensor
    log_probs: Tensor | None
    texts: Sequence[str] = ()
    kept: Kept = field(default_factory=Kept)

    @property
    def ctc(self) -> tuple[Tensor, Tensor]:
        """Log probabilities and lengths; make_search sees to it that there are some."""
        assert self.log_probs is not None
        return self.log_probs, self.lengths


# (what the encoder made of a batch, one setting of the method) -> N hypotheses
Search = Callable[[Encoded, dict[str, Any]], list[dict[str, Any]]]
# A search and the settings to try with it.
Made = tuple[Search, list[dict[str, Any]]]


@dataclass(frozen=True)
class Context:
    """What searches are made of."""

    options: DecodeOptions
    model: JointModel
    lang: Lang

    @cached_property
    def graph(self) -> "GraphDecoder":
        """HLG of --graph, read once for all methods.

        Raises:
          EgretError: k2 is not installed, or the graph is of another lang folder.
        """
        assert self.options.graph is not None  # make_search has looked
        try:
            from egret.decoding.graph import GraphDecoder
        except ImportError as error:
            raise EgretError(f"--method {' '.join(self.options.method)} needs k2, which cannot be imported ({error}); "
                             f"install it (utils/doctor.py says how) or use --method ctc_greedy") from None  # fmt: skip
        return GraphDecoder(self.options.graph, self.lang, torch.device("cpu"))


def hypothesis(
    lang: Lang, tokens: list[int], words: list[str], score: float, parts: dict[str, float] | None = None
) -> dict[str, Any]:
    """A row of hyp.jsonl without its id; the total score, of which `parts` are what each source gave, is null where no
    path was found (JSON has no infinity)."""
    total = score if math.isfinite(score) else None
    scores = {"total": total, **({} if total is None else parts or {})}
    return {"words": words, "tokens": [lang.units[token] for token in tokens], "score": scores}

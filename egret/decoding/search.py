"""What every search takes and gives, and what the searches of one run share."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from egret.base.errors import EgretError
from egret.decoding.hot_lattice import HotPhrases
from egret.decoding.kaldi import KaldiDecoder
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

    @property
    def ctc_on_cpu(self) -> tuple[Tensor, Tensor]:
        """The same for searches that are of many small operations, or not PyTorch's."""
        log_probs, lengths = self.ctc
        return self.kept.once("ctc_on_cpu", lambda: (log_probs.cpu(), lengths.cpu()))


# (what the encoder made of a batch, one setting of the method) -> N hypotheses
Search = Callable[[Encoded, dict[str, Any]], list[dict[str, Any]]]
# A search and the settings to try with it.
Made = tuple[Search, list[dict[str, Any]]]


@dataclass(frozen=True)
class Context:
    """What searches are made of; the model lies on the device where all of it is to be done that can be."""

    options: DecodeOptions
    model: JointModel
    lang: Lang

    @property
    def best_path(self) -> "GraphDecoder | KaldiDecoder":
        """What finds the best path through HLG.

        Raises: as `graph`.
        """
        assert self.options.graph is not None  # make_search has looked
        if self.options.hlg.searcher == "k2":
            return self.graph
        return KaldiDecoder(self.options.graph, self.lang)

    @cached_property
    def graph(self) -> "GraphDecoder":
        """HLG of --graph, read once for all methods.

        Raises:
          EgretError: k2 is not installed, or the graph is of another lang folder or another G than --first-lm.
        """
        assert self.options.graph is not None  # make_search has looked
        try:
            from egret.decoding.graph import GraphDecoder, refuse_other_grammar
        except ImportError as error:
            raise EgretError(f"--method {' '.join(self.options.method)} needs k2, which cannot be imported ({error}); "
                             f"install it (utils/doctor.py says how) or use --method ctc_greedy or, for hlg_1best, "
                             f"--hlg.searcher kaldi-decoder") from None  # fmt: skip
        decoder = GraphDecoder(self.options.graph, self.lang, self.model.mean.device)
        if self.options.hlg.hot_words:
            decoder.hot = HotPhrases(self.options.hlg.hot_words, self.lang)
        if self.options.first_lm:
            refuse_other_grammar(self.options.graph, self.options.first_lm)
        return decoder

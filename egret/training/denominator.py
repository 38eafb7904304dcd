"""The bigram of LF-MMI's denominator, of what is trained on; kept in the experiment's folder."""

from collections.abc import Iterator, Sequence

import numpy as np

from egret.base.errors import EgretError
from egret.base.files import write_tensors
from egret.base.log import log
from egret.graph.bigram import expected_counts, smoothed
from egret.lang.transcript import Slot, Transcripts
from egret.training.data import Corpus
from egret.training.options import TrainOptions
from egret.training.survey import transcript

NAME = "token_bigram.safetensors"


def make_bigram(options: TrainOptions, corpus: Corpus) -> None:
    """Write the bigram of a corpus, unless it is there: a run that goes on has the one that it began with."""
    if options.loss != "lf_mmi" or (options.out / NAME).exists():
        return
    lang, known = corpus.lang, Transcripts(corpus.lang)
    probability = lang.about["silence"]["probability"] if lang.silence else 0.0

    def slots() -> Iterator[Sequence[Slot]]:
        for row in range(len(corpus.table)):
            yield known.slots(*transcript(corpus.cut(row), lang))

    counts = expected_counts(slots(), known.pause, probability, len(lang.units))
    write_tensors(options.out / NAME, {"bigram": smoothed(counts)})
    log.info("bigram of %d units for the denominator, of %d transcripts", len(lang.units), len(corpus.table))


def read_bigram(options: TrainOptions) -> np.ndarray | None:
    """The bigram, natural logarithms [V, V] as `egret.graph.bigram` has them; None: the loss asks for none.

    Raises:
      EgretError: it is not there, or not whole.
    """
    if options.loss != "lf_mmi":
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = options.out / NAME
    try:
        return load_file(path)["bigram"]
    except (OSError, SafetensorError, KeyError) as error:
        raise EgretError(f"{path}: the bigram of --loss lf_mmi cannot be read ({error}); remove it, and "
                         f"steps/train.py makes it anew") from None  # fmt: skip

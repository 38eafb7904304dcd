"""The bigram of LF-MMI's denominator, of what is trained on; kept in the experiment's folder."""

from collections.abc import Iterator, Sequence

import numpy as np

from egret.base.errors import EgretError
from egret.base.files import write_tensors
from egret.base.log import log, progress
from egret.graph.bigram import expected_counts, smoothed
from egret.lang.lang import Lang
from egret.lang.transcript import Slot, Transcripts
from egret.training.data import Corpus
from egret.training.options import TrainOptions
from egret.training.survey import transcript

BIGRAM = "token_bigram.safetensors"
MOST_UNITS = 10_000  # 400 MB in single precision, and some times that while it is made


def make_bigram(options: TrainOptions, corpus: Corpus) -> None:
    """Write the bigram of a corpus, unless it is there: a run that goes on has the one that it began with.

    Raises:
      EgretError: there are more units than a matrix of them can be.
    """
    if options.loss != "lf_mmi" or (options.out / BIGRAM).exists():
        return
    lang, known = corpus.lang, Transcripts(corpus.lang)
    if len(lang.units) > MOST_UNITS:
        raise EgretError(f"--loss lf_mmi: {lang.folder} has {len(lang.units)} units, and a bigram of more than "
                         f"{MOST_UNITS} would fill the memory; take other units, or --loss ctc_graph")  # fmt: skip

    def slots() -> Iterator[Sequence[Slot]]:
        for row in progress(range(len(corpus.table)), len(corpus.table), "bigram of the units: transcripts"):
            yield known.slots(*transcript(corpus.cut(row), lang))

    counts = expected_counts(slots(), known.pause, known.pause_probability, len(lang.units))
    write_tensors(options.out / BIGRAM, {"bigram": smoothed(counts)})
    log.info("bigram of %d units for the denominator, of %d transcripts", len(lang.units), len(corpus.table))


def read_bigram(options: TrainOptions, lang: Lang) -> np.ndarray | None:
    """The bigram, natural logarithms [V, V] as `egret.graph.bigram` has them; None: the loss asks for none.

    Raises:
      EgretError: it is not there, or not whole.
    """
    if options.loss != "lf_mmi":
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = options.out / BIGRAM
    try:
        found = load_file(path)["bigram"]
        if found.shape != (len(lang.units),) * 2:
            raise KeyError(f"it is of {len(found)} units, not {len(lang.units)}")
        return found
    except (OSError, SafetensorError, KeyError) as error:
        raise EgretError(f"{path}: the bigram of --loss lf_mmi cannot be read ({error}); remove it, and "
                         f"steps/train.py makes it anew") from None  # fmt: skip

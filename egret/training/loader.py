"""Batches loaded ahead by processes beside the trainer: the same ones in the same order however many these are."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch
from torch import distributed

from egret.base.errors import EgretError
from egret.training.task import B, Corpus

AHEAD = 2  # batches that are ready or being loaded, for each worker

Asked = tuple[np.ndarray, Sequence[int] | np.ndarray]  # the rows of a batch, and which copies they are

# In a worker: what it loads, and with what key.
_work: tuple[Corpus[Any], tuple[int, ...]]


def load_batches(
    corpus: Corpus[B],
    batches: Sequence[np.ndarray],
    key: tuple[int, ...] = (),
    workers: int = 0,
    copies: Sequence[np.ndarray] = (),
) -> Generator[B, None, None]:
    """The batches of the given rows, in their order; in pinned memory where a GPU is in use.

    Args:
      key: decides how utterances are augmented, as in `Corpus.load`.
      workers: processes that load; 0: this one does, whenever a batch is asked for.
      copies: of each batch, as in `Corpus.load`; none given: every row is there once.

    Raises:
      EgretError: as `Corpus.load`; or a worker was killed.
    """
    before: Sequence[Sequence[int] | np.ndarray] = copies if len(copies) else [()] * len(batches)
    asked: list[Asked] = list(zip(batches, before, strict=True))
    loaded = _by_workers(corpus, asked, key, workers) if workers else (corpus.load(rows, key, n) for rows, n in asked)
    pinned = torch.cuda.is_available() and torch.cuda.is_initialized()
    for batch in loaded:
        yield batch.pin_memory() if pinned else batch


def _by_workers(corpus: Corpus[B], asked: Sequence[Asked], key: tuple[int, ...], workers: int) -> Iterator[B]:
    workers = min(workers, len(asked))
    pool = ProcessPoolExecutor(workers, _context(), _begin, (corpus, key)) if workers else None
    if pool is None:
        return
    try:
        rest = iter(asked)
        waiting: deque[Future[B]] = deque(pool.submit(_load, each) for each in islice(rest, AHEAD * workers))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(pool.submit(_load, each) for each in islice(rest, 1))
            yield batch.unpacked()
    except BrokenProcessPool:
        for worker in multiprocessing.active_children():  # which may wait for what the dead one held, deaf to SIGTERM
            worker.kill()
        raise EgretError(
            f"a process that loads data was killed, as a rule because memory ran out; run it again with less than "
            f"--workers {workers}, or with more memory"
        ) from None
    except EgretError as error:
        raise error from None  # without the worker's traceback
    finally:
        pool.shutdown(cancel_futures=True)


def _context() -> Any:
    """How workers are started: as copies of this process, which costs nothing, unless CUDA or a process group is at
    work in it, whose threads would be missing there."""
    if torch.cuda.is_initialized() or (distributed.is_available() and distributed.is_initialized()):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return context
    return multiprocessing.get_context("fork")


def _begin(corpus: Corpus[Any], key: tuple[int, ...]) -> None:
    """Set up a worker. It ends with the trainer and not before: signals to the whole group are the trainer's affair."""
    global _work
    _work = corpus, key
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_trainer, daemon=True).start()
    torch.set_num_threads(1)  # workers share the cores


def _end_with_trainer() -> None:
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        wait([trainer.sentinel])
        os._exit(1)


def _load(asked: Asked) -> Any:
    corpus, key = _work
    rows, copies = asked
    return corpus.load(rows, key, copies).packed()

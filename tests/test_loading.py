"""Loading batches: nothing of an epoch is kept in memory or open after it."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from egret.features.store import load_features
from egret.lang.lang import Lang
from egret.models.model import CtcModel
from egret.training import trainer
from egret.training.data import Corpus
from egret.training.options import BatchOptions
from egret.training.plan import plan
from tiny import make_features, make_lang

UTTERANCES = 60


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    lang = make_lang(tmp_path / "lang")
    manifest = make_features(tmp_path / "fbank", "train", UTTERANCES, seed=1)
    model = SimpleNamespace(output_frames=lambda frames: frames)
    return Corpus(manifest, Lang.read(lang), cast(CtcModel, model), tmp_path / "rejected.jsonl", 5.0)


def epoch(corpus: Corpus, number: int) -> Iterator[Any]:
    for rows in plan(corpus.table, BatchOptions(max_duration=4.0), seed=1, epoch=number):
        yield corpus.load(rows)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def held() -> int:
    """Bytes that Python, NumPy and PyTorch hold; tracemalloc does not see the last."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    return tracemalloc.get_traced_memory()[0] + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_an_epoch_holds_every_utterance_once(corpus: Corpus) -> None:
    assert sorted(name for batch in epoch(corpus, 0) for name in batch.ids) == sorted(corpus.index.ids)


def test_memory_does_not_grow_over_epochs_of_loading(corpus: Corpus, traced: None) -> None:
    """Six epochs later not half of an epoch is left."""
    size = sum(batch.features.numel() * 4 for batch in epoch(corpus, 0))
    found = []
    for number in range(8):
        for _ in epoch(corpus, number):
            pass
        found.append(held())
    assert size > 100_000
    assert found[-1] - found[1] < size / 2


def test_memory_does_not_grow_over_epochs_of_training(
    tmp_path: Path, run_step: Callable[..., str], monkeypatch: pytest.MonkeyPatch, traced: None
) -> None:
    make_lang(tmp_path / "lang")
    make_features(tmp_path / "fbank", "train", UTTERANCES, seed=1)
    found = []
    train_epoch = trainer.train_epoch

    def measured(run: trainer.Run, meter: Any) -> None:
        train_epoch(run, meter)
        found.append(held())

    monkeypatch.setattr(trainer, "train_epoch", measured)
    part = ["--cuts", "fbank/train.jsonl", "--stats", "fbank/train.stats.safetensors", "--lang", "lang", "--out", "exp"]
    model = ["--model.tdnn.dim", "16", "--model.tdnn.kernels", "5", "--model.tdnn.dilations", "1"]
    model += ["--model.tdnn.strides", "2", "--batch.max_duration", "4", "--threads", "1", "--epochs", "8"]
    run_step("train", tmp_path, *part, *model)
    assert len(found) == 8
    assert found[-1] - found[1] < 80_000  # an epoch has 170,000 bytes of features


def test_no_file_stays_open(corpus: Corpus) -> None:
    list(epoch(corpus, 0))
    before = open_files()
    list(epoch(corpus, 1))
    assert open_files() == before


def test_features_are_the_ones_stored(corpus: Corpus) -> None:
    for batch in epoch(corpus, 0):
        for name, features, length in zip(batch.ids, batch.features, batch.lengths, strict=True):
            stored = load_features(corpus.index.at(corpus.index.ids.index(name)))
            assert (features[:length].numpy() == stored).all()
            assert not features[length:].any()

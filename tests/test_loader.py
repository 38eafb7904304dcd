"""Batches by processes beside the trainer: the same ones in the same order, whoever loads them."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.features.batching import Augment, Inputs
from egret.features.extractor import make_extractor
from egret.features.options import FeatureOptions
from egret.features.store import load_samples
from egret.features.waveform import Augmenter, WaveformOptions
from egret.lang.lang import Lang
from egret.training.data import Batch, Corpus
from egret.training.loader import load_batches
from egret.training.options import BatchOptions
from egret.training.plan import batches
from tiny import WORDS, make_features, make_lang

RATE = 8000
FBANK = FeatureOptions(sampling_rate=RATE, num_mel_bins=8)
KEY = (1, 0)
ROOT = Path(__file__).resolve().parents[1]


def louder(samples: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    return samples * np.float32(random.uniform(0.1, 1))


def cut_off(samples: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    return samples[: rate // 10]


def make_recordings(folder: Path, count: int) -> Path:
    """A manifest as stage 0 leaves it, of noise of half a second to a second."""
    import soundfile

    random = np.random.default_rng(1)
    folder.mkdir()
    cuts = []
    for number in range(count):
        samples = random.normal(scale=0.1, size=random.integers(RATE // 2, RATE)).astype(np.float32)
        name, seconds = f"noise-{number:02d}", len(samples) / RATE
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        source = {"type": "file", "channels": [0], "source": str(folder / f"{name}.wav")}
        recording = {"id": name, "sources": [source], "sampling_rate": RATE, "num_samples": len(samples),
                     "duration": seconds}  # fmt: skip
        supervision = {"id": name, "start": 0.0, "duration": seconds, "text": WORDS[number % 3]}
        cuts.append({"id": name, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [supervision],
                     "recording": recording})  # fmt: skip
    write_jsonl(folder / "train.jsonl", cuts)
    return folder / "train.jsonl"


@pytest.fixture
def lang(tmp_path: Path) -> Lang:
    return Lang.read(make_lang(tmp_path / "lang"))


@pytest.fixture
def stored(tmp_path: Path, lang: Lang) -> Corpus:
    manifest = make_features(tmp_path / "fbank", "train", 30, seed=1)
    return Corpus([manifest], lang, int, tmp_path / "rejected.jsonl", 5.0)


@pytest.fixture
def computed(tmp_path: Path, lang: Lang) -> Callable[[Augment | None], Corpus]:
    """A corpus whose features are computed from the recordings, augmented by a function."""
    manifest = make_recordings(tmp_path / "wav", 8)
    return lambda augment: Corpus(
        [manifest], lang, int, tmp_path / "rejected.jsonl", 5.0, Inputs("computed", FBANK, augment)
    )


def planned(corpus: Corpus, seconds: float = 4.0) -> list[np.ndarray]:
    return batches(corpus.table, BatchOptions(max_duration=seconds), seed=1, epoch=0)


def same(first: list[Batch], second: list[Batch]) -> bool:
    """To the bit, in everything."""
    return len(first) == len(second) and all(
        torch.equal(a.features, b.features) and torch.equal(a.lengths, b.lengths)
        and (a.ids, a.targets, a.texts, a.spoken, a.seconds) == (b.ids, b.targets, b.texts, b.spoken, b.seconds)
        for a, b in zip(first, second, strict=True)
    )  # fmt: skip


class TestTheSameBatches:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_of_stored_features(self, stored: Corpus, workers: int) -> None:
        alone = list(load_batches(stored, planned(stored), KEY))
        assert same(list(load_batches(stored, planned(stored), KEY, workers)), alone)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_of_augmented_recordings(self, computed: Callable, workers: int) -> None:
        corpus = computed(louder)
        alone = list(load_batches(corpus, planned(corpus, 2.0), KEY))
        assert same(list(load_batches(corpus, planned(corpus, 2.0), KEY, workers)), alone)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_from_the_middle_of_an_epoch_on(self, computed: Callable, workers: int) -> None:
        corpus = computed(louder)
        whole = list(load_batches(corpus, planned(corpus, 2.0), KEY))
        assert same(list(load_batches(corpus, planned(corpus, 2.0)[2:], KEY, workers)), whole[2:])

    def test_of_a_corpus_opened_anew(self, stored: Corpus, tmp_path: Path, lang: Lang) -> None:
        again = Corpus([tmp_path / "fbank/train.jsonl"], lang, int, tmp_path / "other.jsonl", 5.0)
        alone = list(load_batches(stored, planned(stored), KEY))
        assert same(list(load_batches(again, planned(again), KEY, 1)), alone)

    @pytest.mark.slow
    def test_where_a_process_group_is_at_work(self, computed: Callable) -> None:
        """Workers are then no copies of this process."""
        corpus = computed(louder)
        alone = list(load_batches(corpus, planned(corpus, 2.0), KEY))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
        try:
            assert same(list(load_batches(corpus, planned(corpus, 2.0), KEY, 2)), alone)
        finally:
            distributed.destroy_process_group()

    def test_none_at_all(self, stored: Corpus) -> None:
        assert list(load_batches(stored, [], KEY, 2)) == []


class TestComputedFeatures:
    def test_are_those_of_the_recording(self, computed: Callable) -> None:
        corpus = computed(None)
        batch = corpus.load([3], KEY)
        (due,) = make_extractor(FBANK)[1]([load_samples(corpus.cut(3), FBANK)])
        assert (batch.features[0].numpy() == due).all()

    def test_the_same_key_augments_alike(self, computed: Callable) -> None:
        corpus = computed(louder)
        assert same([corpus.load([1, 2], KEY)], [corpus.load([1, 2], KEY)])

    @pytest.mark.parametrize("key", [(1, 1), (2, 0)])
    def test_another_epoch_or_seed_augments_otherwise(self, computed: Callable, key: tuple[int, int]) -> None:
        corpus = computed(louder)
        assert not same([corpus.load([1, 2], KEY)], [corpus.load([1, 2], key)])

    def test_an_utterance_is_augmented_alike_in_any_batch(self, computed: Callable) -> None:
        corpus = computed(louder)
        one, two = corpus.load([1], KEY), corpus.load([2, 1], KEY)
        assert torch.equal(one.features[0], two.features[1, : one.lengths[0]])

    def test_copies_of_an_utterance_are_augmented_each_in_its_own_way(self, computed: Callable) -> None:
        one, two = computed(louder).load([1, 1], KEY, [0, 1]).features
        assert not torch.equal(one, two)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_copy_is_the_same_whoever_loads_it_and_from_where_on(self, computed: Callable, workers: int) -> None:
        corpus, rows, before = computed(louder), [[1, 2], [2], [1]], [[0, 0], [1], [1]]
        due = [corpus.load(*each) for each in zip(rows, [KEY] * 3, before, strict=True)]
        assert same(list(load_batches(corpus, rows[1:], KEY, workers, before[1:])), due[1:])

    def test_without_a_key_nothing_is_augmented(self, computed: Callable) -> None:
        assert same([computed(louder).load([1, 2])], [computed(None).load([1, 2])])

    def test_an_utterance_that_would_be_too_short_for_its_tokens_stays_as_it_is(self, computed: Callable) -> None:
        assert same([computed(cut_off).load([1, 2], KEY)], [computed(None).load([1, 2])]) is False
        longer = computed(cut_off)
        longer._token_room = longer._token_room // 30  # a frame of the model is a third of a second
        assert same([longer.load([1, 2], KEY)], [computed(None).load([1, 2])])

    def test_dither_is_that_of_the_key_and_leaves_other_random_numbers_alone(self, tmp_path: Path, lang: Lang) -> None:
        inputs = Inputs("computed", FeatureOptions(sampling_rate=RATE, num_mel_bins=8, dither=0.1))
        manifest = make_recordings(tmp_path / "wav", 2)
        corpus = Corpus([manifest], lang, int, tmp_path / "rejected.jsonl", 5.0, inputs)
        state = torch.get_rng_state()
        first, again, other = (corpus.load([0], key) for key in (KEY, KEY, (1, 1)))
        assert same([first], [again]) and not same([first], [other])
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_of_all_kinds_of_augmentation_are_the_same_by_workers(self, computed: Callable, workers: int) -> None:
        options = WaveformOptions(speeds=[0.9, 1.0, 1.1], gaussian_snr=[5.0, 20.0], volume=[-10.0, 5.0])
        corpus = computed(Augmenter(options))
        alone = list(load_batches(corpus, planned(corpus, 2.0), KEY))
        assert same(list(load_batches(corpus, planned(corpus, 2.0), KEY, workers)), alone)

    def test_of_another_sampling_rate_are_refused_at_once(self, computed: Callable, tmp_path: Path, lang: Lang) -> None:
        manifest = tmp_path / "wav/train.jsonl"
        with pytest.raises(EgretError, match=r"train.jsonl: noise-00: 8000 samples a second where .* is 16000"):
            Corpus([manifest], lang, int, tmp_path / "rejected.jsonl", 5.0, Inputs("computed"))


class TestErrors:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_of_a_worker_reach_the_trainer_in_a_line(self, stored: Corpus, tmp_path: Path, workers: int) -> None:
        (tmp_path / "fbank/train.lca").unlink()
        with pytest.raises(EgretError, match=r"train.lca: .* in which train-\d+ has its .*stage 1 again$") as caught:
            list(load_batches(stored, planned(stored), KEY, workers))
        assert caught.value.__suppress_context__ and caught.value.__cause__ is None

    def test_a_killed_worker_is_an_error_that_names_the_option(self, stored: Corpus) -> None:
        loaded = load_batches(stored, planned(stored, 0.5), KEY, 1)
        next(loaded)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)  # type: ignore[arg-type]
        with pytest.raises(EgretError, match=r"was killed.*memory.*--workers 1"):
            list(loaded)

    def test_a_killed_worker_does_not_leave_the_others_waiting_for_it(self, stored: Corpus) -> None:
        loaded = load_batches(stored, planned(stored, 0.5), KEY, 2)
        next(loaded)
        workers = multiprocessing.active_children()
        time.sleep(0.3)  # until they wait for work, one of them with the lock of the queue
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)  # type: ignore[arg-type]
        os.kill(workers[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
        with pytest.raises(EgretError, match="was killed"):
            list(loaded)


class TestWorkers:
    @pytest.fixture
    def begun(self, stored: Corpus) -> Iterator[tuple[Iterator[Batch], list]]:
        loaded = load_batches(stored, planned(stored, 0.5), KEY, 2)
        next(loaded)
        yield loaded, multiprocessing.active_children()
        loaded.close()

    def test_are_as_many_as_asked_for(self, begun: tuple) -> None:
        assert len(begun[1]) == 2

    def test_end_with_the_epoch(self, begun: tuple) -> None:
        list(begun[0])
        assert not multiprocessing.active_children()

    def test_end_when_the_trainer_stops_in_the_middle(self, begun: tuple) -> None:
        begun[0].close()
        assert not multiprocessing.active_children()

    def test_leave_the_signals_of_a_scheduler_to_the_trainer(self, begun: tuple) -> None:
        time.sleep(0.2)
        for worker in begun[1]:
            os.kill(worker.pid, signal.SIGTERM)
            os.kill(worker.pid, signal.SIGUSR1)
        assert len(list(begun[0])) == 29


def test_workers_die_with_a_killed_trainer(tmp_path: Path) -> None:
    make_lang(tmp_path / "lang")
    make_features(tmp_path / "fbank", "train", 30, seed=1)
    code = f"""
import sys, time, multiprocessing
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from egret.lang.lang import Lang
from egret.training.data import Corpus
from egret.training.loader import load_batches
corpus = Corpus([Path("fbank/train.jsonl")], Lang.read(Path("lang")), int, Path("rejected.jsonl"), 5.0)
loaded = load_batches(corpus, [[row] for row in range(30)], (1, 0), 2)
next(loaded)
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        workers = trainer.stdout.readline().split()
        trainer.kill()
    for _ in range(100):
        if not any(Path("/proc", pid).exists() and alive(pid) for pid in workers):
            break
        time.sleep(0.05)
    assert len(workers) == 2 and not any(Path("/proc", pid).exists() and alive(pid) for pid in workers)


def alive(pid: str) -> bool:
    """A process that ended and was not waited for yet is not."""
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

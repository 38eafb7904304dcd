"""Loading batches: nothing of an epoch is kept in memory or open after it, and a second start does not look again."""

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from egret.base.errors import EgretError
from egret.base.files import read_jsonl, write_jsonl
from egret.corpus.cuts import CutIndex
from egret.features.store import load_features
from egret.lang.lang import Lang
from egret.training import survey, trainer
from egret.training.data import Batch, Corpus
from egret.training.loader import load_batches
from egret.training.options import BatchOptions
from egret.training.plan import batches
from tiny import make_features, make_lang, rewrite

UTTERANCES = 60


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    make_lang(tmp_path / "lang")
    return make_features(tmp_path / "fbank", "train", UTTERANCES, seed=1)


def make_corpus(*manifests: Path, token_room: Callable[[int], int] = int, percent: float = 5.0) -> Corpus:
    folder = manifests[0].parents[1]
    rejected = folder / "exp" / "rejected_train.jsonl"
    return Corpus(list(manifests), Lang.read(folder / "lang"), token_room, rejected, percent)


@pytest.fixture
def corpus(manifest: Path) -> Corpus:
    return make_corpus(manifest)


def epoch(corpus: Corpus, number: int) -> Iterator[Batch]:
    return load_batches(corpus, batches(corpus.table, BatchOptions(max_duration=4.0), seed=1, epoch=number))


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
    assert sorted(name for batch in epoch(corpus, 0) for name in batch.ids) == sorted(corpus.table.ids)


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
    tmp_path: Path, manifest: Path, run_step: Callable[..., str], monkeypatch: pytest.MonkeyPatch, traced: None
) -> None:
    found = []
    train_epoch = trainer.train_epoch

    def measured(*given: Any) -> Any:
        done = train_epoch(*given)
        found.append(held())
        return done

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
            stored = load_features(corpus.cut(corpus.table.ids.index(name)))
            assert (features[:length].numpy() == stored).all()
            assert not features[length:].any()


def test_ids_of_many_cuts_take_little_more_memory_than_their_letters(tmp_path: Path, traced: None) -> None:
    count = 20_000
    with open(tmp_path / "many.jsonl", "w") as out:
        out.writelines(json.dumps({"id": f"an-utterance-{number:07d}"}) + "\n" for number in range(count))
    CutIndex(tmp_path / "many.jsonl")
    before = held()
    index = CutIndex(tmp_path / "many.jsonl")
    assert held() - before < 1.5 * count * (20 + 8 + 8)  # letters, where they end, where the cut begins
    assert index.ids[count - 1] == f"an-utterance-{count - 1:07d}"


class TestSeveralManifests:
    @pytest.fixture
    def corpus(self, tmp_path: Path, manifest: Path) -> Corpus:
        return make_corpus(manifest, make_features(tmp_path / "fbank", "more", 10, seed=2))

    def test_their_utterances_are_in_one_table(self, corpus: Corpus) -> None:
        names = [f"train-{number:03d}" for number in range(UTTERANCES)] + [f"more-{number:03d}" for number in range(10)]
        assert list(corpus.table.ids) == names

    def test_the_table_says_which_an_utterance_is_of(self, corpus: Corpus) -> None:
        assert corpus.table.parts.tolist() == [0] * UTTERANCES + [1] * 10

    def test_a_batch_mixes_them(self, corpus: Corpus) -> None:
        assert corpus.load([5, UTTERANCES + 5]).ids == ["train-005", "more-005"]

    def test_what_is_rejected_of_any_is_in_one_list(self, tmp_path: Path, corpus: Corpus) -> None:
        rewrite(tmp_path / "fbank/train.jsonl", {"train-007": "four"})
        rewrite(tmp_path / "fbank/more.jsonl", {"more-003": ""})
        make_corpus(tmp_path / "fbank/train.jsonl", tmp_path / "fbank/more.jsonl")
        found = [(row["id"], row["reason"]) for row in read_jsonl(tmp_path / "exp/rejected_train.jsonl")]
        assert found == [("train-007", "text outside the units"), ("more-003", "empty text")]

    def test_of_other_features_are_refused(self, tmp_path: Path, manifest: Path) -> None:
        rows = list(read_jsonl(manifest))
        for row in rows:
            row["features"]["num_features"] += 1
        (tmp_path / "fbank/wider.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(EgretError, match=r"train.jsonl has 8 features .* and .*wider.jsonl has 9 features a frame"):
            make_corpus(manifest, tmp_path / "fbank/wider.jsonl")

    def test_of_another_kind_of_features_are_refused(self, tmp_path: Path, manifest: Path) -> None:
        text = manifest.read_text().replace("made-up-fbank", "kaldifeat-mfcc")
        (tmp_path / "fbank/other.jsonl").write_text(text)
        with pytest.raises(EgretError, match=r"\(made-up-fbank\) and .*other.jsonl has 8 .*\(mfcc\); extract them"):
            make_corpus(manifest, tmp_path / "fbank/other.jsonl")


class TestASecondStart:
    @pytest.fixture(autouse=True)
    def looked(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """The manifests that were looked through."""
        found: list[Path] = []
        make = survey._make

        def noted(index: CutIndex, *given: Any) -> Any:
            found.append(index.path)
            return make(index, *given)

        monkeypatch.setattr(survey, "_make", noted)
        return found

    def test_reads_what_the_first_one_found(self, manifest: Path, looked: list[Path]) -> None:
        make_corpus(manifest)
        make_corpus(manifest)
        assert looked == [manifest]

    def test_finds_the_same(self, manifest: Path) -> None:
        rewrite(manifest, {"train-007": "four"})
        first, again = make_corpus(manifest), make_corpus(manifest)
        for name in ("lengths", "tokens", "places", "parts"):
            assert (getattr(first.table, name) == getattr(again.table, name)).all()
        rejected = read_jsonl(manifest.parents[1] / "exp/rejected_train.jsonl")
        assert [row["detail"] for row in rejected] == ["four"]

    def test_looks_again_at_a_manifest_that_has_changed(self, manifest: Path, looked: list[Path]) -> None:
        make_corpus(manifest)
        rewrite(manifest, {"train-007": "one two"})
        make_corpus(manifest)
        assert len(looked) == 2

    def test_looks_again_for_other_units(self, manifest: Path, looked: list[Path]) -> None:
        make_corpus(manifest)
        lexicon = manifest.parents[1] / "lang/lexicon.txt"
        lexicon.write_text(lexicon.read_text().replace("three three", "three one two"))
        make_corpus(manifest)
        assert len(looked) == 2

    def test_looks_again_where_what_was_kept_is_damaged(self, manifest: Path, looked: list[Path]) -> None:
        make_corpus(manifest)
        (kept,) = (manifest.parents[1] / "exp").glob(".*.safetensors")
        kept.write_bytes(kept.read_bytes()[:-5])
        make_corpus(manifest)
        assert len(looked) == 2

    def test_judges_by_the_model_that_it_is_for(self, manifest: Path) -> None:
        make_corpus(manifest)
        with pytest.raises(EgretError, match="too short for CTC: 60"):
            make_corpus(manifest, token_room=lambda frames: 0)


def test_cuts_without_features_name_the_way_out(tmp_path: Path, manifest: Path) -> None:
    rows = [{**row, "features": None} for row in read_jsonl(manifest)]
    for row in rows:
        del row["features"]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(EgretError, match=r"train.jsonl: train-000 has no features; give the manifest that stage 1"):
        make_corpus(manifest)


@pytest.fixture
def named(tmp_path: Path, manifest: Path) -> Callable[[int], Corpus]:
    """The corpus, normalised by speaker, with so many utterances that say theirs."""
    from egret.features.batching import Inputs
    from egret.features.normalise import Normaliser, SpeakerStats

    def make(count: int) -> Corpus:
        rows = list(read_jsonl(manifest))
        for row in rows[:count]:
            row["supervisions"][0]["speaker"] = "ann"
        write_jsonl(manifest, rows)
        inputs = Inputs(normalise=Normaliser(np.zeros(8), np.ones(8), SpeakerStats()))
        return Corpus([manifest], Lang.read(tmp_path / "lang"), int, tmp_path / "rejected.jsonl", 5.0, inputs)

    return make


def test_utterances_that_do_not_say_their_speaker_are_counted(named, caplog) -> None:
    total = len(named(7).table)
    assert f"{total - 7} of {total} utterances do not say their speaker (first: train-007)" in caplog.text


def test_a_corpus_without_speakers_is_not_normalised_by_them(named) -> None:
    with pytest.raises(EgretError, match="no utterance says its speaker .*take --normalise utterance"):
        named(0)

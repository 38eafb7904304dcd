"""Folders of Lhotse's Shar format, which Lhotse itself has written: any cut is read by itself, as from a manifest."""

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.base.files import write_jsonl
from egret.corpus import audio, shar
from egret.corpus.cuts import CutIndex
from egret.corpus.shar import manifest_of
from egret.features.batching import Inputs
from egret.features.options import FeatureOptions
from egret.features.store import load_features
from egret.lang.lang import Lang
from egret.training.data import Corpus
from egret.training.loader import load_batches
from tiny import WORDS, make_lang

lhotse = pytest.importorskip("lhotse")
RATE = 8000
CUTS = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Cuts of Lhotse's with recordings and features, whose ids have dots and slashes; the last has a second channel."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpus")
    random, cuts = np.random.default_rng(1), []
    with lhotse.NumpyFilesWriter(folder / "features") as store:
        for number in range(CUTS):
            name, channels = f"a/{number}.x", 1 + (number == CUTS - 1)
            samples = random.normal(scale=0.1, size=(RATE + number * 800, channels)).clip(-0.9, 0.9)
            soundfile.write(folder / f"{number}.wav", samples, RATE)
            recording = lhotse.Recording.from_file(folder / f"{number}.wav", recording_id=name)
            word = lhotse.SupervisionSegment(name, name, 0.0, recording.duration, text=WORDS[number % 3])
            cut = lhotse.MonoCut(name, 0.1, recording.duration - 0.1, channels - 1, [word], recording=recording)
            fbank = lhotse.Fbank(lhotse.FbankConfig(sampling_rate=RATE, num_filters=8))
            cuts.append(cut.compute_and_store_features(fbank, store))
    return lhotse.CutSet.from_cuts(cuts)


def write(corpus: Any, folder: Path, **fields: str) -> Path:
    folder.mkdir()
    corpus.to_shar(folder, fields=fields, shard_size=2, warn_unused_fields=False)
    return folder


def index(folder: Path) -> CutIndex:
    return CutIndex(manifest_of(folder, folder.parent / "elsewhere.jsonl"))


@pytest.fixture
def folder(corpus: Any, tmp_path: Path) -> Path:
    return write(corpus, tmp_path / "shar", features="numpy", recording="wav")


class TestReading:
    @pytest.mark.parametrize("kind", ["lilcom", "numpy"])
    def test_features_are_those_that_lhotse_reads(self, corpus: Any, tmp_path: Path, kind: str) -> None:
        cuts = index(write(corpus, tmp_path / "shar", features=kind))
        for place, cut in enumerate(lhotse.CutSet.from_shar(in_dir=tmp_path / "shar")):
            assert (load_features(cuts.at(place)) == cut.load_features()).all()

    @pytest.mark.parametrize("kind", ["wav", "flac"])
    def test_samples_are_those_that_lhotse_reads(self, corpus: Any, tmp_path: Path, kind: str) -> None:
        cuts = index(write(corpus, tmp_path / "shar", recording=kind))
        for place, cut in enumerate(lhotse.CutSet.from_shar(in_dir=tmp_path / "shar")):
            assert (audio.load(cuts.at(place))[0] == cut.load_audio()[0]).all()

    def test_the_last_cut_is_read_without_those_before_it(self, folder: Path) -> None:
        cuts = index(folder)
        for path in folder.glob("*.00000[01].*"):
            path.unlink()
        assert load_features(cuts.at(CUTS - 1)).shape[1] == 8

    def test_ids_and_texts_are_those_of_the_cuts(self, corpus: Any, folder: Path) -> None:
        found = [(cut["id"], cut["supervisions"][0]["text"]) for cut in index(folder)]
        assert found == [(cut.id, cut.supervisions[0].text) for cut in corpus]

    def test_a_cut_without_features_has_none(self, corpus: Any, tmp_path: Path) -> None:
        bare = lhotse.CutSet.from_cuts(cut.drop_features() if cut.id == "a/1.x" else cut for cut in corpus)
        cuts = index(write(bare, tmp_path / "shar", features="numpy"))
        assert [("features" in cut) for cut in cuts] == [True, False, True, True, True]


class TestTheManifest:
    def test_lies_beside_the_folder_in_which_nothing_is_written(self, folder: Path) -> None:
        before = sorted(folder.iterdir())
        assert index(folder).path == folder.parent / "shar.shar.jsonl"
        assert sorted(folder.iterdir()) == before

    def test_is_not_made_again(self, folder: Path) -> None:
        before = index(folder).path.stat().st_mtime_ns
        assert index(folder).path.stat().st_mtime_ns == before

    def test_is_made_again_when_a_shard_has_changed(self, folder: Path) -> None:
        before = index(folder).path.stat().st_mtime_ns
        os.utime(folder / "features.000001.tar", ns=(1, 1))
        assert index(folder).path.stat().st_mtime_ns > before

    def test_lies_elsewhere_when_it_cannot_lie_there(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(path: Path, *rows: Any) -> int:
            if path.name == "shar.shar.jsonl":
                raise PermissionError(13, "Permission denied", str(path))
            return write_jsonl(path, *rows)

        monkeypatch.setattr(shar, "write_jsonl", refused)
        assert index(folder).path == folder.parent / "elsewhere.jsonl"
        assert index(folder).at(3)["id"] == "a/3.x"


class TestTraining:
    def make(self, manifest: Path, tmp_path: Path, inputs: Inputs) -> Corpus:
        lang = tmp_path / "lang"
        return Corpus([manifest], Lang.read(lang if lang.exists() else make_lang(lang)), int,
                      tmp_path / "exp/rejected.jsonl", 5.0, inputs)  # fmt: skip

    @pytest.mark.parametrize("workers", [0, 2])
    def test_batches_of_features_are_those_of_a_manifest(
        self, corpus: Any, folder: Path, tmp_path: Path, workers: int
    ) -> None:
        corpus.to_file(tmp_path / "plain.jsonl")
        plain = self.make(tmp_path / "plain.jsonl", tmp_path, Inputs())
        rows = [np.array([3, 1]), np.array([0, 4]), np.array([2])]
        due = list(load_batches(plain, rows))
        found = list(load_batches(self.make(folder, tmp_path, Inputs()), rows, workers=workers))
        assert [batch.ids for batch in found] == [batch.ids for batch in due]
        assert all((a.features == b.features).all() for a, b in zip(found, due, strict=True))

    def test_features_are_computed_of_recordings(self, corpus: Any, tmp_path: Path) -> None:
        folder = write(corpus, tmp_path / "shar", recording="flac")
        inputs = Inputs("computed", FeatureOptions(sampling_rate=RATE, num_mel_bins=8))
        batch = self.make(folder, tmp_path, inputs).load([4])
        assert batch.features.shape == (1, 130, 8)


class TestErrors:
    def test_a_folder_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(EgretError, match="no Shar of Lhotse's"):
            index(tmp_path)

    def test_a_missing_shard(self, folder: Path) -> None:
        (folder / "features.000001.tar").unlink()
        with pytest.raises(EgretError, match=r"not whole \(3 of cuts, 2 of features, 3 of recording\)"):
            index(folder)

    def test_a_truncated_shard(self, folder: Path) -> None:
        path = folder / "features.000001.tar"
        path.write_bytes(path.read_bytes()[:1500])
        with pytest.raises(EgretError, match=r"features.000001.tar: (not a whole shard|no more data)"):
            index(folder)

    def test_data_of_another_cut(self, folder: Path) -> None:
        (folder / "features.000001.tar").write_bytes((folder / "features.000000.tar").read_bytes())
        with pytest.raises(EgretError, match=r"the data of a/0.x where that of a/2.x is due"):
            index(folder)

    def test_data_that_cannot_be_read(self, folder: Path, tmp_path: Path) -> None:
        with tarfile.open(folder / "features.000002.tar", "w") as tar:
            for ending in ("xyz", "json"):
                (tmp_path / "x").write_text("{}" if ending == "xyz" else '{"num_frames": 1}')
                tar.add(tmp_path / "x", f"a/4.x.{ending}")
        with pytest.raises(EgretError, match=r"a/4.x.xyz cannot be read; write the Shar with features as lilcom"):
            index(folder)

    def test_a_shard_that_was_cut_off_later(self, folder: Path) -> None:
        cut = index(folder).at(1)
        Path(cut["features"]["storage_path"]).write_bytes(b"x" * 100)
        with pytest.raises(EgretError, match=r"features of a/1.x cannot be read \(the shard ends before they do\)"):
            load_features(cut)

    def test_two_cuts_with_one_id(self, corpus: Any, tmp_path: Path) -> None:
        first = next(iter(corpus))
        folder = write(lhotse.CutSet([first, first]), tmp_path / "shar", features="numpy")
        with pytest.raises(EgretError, match="two cuts have the id 'a/0.x'"):
            index(folder)

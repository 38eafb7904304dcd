"""Features on disk: what is stored is what is loaded, by this project and by Lhotse."""

import copy
import json

import numpy as np
import pytest

from egret.base.errors import EgretError
from egret.features import hdf5
from egret.features.extractor import make_extractor
from egret.features.options import FeatureOptions
from egret.features.store import ARCHIVES, load_features, load_samples
from recordings import RNG, recording, store


class TestStorage:
    OPTIONS = FeatureOptions(num_mel_bins=40)

    @pytest.fixture(params=list(ARCHIVES))
    def storage(self, request):
        return request.param

    @pytest.fixture
    def stored(self, tmp_path, storage):
        """(features, cut) of recordings of less than a chunk, exactly one, and several."""
        _, extract = make_extractor(self.OPTIONS)
        pairs = []
        for name, samples in (("short", 4000), ("chunk", 80_000), ("long", 250_001)):
            cut = recording(tmp_path, name, samples)
            pairs.append((cut, extract([load_samples(cut, self.OPTIONS)])[0]))
        cuts = store(tmp_path, pairs, self.OPTIONS, storage)
        return list(zip([features for _, features in pairs], cuts, strict=True))

    def test_values_are_off_by_no_more_than_is_said(self, stored, storage):
        most = {"lilcom": 1 / 64 + 1e-6, "float16": 1 / 256}[storage]
        for features, cut in stored:
            assert np.abs(features).max() < 16
            assert 0 < np.abs(load_features(cut) - features).max() <= most

    def test_they_come_back_as_float32(self, stored):
        assert all(load_features(cut).dtype == np.float32 for _, cut in stored)

    def test_storing_does_not_change_the_features(self, tmp_path, storage):
        features = RNG.normal(0, 3, (100, 40)).astype(np.float32)
        before = features.copy()
        store(tmp_path, [(recording(tmp_path), features)], self.OPTIONS, storage)
        assert (features == before).all()

    def test_an_archive_is_the_same_bytes_every_time(self, tmp_path, storage):
        pairs = [(recording(tmp_path), RNG.normal(0, 3, (100, 40)).astype(np.float32))]
        contents = set()
        for _ in range(2):
            store(tmp_path, pairs, self.OPTIONS, storage)
            contents.add((tmp_path / "archive").read_bytes())
        assert len(contents) == 1

    def test_values_beyond_float16_are_clipped(self, tmp_path):
        features = np.full((100, 40), 1e6, np.float32)
        features[0] = -1e6
        [cut] = store(tmp_path, [(recording(tmp_path), features)], self.OPTIONS, "float16")
        assert set(load_features(cut).flat) == {-65504.0, 65504.0}

    def test_lhotse_reads_the_same(self, stored, tmp_path):
        from lhotse import CutSet

        (tmp_path / "cuts.jsonl").write_text("".join(json.dumps(cut) + "\n" for _, cut in stored))
        cuts = CutSet.from_jsonl(tmp_path / "cuts.jsonl")
        for _, cut in stored:
            assert (cuts[cut["id"]].load_features() == load_features(cut)).all()

    def test_hdf5_files_of_others_are_read_through_lhotse(self, tmp_path):
        """A key that is a number of bytes into the file is theirs, not ours."""
        from lhotse import NumpyHdf5Writer

        features = RNG.normal(0, 3, (100, 40)).astype(np.float16)
        with NumpyHdf5Writer(tmp_path / "others.h5") as writer:
            key = writer.write("2048", features)
        place = {"storage_type": "numpy_hdf5", "storage_path": str(tmp_path / "others.h5"), "storage_key": key}
        read = load_features({"id": "a", "features": place})
        assert read.dtype == np.float32 and (read == features).all()

    def test_archives_of_others_are_read_through_lhotse(self, tmp_path):
        from lhotse import NumpyFilesWriter

        features = RNG.normal(0, 3, (100, 40)).astype(np.float32)
        key = NumpyFilesWriter(tmp_path / "npy").write("a", features)
        place = {"storage_type": "numpy_files", "storage_path": str(tmp_path / "npy"), "storage_key": key}
        assert (load_features({"id": "a", "features": place}) == features).all()

    def test_a_cut_out_of_the_middle_of_a_recording(self, tmp_path):
        import lhotse

        whole = recording(tmp_path, samples=32000)
        cut = {**recording(tmp_path, samples=32000, start=0.5, duration=1.0), "id": "middle"}
        samples = load_samples(cut, self.OPTIONS)
        assert (samples == load_samples(whole, self.OPTIONS)[8000:24000]).all()
        [placed] = store(tmp_path, [(cut, make_extractor(self.OPTIONS)[1]([samples])[0])], self.OPTIONS)
        assert load_features(placed).shape == (100, 40)
        assert (lhotse.MonoCut.from_dict(copy.deepcopy(placed)).load_features() == load_features(placed)).all()

    def test_a_batch_is_padded_with_zeros(self, stored):
        from egret.features.batching import load_batch

        features, lengths = load_batch([cut for _, cut in stored])
        assert features.shape == (3, 1563, 40) and lengths.tolist() == [25, 500, 1563]
        assert not features[0, 25:].any()
        assert (features[1, :500].numpy() == load_features(stored[1][1])).all()

    def test_features_of_another_length_are_refused(self, tmp_path):
        with pytest.raises(EgretError, match="a: 99 frames where 100 are due"):
            store(tmp_path, [(recording(tmp_path), np.zeros((99, 40), np.float32))], self.OPTIONS)

    def test_a_missing_archive(self, stored, tmp_path):
        (tmp_path / "archive").unlink()
        with pytest.raises(EgretError, match=r"archive: no such archive, in which \S+ has its features; run stage 1"):
            load_features(stored[0][1])

    def test_a_missing_archive_whose_path_is_relative(self, stored, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        stored[0][1]["features"]["storage_path"] = "data/archive"
        with pytest.raises(EgretError, match=f"relative to, not {tmp_path}, or run stage 1 again"):
            load_features(stored[0][1])

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
    def test_a_truncated_archive(self, stored, tmp_path, kept):
        data = (tmp_path / "archive").read_bytes()
        (tmp_path / "archive").write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(EgretError, match=r"archive: the features of long cannot be read .*stage 1 again"):
            load_features(stored[2][1])

    def test_a_damaged_archive(self, stored, tmp_path):
        size = (tmp_path / "archive").stat().st_size
        (tmp_path / "archive").write_bytes(b"\xff" * size)
        with pytest.raises(EgretError, match="cannot be read"):
            load_features(stored[0][1])

    @pytest.mark.parametrize("storage", ["float16"], indirect=True)
    def test_an_archive_without_the_features(self, stored):
        stored[0][1]["features"]["storage_key"] = "of-others"
        with pytest.raises(EgretError, match=r"the features of .* cannot be read"):
            load_features(stored[0][1])

    @pytest.mark.parametrize("storage", ["float16"], indirect=True)
    def test_another_archive_in_its_place(self, stored, tmp_path):
        """As by a broken-off run with other options."""
        others = [(recording(tmp_path, f"b{n}", 16000 + n), np.zeros((100, 20), np.float32)) for n in range(9)]
        store(tmp_path, others, FeatureOptions(num_mel_bins=20), "float16")
        with pytest.raises(EgretError, match="others are in their place"):
            load_features(stored[0][1])


class TestHdf5:
    """Files written without the HDF5 library, read by it."""

    @pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 9000])
    def test_every_matrix_is_found_by_its_name(self, tmp_path, count):
        import h5py

        matrices = [RNG.normal(0, 3, (1 + number % 7, 3)).astype(np.float16) for number in range(count)]
        with open(tmp_path / "a.h5", "wb") as file:
            writer = hdf5.Writer(file)
            names = [writer.add(matrix) for matrix in matrices]
            writer.finish()
        with h5py.File(tmp_path / "a.h5") as file:
            assert list(file) == names
            assert all((file[name][:] == matrix).all() for name, matrix in zip(names, matrices, strict=True))

    def test_the_library_knows_the_type(self, tmp_path):
        import h5py

        with open(tmp_path / "a.h5", "wb") as file:
            writer = hdf5.Writer(file)
            name = writer.add(np.zeros((2, 3), np.float16))
            writer.finish()
        with h5py.File(tmp_path / "a.h5") as file:
            assert file[name].dtype == np.float16 and file[name].id.get_type().equal(h5py.h5t.IEEE_F16LE)

"""steps/extract_features.py from cuts to manifests with features, over any number of jobs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egret.base.files import read_json, read_jsonl, write_jsonl
from egret.corpus.cuts import CutIndex, write_cuts
from egret.features.extractor import make_extractor
from egret.features.options import FeatureOptions, num_frames
from egret.features.stats import Stats
from egret.features.store import load_features, load_samples

ROOT = Path(__file__).resolve().parents[1]
RATE = 8000
OPTIONS = ["--features.sampling-rate", "8000", "--features.num-mel-bins", "23"]
FBANK = FeatureOptions(sampling_rate=RATE, num_mel_bins=23)


@pytest.fixture
def corpus(tmp_path):
    """Manifests of seven and two recordings, all of different lengths."""
    import soundfile

    rng = np.random.default_rng(1)
    (tmp_path / "wav").mkdir()
    (tmp_path / "cuts").mkdir()
    for part, count in (("train", 7), ("test", 2)):
        cuts = []
        for number in range(count):
            name, samples = f"{part}{number}", 4000 + 777 * number
            path = tmp_path / "wav" / f"{name}.wav"
            soundfile.write(path, rng.normal(0, 0.1, samples), RATE)
            source = {"type": "file", "channels": [0], "source": str(path)}
            sound = {"sampling_rate": RATE, "num_samples": samples, "duration": samples / RATE, "channel_ids": [0]}
            cut = {"id": name, "start": 0.0, "duration": samples / RATE, "channel": 0, "supervisions": []}
            cuts.append({**cut, "recording": {"id": name, "sources": [source], **sound}, "type": "MonoCut"})
        write_cuts(tmp_path / "cuts" / f"{part}.jsonl", cuts)
    return tmp_path


@pytest.fixture
def extract(corpus, run_step):
    def run(*words, parts=("train", "test"), out="fbank", code=0):
        manifests = [f"cuts/{part}.jsonl" for part in parts]
        return run_step("extract_features", corpus, "--cuts", *manifests, "--out", out, *OPTIONS, *words, code=code)

    return run


def features_of(manifest):
    return {cut["id"]: load_features(cut) for cut in read_jsonl(manifest)}


class TestOutput:
    def test_every_cut_as_it_was_with_features_added_in_order(self, corpus, extract):
        extract()
        for part in ("train", "test"):
            given = list(read_jsonl(corpus / "cuts" / f"{part}.jsonl"))
            found = list(read_jsonl(corpus / "fbank" / f"{part}.jsonl"))
            assert [{**cut, "features": None} for cut in given] == [{**cut, "features": None} for cut in found]

    def test_the_features_are_those_of_the_recordings(self, corpus, extract):
        extract()
        _, compute = make_extractor(FBANK)
        for cut in read_jsonl(corpus / "fbank" / "train.jsonl"):
            assert np.abs(load_features(cut) - compute([load_samples(cut, FBANK)])[0]).max() <= 1 / 64 + 1e-6

    def test_lhotse_reads_the_same(self, corpus, extract):
        from lhotse import CutSet

        extract("--nj", "2")
        cuts = CutSet.from_jsonl(corpus / "fbank" / "train.jsonl")
        for name, features in features_of(corpus / "fbank" / "train.jsonl").items():
            assert (cuts[name].load_features() == features).all()

    def test_mean_and_deviation_are_numpys_over_all_frames(self, corpus, extract):
        extract("--nj", "3")
        _, compute = make_extractor(FBANK)
        cuts = list(read_jsonl(corpus / "cuts" / "train.jsonl"))
        frames = np.concatenate(compute([load_samples(cut, FBANK) for cut in cuts])).astype(np.float64)
        stats = Stats.load(corpus / "fbank" / "train.stats.safetensors")
        assert stats.frames == len(frames)
        mean, deviation = stats.mean_and_deviation()
        np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(deviation, frames.std(axis=0), rtol=1e-5)

    def test_the_report(self, corpus, extract):
        assert "train: 7 utterances in and out" in extract("--features.extractor", "lhotse")
        report = read_json(corpus / "fbank" / "report.json")
        assert report["extractor"] == "lhotse"
        assert {name: part["utterances"] for name, part in report["parts"].items()} == {"train": 7, "test": 2}
        frames = sum(map(len, features_of(corpus / "fbank" / "test.jsonl").values()))
        assert report["parts"]["test"]["frames"] == frames

    def test_others_may_read_it(self, corpus, extract):
        extract()
        modes = {path.stat().st_mode & 0o777 for path in (corpus / "fbank").rglob("*") if path.is_file()}
        assert len(modes) == 1


class TestStorage:
    def test_float16_is_closer_to_the_features(self, corpus, extract):
        extract("--storage", "float16", "--nj", "2")
        _, compute = make_extractor(FBANK)
        for cut in read_jsonl(corpus / "fbank" / "train.jsonl"):
            assert np.abs(load_features(cut) - compute([load_samples(cut, FBANK)])[0]).max() <= 1 / 256

    def test_lhotse_reads_float16(self, corpus, extract):
        from lhotse import CutSet

        extract("--storage", "float16", "--nj", "2")
        cuts = CutSet.from_jsonl(corpus / "fbank" / "train.jsonl")
        for name, features in features_of(corpus / "fbank" / "train.jsonl").items():
            assert (cuts[name].load_features() == features).all()

    def test_the_other_storage_is_a_reason_and_leaves_nothing_of_the_first(self, corpus, extract):
        extract()
        assert "again, because: storage lilcom -> float16" in extract("--storage", "float16")
        assert {path.name for path in (corpus / "fbank").rglob("t*.*5")} == {"train.h5", "test.h5"}
        assert not list((corpus / "fbank").rglob("*.lca"))

    def test_a_damaged_archive_of_float16_is_made_again(self, corpus, extract):
        extract("--storage", "float16")
        archive = corpus / "fbank" / "split1" / "1" / "train.h5"
        whole = archive.read_bytes()
        archive.write_bytes(whole[:1000])
        assert "output split1/1/train.h5 changed" in extract("--storage", "float16")
        assert archive.read_bytes() == whole

    def test_broken_off_half_way_there_is_no_archive_and_run_again_a_whole_one(self, corpus, extract, monkeypatch):
        from egret.features import store

        def add(self, cut, features):
            if cut["id"] == "train3":
                raise KeyboardInterrupt
            return whole(self, cut, features)

        extract("--storage", "float16", out="whole")
        whole = store.Archive.add
        with monkeypatch.context() as patched:
            patched.setattr(store.Archive, "add", add)
            assert "interrupted" in extract("--storage", "float16", code=130)
        assert not [path for path in (corpus / "fbank").rglob("*") if ".h5" in path.name]
        extract("--storage", "float16")
        one, other = (corpus / out / "split1" / "1" / "train.h5" for out in ("whole", "fbank"))
        assert one.read_bytes() == other.read_bytes()


class TestJobs:
    @pytest.mark.parametrize("jobs", [2, 3, 9])
    def test_any_number_of_jobs_gives_the_same(self, corpus, extract, jobs):
        """Nine are more than there are utterances."""
        extract(out="one")
        extract("--nj", str(jobs), out="many")
        for part in ("train", "test"):
            one, many = features_of(corpus / "one" / f"{part}.jsonl"), features_of(corpus / "many" / f"{part}.jsonl")
            assert list(one) == list(many)
            assert all((one[name] == many[name]).all() for name in one)
            sums = [Stats.load(corpus / out / f"{part}.stats.safetensors") for out in ("one", "many")]
            np.testing.assert_allclose(sums[0].total, sums[1].total)

    def test_under_a_launcher(self, corpus, extract):
        extract(out="one")
        command = [sys.executable, ROOT / "steps" / "extract_features.py", "--cmd", str(ROOT / "utils" / "run.py")]
        command += ["--cuts", "cuts/train.jsonl", "--out", "many", "--nj", "2", *OPTIONS]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=corpus, env=environment, check=True, capture_output=True)
        one, many = features_of(corpus / "one" / "train.jsonl"), features_of(corpus / "many" / "train.jsonl")
        assert list(one) == list(many) and all((one[name] == many[name]).all() for name in one)

    def test_shares_of_another_number_of_jobs_are_removed(self, corpus, extract):
        extract("--nj", "3")
        (corpus / "fbank" / "split-notes.txt").touch()
        extract("--nj", "2", "--force")
        assert {path.name for path in (corpus / "fbank").glob("split*")} == {"split2", "split-notes.txt"}

    def test_jobs_that_used_different_extractors_are_not_mixed(self, corpus, extract):
        extract("--nj", "2", "--job", "1")
        extract("--nj", "2", "--job", "2")
        (corpus / "fbank" / "split2" / "2" / "extractor.json").write_text('{"extractor": "other"}')
        assert "the jobs used different extractors" in extract("--nj", "2", code=1)


class TestRunningAgain:
    def test_up_to_date(self, extract):
        extract()
        assert "up to date" in extract("--nj", "2", "--features.num-mel-bins=23")

    def test_another_option_is_a_reason(self, corpus, extract):
        extract()
        said = extract("--features.num-mel-bins", "30")
        assert "again, because: features.num_mel_bins 23 -> 30" in said
        assert features_of(corpus / "fbank" / "train.jsonl")["train0"].shape[1] == 30

    @pytest.mark.parametrize("damage", ["gone", "truncated"])
    def test_a_damaged_archive_is_a_reason(self, corpus, extract, damage):
        extract("--nj", "2")
        archive = corpus / "fbank" / "split2" / "2" / "train.lca"
        whole = archive.read_bytes()
        archive.unlink() if damage == "gone" else archive.write_bytes(whole[:1000])
        assert "output split2/2/train.lca" in extract("--nj", "2")
        assert archive.read_bytes() == whole

    def test_an_archive_that_a_broken_off_run_with_other_options_replaced_is_a_reason(self, corpus, extract):
        extract("--nj", "2")
        extract("--nj", "2", "--job", "1", "--features.num-mel-bins", "30")
        assert "output split2/1/train.lca changed" in extract("--nj", "2")
        assert {features.shape[1] for features in features_of(corpus / "fbank" / "train.jsonl").values()} == {23}

    def test_force(self, corpus, extract):
        extract()
        before = (corpus / "fbank" / "split1" / "1" / "train.lca").stat().st_ino
        extract("--force")
        assert (corpus / "fbank" / "split1" / "1" / "train.lca").stat().st_ino != before


class TestMistakes:
    def test_a_recording_is_gone(self, corpus, extract):
        (corpus / "wav" / "train3.wav").unlink()
        said = extract(code=1)
        assert re.search(r"train3 \(.*train3\.wav\): missing.*run stage 0 again", said)
        assert not (corpus / "fbank" / "train.jsonl").exists()
        assert not list((corpus / "fbank").rglob("*.tmp"))

    def test_a_recording_has_changed(self, corpus, extract):
        shutil.copy(corpus / "wav" / "train0.wav", corpus / "wav" / "train3.wav")
        assert "run stage 0 again" in extract(code=1)

    def test_a_part_twice(self, corpus, extract):
        (corpus / "cuts" / "more").mkdir()
        shutil.copy(corpus / "cuts" / "train.jsonl", corpus / "cuts" / "more" / "train.jsonl")
        assert "two manifests have the same name" in extract(parts=["train", "more/train"], code=2)

    def test_no_manifest(self, extract):
        assert "--cuts cuts/dev.jsonl: not there; it is made by stage 0" in extract(parts=["dev"], code=1)

    @pytest.mark.parametrize("line", ["{", "[]", '{"name": 1}'])
    def test_a_damaged_manifest(self, corpus, extract, line):
        (corpus / "cuts" / "train.jsonl").write_text(line + "\n")
        assert "cuts/train.jsonl:1: not" in extract(code=1)

    def test_another_sampling_rate(self, extract):
        said = extract("--features.sampling-rate", "16000", code=1)
        assert "train0: 8000 samples a second where --features.sampling-rate is 16000" in said

    def test_frequencies_that_the_recordings_do_not_have(self, extract):
        assert "--features.high-freq" in extract("--features.high-freq", "7600", code=2)

    def test_kaldifeat_asked_for_and_not_there(self, extract, monkeypatch):
        monkeypatch.setitem(sys.modules, "kaldifeat", None)
        assert "kaldifeat cannot be imported" in extract("--features.extractor", "kaldifeat", code=1)

    def test_kaldifeat_not_there(self, corpus, extract, monkeypatch):
        monkeypatch.setitem(sys.modules, "kaldifeat", None)
        assert "kaldifeat is not installed: Lhotse's own filter banks take over" in extract()
        assert read_json(corpus / "fbank" / "report.json")["extractor"] == "lhotse"
        [kind] = {cut["features"]["type"] for cut in read_jsonl(corpus / "fbank" / "train.jsonl")}
        assert kind == "lhotse-fbank"


def test_compressed_manifests(corpus, extract, run_step):
    extract()
    write_jsonl(corpus / "cuts" / "train.jsonl.gz", read_jsonl(corpus / "cuts" / "train.jsonl"))
    run_step("extract_features", corpus, "--cuts", "cuts/train.jsonl.gz", "--out", "zipped", *OPTIONS)
    one, other = features_of(corpus / "fbank" / "train.jsonl"), features_of(corpus / "zipped" / "train.jsonl")
    assert list(one) == list(other)


def test_a_cut_is_plain_json(corpus, extract):
    extract()
    for line in (corpus / "fbank" / "train.jsonl").read_text().splitlines():
        assert json.loads(line)["features"]["storage_type"] == "lilcom_chunky"


class TestSpeeds:
    @pytest.fixture
    def perturbed(self, corpus, extract):
        """The training part at three speeds, the test part as it is."""
        extract("--train-cuts", "cuts/train.jsonl", "--speeds=[0.9,1.0,1.1]", "--nj", "2", parts=["test"])
        return list(read_jsonl(corpus / "fbank" / "train.jsonl"))

    def test_each_training_cut_stands_beside_its_copies(self, corpus, perturbed):
        expected = [f"train{number}{suffix}" for number in range(7) for suffix in ("_sp0.9", "", "_sp1.1")]
        assert [cut["id"] for cut in perturbed] == expected
        assert CutIndex(corpus / "fbank" / "train.jsonl").at(5)["id"] == "train1_sp1.1"

    def test_other_parts_are_not_perturbed(self, corpus, perturbed):
        assert list(features_of(corpus / "fbank" / "test.jsonl")) == ["test0", "test1"]

    def test_cuts_at_speed_one_have_the_features_they_have_alone(self, corpus, extract, perturbed):
        extract(out="plain")
        for name, features in features_of(corpus / "plain" / "train.jsonl").items():
            assert (features == features_of(corpus / "fbank" / "train.jsonl")[name]).all()

    def test_lhotse_reads_them(self, corpus, perturbed):
        from lhotse import CutSet

        cuts = CutSet.from_jsonl(corpus / "fbank" / "train.jsonl")
        for cut, row in zip(cuts, perturbed, strict=True):
            assert cut.load_features().shape == (row["features"]["num_frames"], 23)
            assert cut.num_frames == row["features"]["num_frames"] == num_frames(cut.num_samples, FBANK)

    def test_the_sums_are_over_all_speeds(self, corpus, perturbed):
        frames = sum(cut["features"]["num_frames"] for cut in perturbed)
        assert Stats.load(corpus / "fbank" / "train.stats.safetensors").frames == frames

    def test_what_it_says(self, extract):
        said = extract("--train-cuts", "cuts/train.jsonl", "--speeds", "1.0", "1.1", parts=["test"])
        assert "train: 14 utterances in and out of 7 at speeds 1.0, 1.1" in said

    @pytest.mark.parametrize("given, said", [
        (["--speeds", "0.9", "0.9"], "--speeds 0.9 0.9: give each speed once"),
        (["--speeds", "0.9", "1"], "--speeds: only the cuts of --train-cuts are perturbed"),
        (["--train-cuts", "cuts/train.jsonl", "--speeds", "0.4"], "--speeds 0.4: must be at least 0.5"),
        (["--train-cuts", "cuts/train.jsonl", "--speeds", "0.98765"], "--speeds 0.98765: give it with two decimals"),
        (["--train-cuts", "cuts/test.jsonl"], "two manifests have the same name"),
    ])  # fmt: skip
    def test_mistakes(self, extract, given, said):
        assert said in extract(*given, parts=["test"], code=2)

    def test_no_manifest_at_all(self, corpus, run_step):
        assert "--train-cuts, --cuts or both" in run_step("extract_features", corpus, "--out", "fbank", code=2)

    def test_cuts_that_lhotse_perturbs_as_it_reads_are_refused(self, corpus, extract, perturbed):
        assert "give the cuts of stage 0" in extract(parts=["../fbank/train"], out="twice", code=1)


class TestCopies:
    HISS = ("--augment.gaussian-snr", "10", "20", "--augment.gaussian-probability", "1")

    @pytest.fixture
    def augmented(self, corpus, extract):
        def run(*words, code=0, how=self.HISS, **more):
            given = ["--train-cuts", "cuts/train.jsonl", "--copies", "2", *how, *words]
            return extract(*given, parts=["test"], code=code, **more)

        return run

    def test_each_cut_stands_before_its_copies(self, corpus, augmented):
        augmented("--nj", "2", "--speeds", "1.0", "1.1")
        found = [cut["id"] for cut in read_jsonl(corpus / "fbank" / "train.jsonl")][:6]
        assert found == [f"train0{speed}{copy}" for speed in ("", "_sp1.1") for copy in ("", "_aug1", "_aug2")]

    def test_cuts_as_they_are_have_the_features_they_have_alone(self, corpus, extract, augmented):
        augmented()
        extract(out="plain")
        copied = features_of(corpus / "fbank" / "train.jsonl")
        for name, features in features_of(corpus / "plain" / "train.jsonl").items():
            assert (features == copied[name]).all()

    def test_copies_differ(self, corpus, augmented):
        augmented()
        found = features_of(corpus / "fbank" / "train.jsonl")
        kinds = [found["train0" + suffix].tobytes() for suffix in ("", "_aug1", "_aug2")]
        assert len(set(kinds)) == 3

    def test_other_parts_are_not_augmented(self, corpus, augmented):
        augmented()
        assert list(features_of(corpus / "fbank" / "test.jsonl")) == ["test0", "test1"]

    def test_any_number_of_jobs_gives_the_same(self, corpus, augmented):
        augmented(out="one")
        augmented("--nj", "3", out="many")
        one, many = (features_of(corpus / out / "train.jsonl") for out in ("one", "many"))
        assert list(one) == list(many) and all((one[name] == many[name]).all() for name in one)

    def test_another_seed_gives_others(self, corpus, augmented):
        augmented(out="one")
        augmented("--seed", "2", out="other")
        one, other = (features_of(corpus / out / "train.jsonl")["train0_aug1"] for out in ("one", "other"))
        assert (one != other).any()

    def test_the_sums_are_over_all_copies(self, corpus, augmented):
        augmented()
        frames = sum(cut["features"]["num_frames"] for cut in read_jsonl(corpus / "fbank" / "train.jsonl"))
        assert Stats.load(corpus / "fbank" / "train.stats.safetensors").frames == frames

    def test_what_was_done_is_said(self, corpus, augmented):
        assert "21 utterances in and out of 7, each with 2 augmented copies" in augmented()
        [done] = (cut["custom"]["augmented"] for cut in read_jsonl(corpus / "fbank" / "train.jsonl")
                  if cut["id"] == "train3_aug2")  # fmt: skip
        assert 10 <= done["gaussian_snr"] <= 20

    def test_lhotse_reads_them(self, corpus, augmented):
        from lhotse import CutSet
        from lhotse.qa import validate

        augmented(how=["--augment.speeds", "0.9", "1.1"])
        rows = list(read_jsonl(corpus / "fbank" / "train.jsonl"))
        cuts = CutSet.from_jsonl(corpus / "fbank" / "train.jsonl").to_eager()
        validate(cuts)
        assert [cut.load_features().shape[0] for cut in cuts] == [row["features"]["num_frames"] for row in rows]

    def test_a_copy_of_another_length_has_its_own_times(self, corpus, augmented):
        manifest = corpus / "cuts" / "train.jsonl"
        cuts = list(read_jsonl(manifest))
        spoken = {"id": "s", "recording_id": "train0", "start": 0.1, "duration": 0.2, "text": "YES"}
        cuts[0]["supervisions"] = [{**spoken, "channel": 0, "alignment": {"word": [["YES", 0.1, 0.2]]}}]
        write_cuts(manifest, cuts)
        augmented(how=["--augment.speeds", "0.8"])
        copy = list(read_jsonl(corpus / "fbank" / "train.jsonl"))[1]
        [found] = copy["supervisions"]
        assert (copy["duration"], found["start"], found["duration"]) == pytest.approx((0.625, 0.125, 0.25))
        assert "alignment" not in found

    def test_noise_and_rooms_from_folders(self, corpus, augmented):
        (corpus / "rooms").mkdir()
        shutil.copy(corpus / "wav" / "test0.wav", corpus / "rooms")
        augmented(how=["--augment.noise", "wav", "--augment.rirs", "rooms", "--augment.noise-probability", "1"])
        done = [cut["custom"]["augmented"] for cut in read_jsonl(corpus / "fbank" / "train.jsonl") if "custom" in cut]
        assert len(done) == 14 and {each["noise"][:4] for each in done} == {"wav/"}
        assert {each.get("rir") for each in done} == {None, "rooms/test0.wav"}

    def test_another_noise_is_a_reason(self, corpus, augmented):
        (corpus / "noise").mkdir()
        shutil.copy(corpus / "wav" / "test0.wav", corpus / "noise")
        augmented(how=["--augment.noise", "noise"])
        assert "up to date" in augmented(how=["--augment.noise", "noise"])
        shutil.copy(corpus / "wav" / "test1.wav", corpus / "noise")
        assert "input --augment.noise noise changed" in augmented(how=["--augment.noise", "noise"])

    def test_without_copies_the_stamp_says_nothing_of_them(self, corpus, extract):
        """What was extracted before there were any stays up to date."""
        extract()
        options = read_json(corpus / "fbank" / ".stamp.extract_features.json")["options"]
        assert not [name for name in options if name in ("copies", "seed") or name.startswith("augment")]

    def test_copies_are_not_perturbed_again(self, corpus, extract, augmented):
        augmented()
        lines = (corpus / "fbank" / "train.jsonl").read_text().splitlines()
        (corpus / "cuts" / "copy.jsonl").write_text(lines[1] + "\n")
        assert "train0_aug1: an augmented copy has features only" in extract(parts=["copy"], out="twice", code=1)

    @pytest.mark.parametrize("how, code, said", [
        ([], 2, "--copies: they would all be the same"),
        (["--augment.noise", "nowhere"], 1, "--augment.noise nowhere: no such folder"),
        (["--augment.noise", "cuts"], 1, "--augment.noise cuts: no recording in it"),
        (["--augment.volume", "3", "--copies", "0"], 2, "say how many by --copies"),
        (["--seed", "3", "--copies", "0"], 2, "say how many by --copies"),
    ])  # fmt: skip
    def test_mistakes(self, augmented, how, code, said):
        assert said in augmented(how=how, code=code)

    def test_copies_of_no_training_cuts(self, extract):
        assert "only the cuts of --train-cuts are augmented" in extract("--copies", "1", *self.HISS, code=2)

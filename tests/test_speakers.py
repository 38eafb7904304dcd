"""Normalisation by speaker or utterance: sums gathered in stage 1, applied wherever features are loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from egret.base.errors import EgretError
from egret.base.files import read_jsonl, write_jsonl
from egret.decoding.options import DecodeOptions
from egret.decoding.recognise import Recogniser, recognise
from egret.decoding.search import Encoded
from egret.features.batching import Inputs, load_batch
from egret.features.normalise import SpeakerStats, make_normaliser, speaker_of, speakers_path
from egret.features.store import load_features
from tiny import MEL_BINS, make_features

MEAN = np.linspace(-3, 4, MEL_BINS, dtype=np.float32)
DEVIATION = np.linspace(0.5, 2, MEL_BINS, dtype=np.float32)
SPEAKERS = ["ann", "bob", ""]


def cut(speaker: str, **more: Any) -> dict[str, Any]:
    return {"id": "u", "supervisions": [{"start": 0.0, "speaker": speaker}], **more}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six utterances, two of each speaker and two of nobody, and the sums beside them."""
    path = make_features(tmp_path / "fbank", "train", 6, seed=1)
    rows = list(read_jsonl(path))
    stats = SpeakerStats()
    for number, row in enumerate(rows):
        if speaker := SPEAKERS[number % 3]:
            row["supervisions"][0]["speaker"] = speaker
        stats.count(row, load_features(row))
    write_jsonl(path, rows)
    stats.save(speakers_path(path))
    return path


def loaded(manifest: Path, kind: Any) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """The cuts with their normalised features."""
    cuts = list(read_jsonl(manifest))
    inputs = Inputs(normalise=make_normaliser(kind, [manifest], MEAN, DEVIATION))
    features, lengths = load_batch(cuts, inputs)
    return cuts, [each[:length].numpy() for each, length in zip(features, lengths, strict=True)]


def off(frames: np.ndarray) -> float:
    """How far mean and deviation of frames are from those that are due."""
    return max(np.abs(frames.mean(0) - MEAN).max(), np.abs(frames.std(0) - DEVIATION).max())


class TestSums:
    def test_are_numpys_of_each_speaker(self, manifest: Path) -> None:
        frames = np.concatenate([load_features(row) for row in list(read_jsonl(manifest))[1::3]])
        mean, deviation = SpeakerStats.load(speakers_path(manifest))["bob"].mean_and_deviation()
        assert np.allclose(mean, frames.mean(0), atol=1e-5) and np.allclose(deviation, frames.std(0), atol=1e-5)

    def test_leave_out_who_is_not_named(self, manifest: Path) -> None:
        assert set(SpeakerStats.load(speakers_path(manifest))) == {"ann", "bob"}

    def test_of_nobody_can_be_kept(self, tmp_path: Path) -> None:
        SpeakerStats().save(tmp_path / "x.safetensors")
        assert SpeakerStats.load(tmp_path / "x.safetensors") == {}

    def test_of_shares_are_added(self, manifest: Path) -> None:
        sums, twice = SpeakerStats.load(speakers_path(manifest)), SpeakerStats()
        for _ in range(2):
            twice.merge(sums)
        assert twice["ann"].frames == 2 * sums["ann"].frames

    @pytest.mark.parametrize("jobs", ["1", "3"])
    def test_are_left_by_stage_1(self, tmp_path: Path, run_step: Any, jobs: str) -> None:
        import soundfile

        rows = []
        for number in range(4):
            path = tmp_path / f"{number}.wav"
            soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, 4000), 8000)
            sound = {"sampling_rate": 8000, "num_samples": 4000, "duration": 0.5, "channel_ids": [0]}
            source = {"type": "file", "channels": [0], "source": str(path)}
            about = {
                "start": 0.0,
                "duration": 0.5,
                "channel": 0,
                "recording": {"id": "r", "sources": [source], **sound},
            }
            rows.append({**cut("ann" if number else "bob"), "id": f"u{number}", **about})
        write_jsonl(tmp_path / "cuts.jsonl", rows)
        run_step("extract_features", tmp_path, "--cuts", "cuts.jsonl", "--out", "fbank", "--nj", jobs,
                 "--features.sampling-rate", "8000", "--features.num-mel-bins", "8")  # fmt: skip
        found = SpeakerStats.load(tmp_path / "fbank/cuts.speakers.safetensors")
        assert {name: stats.frames for name, stats in found.items()} == {"ann": 150, "bob": 50}


class TestSpeaker:
    def test_is_that_of_the_supervision(self) -> None:
        assert speaker_of(cut("ann")) == "ann"

    def test_at_another_speed_is_another_one(self) -> None:
        faster = {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}
        assert speaker_of(cut("ann", recording=faster)) == "ann_sp1.1"

    def test_is_nobody_where_the_corpus_does_not_say(self) -> None:
        assert speaker_of({"id": "u", "supervisions": [{"start": 0.0}]}) == ""


class TestNormalised:
    def test_a_speaker_has_the_mean_and_deviation_that_the_model_takes_away(self, manifest: Path) -> None:
        cuts, features = loaded(manifest, "speaker")
        said = [each for row, each in zip(cuts, features, strict=True) if speaker_of(row) == "ann"]
        assert len(said) == 2 and off(np.concatenate(said)) < 1e-3
        assert off(said[0]) > 0.01

    def test_an_utterance_of_nobody_has_them_by_itself(self, manifest: Path) -> None:
        assert off(loaded(manifest, "speaker")[1][2]) < 1e-3

    def test_by_utterance_each_has_them(self, manifest: Path) -> None:
        assert max(map(off, loaded(manifest, "utterance")[1])) < 1e-3

    def test_globally_features_stay_as_they_are(self, manifest: Path) -> None:
        cuts, features = loaded(manifest, "global")
        assert all((each == load_features(row)).all() for row, each in zip(cuts, features, strict=True))

    def test_decoding_gives_the_model_the_same_features(self, manifest: Path, tmp_path: Path) -> None:
        heard: list[torch.Tensor] = []

        class Model:
            mean, deviation, head = torch.from_numpy(MEAN), torch.from_numpy(DEVIATION), None

            def encode(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
                heard.append(features[0])
                return features, lengths, None

        def search(encoded: Encoded, *_: Any) -> list[dict[str, Any]]:
            return [{"words": []} for _ in encoded.x]

        options = DecodeOptions(out=tmp_path, experiment=tmp_path, lang=tmp_path, test_cuts=[manifest],
                                max_duration=0.1)  # fmt: skip
        recogniser = Recogniser(Model(), {"any": search}, {"any": [{}]}, options, "speaker")  # type: ignore[arg-type]
        recognise(recogniser, manifest, recogniser.settings)
        due = sorted(loaded(manifest, "speaker")[1], key=lambda each: -len(each))
        assert [each.numpy().tobytes() for each in heard] == [each.tobytes() for each in due]


class TestErrors:
    def test_no_sums_beside_the_manifest(self, manifest: Path) -> None:
        speakers_path(manifest).unlink()
        with pytest.raises(EgretError, match=r"train.speakers.safetensors: no such sums by speaker; .*stage 1"):
            make_normaliser("speaker", [manifest], MEAN, DEVIATION)

    def test_sums_that_are_not_whole(self, manifest: Path) -> None:
        path = speakers_path(manifest)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(EgretError, match=r"not whole sums by speaker"):
            make_normaliser("speaker", [manifest], MEAN, DEVIATION)

    def test_a_speaker_without_sums(self, manifest: Path) -> None:
        normalise = make_normaliser("speaker", [manifest], MEAN, DEVIATION)
        assert normalise is not None
        with pytest.raises(EgretError, match="no sums of its speaker 'eve'"):
            normalise(cut("eve"), np.zeros((3, MEL_BINS), np.float32))

"""Augmentation of waveforms: each effect against its definition, the chain, folders of noises and rooms."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from egret.base.errors import EgretError, UsageError
from egret.features import sounds
from egret.features.effects import delete_silence, loud_stretches, mix, power, reverberate
from egret.features.sounds import Sounds, list_sounds
from egret.features.speed import perturb
from egret.features.waveform import Augmenter, WaveformOptions, input_fingerprints

RATE = 16000
RNG = np.random.default_rng(1)
SPEECH = RNG.normal(0, 0.1, 24000).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Write a recording of floats; returns the samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return RNG.normal(0, 0.05, round(seconds * rate)).astype(np.float32)


def augment(samples: np.ndarray = SPEECH, seed: int = 1, **options) -> tuple[np.ndarray, dict]:
    return Augmenter(WaveformOptions(**options)).augment(samples, RATE, np.random.default_rng(seed))


def decibels(samples: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples, dtype=float)) / np.mean(np.square(other, dtype=float)))


class TestMix:
    @pytest.mark.parametrize("snr", [-5.0, 0.0, 13.7, 40.0])
    def test_the_ratio_is_reached(self, snr):
        assert decibels(SPEECH, mix(SPEECH, noise(1.5), snr) - SPEECH) == pytest.approx(snr, abs=0.1)

    def test_silent_noise_changes_nothing(self):
        assert (mix(SPEECH, np.zeros_like(SPEECH), 10) == SPEECH).all()

    def test_silent_speech_stays_silent(self):
        assert not mix(np.zeros_like(SPEECH), SPEECH, 10).any()


class TestReverberate:
    @pytest.mark.parametrize("delay", [0, 1, 799])
    def test_one_impulse_wherever_it_lies_changes_nothing(self, delay):
        response = np.zeros(800, np.float32)
        response[delay] = -0.3 if delay == 1 else 0.3
        assert np.abs(abs(reverberate(SPEECH, response)) - abs(SPEECH)).max() < 1e-6

    def test_it_is_a_convolution_from_the_direct_path_on(self):
        response = noise(0.1)
        response[77] = 1
        expected = np.convolve(SPEECH.astype(float), response)[77 : 77 + len(SPEECH)]
        expected *= np.sqrt(power(SPEECH) / np.mean(expected**2))
        assert np.abs(reverberate(SPEECH, response) - expected).max() < 1e-6

    def test_energy_and_length_are_kept(self):
        heard = reverberate(SPEECH, noise(0.5))
        assert (len(heard), decibels(heard, SPEECH)) == (len(SPEECH), pytest.approx(0, abs=1e-3))

    def test_a_response_longer_than_the_speech(self):
        assert len(reverberate(SPEECH[:100], noise(0.5))) == 100


def librosa_split(samples: np.ndarray, top_db: float, frame: int, hop: int) -> list[tuple[int, int]]:
    """librosa.effects.split as its documentation and code define it, frame by frame."""
    padded = np.pad(samples.astype(float), frame // 2)
    powers = [np.mean(padded[at : at + frame] ** 2) for at in range(0, len(padded) - frame + 1, hop)]
    levels = [10 * np.log10(max(1e-10, each)) for each in powers]
    stretches: list[tuple[int, int]] = []
    for number, level in enumerate(levels):
        if level - max(levels) > -top_db:
            start = stretches.pop()[0] if stretches and stretches[-1][1] == number else number
            stretches.append((start, number + 1))
    return [(min(a * hop, len(samples)), min(b * hop, len(samples))) for a, b in stretches]


class TestSilence:
    @pytest.mark.parametrize("samples", [24000, 24001, 399, 12345])
    def test_librosas_definition(self, samples):
        loudness = 10 ** RNG.uniform(-3, 0, 1 + samples // 1000).repeat(1000)[:samples]
        speech = (noise(2)[:samples] * loudness).astype(np.float32)
        found = [tuple(each) for each in loud_stretches(speech, RATE, 30).tolist()]
        assert found == librosa_split(speech, 30, 400, 100)

    def test_what_is_loud_is_left(self):
        speech = np.concatenate([SPEECH[:4000], SPEECH[:8000] * 1e-3, SPEECH[:4000]])
        assert abs(len(delete_silence(speech, RATE, 30)) - 8000) <= 4 * 200

    def test_all_of_one_loudness_is_left_as_it_is(self):
        assert len(delete_silence(np.zeros(4000, np.float32), RATE, 30)) == 4000

    def test_a_click_alone_is_not_cut_to_less_than_a_frame(self):
        click = np.zeros(300, np.float32)
        click[0] = 1
        assert len(delete_silence(click, 48000, 30)) == 300


class TestChain:
    def test_reversal(self):
        assert (augment(reverse_probability=1.0)[0] == SPEECH[::-1]).all()

    def test_speed(self):
        assert (augment(speeds=[0.9])[0] == perturb(SPEECH, 0.9)).all()

    def test_every_speed_has_its_turn(self):
        assert {augment(SPEECH[:100], seed, speeds=[0.9, 1.0, 1.1])[1]["speed"] for seed in range(30)} == {
            0.9,
            1.0,
            1.1,
        }

    def test_volume(self):
        assert decibels(augment(volume=[6.0])[0], SPEECH) == pytest.approx(6, abs=1e-4)

    @pytest.mark.parametrize("snr", [[10.0], [3.0, 8.0]])
    def test_gaussian_noise_by_snr(self, snr):
        changed, done = augment(gaussian_snr=snr, gaussian_probability=1.0)
        assert decibels(SPEECH, changed - SPEECH) == pytest.approx(done["gaussian_snr"], abs=0.1)
        assert snr[0] <= done["gaussian_snr"] <= snr[-1]

    def test_gaussian_noise_by_deviation(self):
        changed, _ = augment(gaussian_sigma=0.02, gaussian_probability=1.0)
        assert np.std(changed - SPEECH) == pytest.approx(0.02, rel=0.02)

    def test_probability(self):
        augmenter = Augmenter(WaveformOptions(reverse_probability=0.3))
        random = np.random.default_rng(1)
        assert 250 < sum("reversed" in augmenter.augment(SPEECH[:9], RATE, random)[1] for _ in range(1000)) < 350

    def test_nothing_wanted_changes_nothing(self):
        assert (augment()[0] == SPEECH).all() and not WaveformOptions().wanted()

    def test_above_full_scale_nothing_is_clipped(self):
        assert np.abs(augment(volume=[40.0])[0]).max() > 10

    @pytest.fixture
    def everything(self, tmp_path):
        write(tmp_path / "noise" / "a.wav", noise(3))
        write(tmp_path / "noise" / "b.wav", noise(0.4))
        write(tmp_path / "rooms" / "c.wav", noise(0.2))
        return WaveformOptions(
            speeds=[0.9, 1.1], silence_top_db=40, silence_probability=0.5, reverse_probability=0.5,
            rirs=[tmp_path / "rooms"], noise=[tmp_path / "noise"], gaussian_snr=[10.0, 30.0], volume=[-10.0, 6.0],
        )  # fmt: skip

    def test_the_same_state_gives_the_same_samples(self, everything):
        one, other = Augmenter(everything), pickle.loads(pickle.dumps(Augmenter(everything)))
        for seed in range(5):
            found = [each(SPEECH, RATE, np.random.default_rng([7, seed])) for each in (one, other)]
            assert found[0].tobytes() == found[1].tobytes()

    def test_another_state_gives_others(self, everything):
        one, other = (Augmenter(everything)(SPEECH, RATE, np.random.default_rng(seed)) for seed in (1, 2))
        assert one.tobytes() != other.tobytes()

    def test_float32_that_can_become_a_tensor(self, everything):
        changed = Augmenter(everything)(SPEECH, RATE, np.random.default_rng(1))
        assert changed.dtype == np.float32 and changed.flags.c_contiguous

    def test_what_was_given_is_not_written_to(self, everything):
        given = SPEECH.copy()
        for seed in range(5):
            Augmenter(everything)(given, RATE, np.random.default_rng(seed))
        assert (given == SPEECH).all()


class TestNoise:
    def test_its_ratio_is_to_the_speech_as_it_is_heard_in_the_room(self, tmp_path):
        write(tmp_path / "noise" / "a.wav", noise(3))
        response = write(tmp_path / "rooms" / "c.wav", noise(0.2))
        changed, done = augment(rirs=[tmp_path / "rooms"], rir_probability=1.0, noise=[tmp_path / "noise"],
                                noise_probability=1.0, noise_snr=[2.0, 9.0])  # fmt: skip
        heard = reverberate(SPEECH, response)
        assert decibels(heard, changed - heard) == pytest.approx(done["noise_snr"], abs=0.1)

    def part(self, folder, count=24000, seed=1):
        """The noise that was mixed into speech, at a loudness that we do not know."""
        changed, _ = augment(SPEECH[:count], seed, noise=[folder], noise_probability=1.0, noise_snr=[0.0])
        return changed - SPEECH[:count]

    def test_a_part_of_a_longer_one(self, tmp_path):
        write(tmp_path / "a.wav", np.linspace(0.1, 1, 100_000, dtype=np.float32))
        steps = np.diff(self.part(tmp_path).astype(float))
        assert steps.std() < 0.1 * steps.mean()

    def test_another_part_each_time(self, tmp_path):
        write(tmp_path / "a.wav", noise(30))
        assert np.abs(np.corrcoef(self.part(tmp_path, seed=1), self.part(tmp_path, seed=2))[0, 1]) < 0.1

    def test_a_shorter_one_is_repeated(self, tmp_path):
        write(tmp_path / "a.wav", noise(0.5))
        found = self.part(tmp_path)
        assert np.abs(found[:8000] - found[8000:16000]).max() < 1e-6

    def test_stereo_is_mixed_down(self, tmp_path):
        one, other = noise(1.5), noise(1.5)
        write(tmp_path / "a.wav", np.stack([one, other], axis=1))
        assert np.corrcoef(self.part(tmp_path), (one + other) / 2)[0, 1] > 0.999

    @pytest.mark.parametrize("seconds", [2.0, 40.0])
    def test_another_sampling_rate(self, tmp_path, seconds):
        """A tone stays the tone it is, in a recording that is held in memory and in one that is read in part."""
        rate = 44100
        write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 / rate * np.arange(round(seconds * rate))), rate)
        spectrum = np.abs(np.fft.rfft(self.part(tmp_path, count=16000)))
        assert spectrum.argmax() == 1000 and spectrum[1000] > 0.9 * np.sqrt((spectrum**2).sum())

    def test_silent_ones_are_passed_over(self, tmp_path):
        write(tmp_path / "a.wav", np.zeros(30000, np.float32))
        write(tmp_path / "b.wav", noise(2))
        assert all(self.part(tmp_path, seed=seed).any() for seed in range(5))

    def test_nothing_but_silence_leaves_the_speech_and_says_so(self, tmp_path):
        write(tmp_path / "a.wav", np.zeros(30000, np.float32))
        changed, done = augment(noise=[tmp_path], noise_probability=1.0)
        assert (changed == SPEECH).all() and not done

    def test_a_response_of_several_channels_is_that_of_the_first(self, tmp_path):
        first = write(tmp_path / "a.wav", np.stack([noise(0.1), noise(0.1)], axis=1))[:, 0]
        changed, _ = augment(rirs=[tmp_path], rir_probability=1.0)
        assert np.abs(changed - reverberate(SPEECH, first)).max() < 1e-6


class TestFolders:
    def test_names_are_sorted_and_relative(self, tmp_path):
        for name in ("b/x.wav", "a/z.FLAC", "a.wav"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"12")
        for name in ("README", ".hidden.wav", "a/list.txt"):
            (tmp_path / name).touch()
        assert list_sounds(tmp_path, "noise", "--x") == [("a.wav", 2), ("a/z.FLAC", 2), ("b/x.wav", 2)]

    def test_musan(self, tmp_path):
        for kind in ("speech", "noise", "music"):
            write(tmp_path / "musan" / kind / "part" / f"{kind}-0000.wav", noise(0.1))
        (tmp_path / "musan" / "music" / "part" / "ANNOTATIONS").touch()
        assert Sounds([tmp_path / "musan"], "noise", "--x").names == [
            f"musan/{kind}/part/{kind}-0000.wav" for kind in ("music", "noise", "speech")
        ]

    ROOMS = ("real_rirs_isotropic_noises/RWCP_type4_rir_p30l.wav", "simulated_rirs/smallroom/Room001/Room001-00001.wav")
    NOISES = ("pointsource_noises/noise-free-sound-0000.wav",
              "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav")  # fmt: skip

    @pytest.mark.parametrize("kind, names", [("response", ROOMS), ("noise", NOISES)])
    def test_rirs_noises_is_divided(self, tmp_path, kind, names):
        for name in self.ROOMS + self.NOISES:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        assert [name for name, _ in list_sounds(tmp_path, kind, "--x")] == list(names)

    def test_a_part_of_rirs_noises_by_its_own_name(self, tmp_path):
        for name in self.ROOMS + self.NOISES:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        folder = tmp_path / "real_rirs_isotropic_noises"
        assert [name for name, _ in list_sounds(folder, "response", "--x")] == ["RWCP_type4_rir_p30l.wav"]

    def test_a_link_that_leads_in_a_circle(self, tmp_path):
        write(tmp_path / "a.wav", noise(0.1))
        (tmp_path / "again").symlink_to(tmp_path)
        assert len(list_sounds(tmp_path, "noise", "--x")) == 1

    def test_a_link_to_a_folder(self, tmp_path):
        write(tmp_path / "far" / "a.wav", noise(0.1))
        (tmp_path / "near").mkdir()
        (tmp_path / "near" / "music").symlink_to(tmp_path / "far")
        assert list_sounds(tmp_path / "near", "noise", "--x")[0][0] == "music/a.wav"

    @pytest.mark.parametrize("name, said", [
        ("none", "--augment.noise .*none: no such folder"),
        ("empty", "no recording in it"),
        ("simulated_rirs", "of the other kind"),
    ])  # fmt: skip
    def test_a_folder_without_noise(self, tmp_path, name, said):
        (tmp_path / "empty").mkdir()
        write(tmp_path / "simulated_rirs" / "Room001" / "a.wav", noise(0.1))
        with pytest.raises(EgretError, match=said):
            Augmenter(WaveformOptions(noise=[tmp_path / name]))

    def test_files_that_cannot_be_read_are_named_at_the_start(self, tmp_path):
        write(tmp_path / "a.wav", noise(0.1))
        (tmp_path / "b.wav").write_bytes(b"RIFF")
        (tmp_path / "c.wav").touch()
        with pytest.raises(EgretError, match=r"2 recordings cannot be used: .*b\.wav: .*c\.wav: empty"):
            Augmenter(WaveformOptions(noise=[tmp_path]))

    def test_a_file_that_has_gone_since(self, tmp_path):
        write(tmp_path / "a.wav", noise(0.1))
        augmenter = Augmenter(WaveformOptions(noise=[tmp_path], noise_probability=1.0))
        (tmp_path / "a.wav").unlink()
        with pytest.raises(EgretError, match=r"--augment.noise .*a\.wav: missing"):
            augmenter(SPEECH, RATE, np.random.default_rng(1))

    def test_what_is_held_in_memory_is_bounded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sounds, "CACHE", 10_000)
        for name in "abcdef":
            write(tmp_path / f"{name}.wav", noise(0.1))
        pool = Sounds([tmp_path], "noise", "--x")
        for number in range(6):
            pool.whole(number, RATE)
        assert sum(each.nbytes for each in pool._held.values()) <= 10_000

    def test_a_recording_is_read_once(self, tmp_path):
        write(tmp_path / "a.wav", noise(0.1))
        pool = Sounds([tmp_path], "noise", "--x")
        assert pool.whole(0, RATE) is pool.whole(0, RATE)

    def test_a_fingerprint_does_not_depend_on_the_machine(self, tmp_path):
        found = []
        for host in ("one", "other"):
            write(tmp_path / host / "noise" / "a.wav", np.zeros(100))
            [(_, value)] = input_fingerprints(WaveformOptions(noise=[tmp_path / host / "noise"])).items()
            found.append(value)
        assert found[0] == found[1]


@pytest.mark.parametrize("options, said", [
    ({"speeds": [1.0, 1.0]}, "--augment.speeds 1.0 1.0: give each speed once"),
    ({"volume": [6.0, -6.0]}, "--augment.volume 6 -6: expected the lowest and the highest"),
    ({"gaussian_snr": [1.0, 2.0, 3.0]}, "--augment.gaussian-snr 1 2 3: expected"),
    ({"noise": [Path("x")], "noise_snr": []}, "--augment.noise-snr: expected"),
    ({"noise_snr": [5.0]}, "--augment.noise-snr is of no use without --augment.noise"),
    ({"rir_probability": 1.0}, "--augment.rir-probability is of no use without --augment.rirs"),
    ({"silence_probability": 0.5}, "without --augment.silence-top-db"),
    ({"gaussian_snr": [5.0], "gaussian_sigma": 0.1}, "give one of them"),
])  # fmt: skip
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(UsageError, match=said):
        WaveformOptions(**options)

"""Augmentation of waveforms: speed, deletion of silence, time reversal, rooms, noise, volume (docs/augmentation.md).

The order is that of the world. First what the speaker does: his speed, his pauses, and the order of time. Then the room
in which he is heard, the noise in it, which is measured against the speech as it arrives there, the hiss of the
microphone, and last the volume at which all of it is recorded.

Samples may leave [-1, 1], as no recording could: nothing clips them, and features have no need of it.
"""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egret.base.errors import UsageError
from egret.base.options import option
from egret.features.effects import delete_silence, mix, power, reverberate
from egret.features.sounds import Sounds, sounds_fingerprint
from egret.features.speed import check_speeds, perturb

if TYPE_CHECKING:
    import numpy as np

DRAWS = 10  # of a part of a noise, where one after another is silent


def _chance(default: float, of: str) -> Any:
    return option(default, f"part of the utterances that {of}", minimum=0, maximum=1)


@dataclass(kw_only=True)
class WaveformOptions:
    """Augmentation of waveforms. Ranges are the lowest and the highest value, or one value."""

    speeds: list[float] = option([1.0], "speeds, one for each utterance by chance", minimum=0.5, maximum=2)
    silence_top_db: float = option(
        0.0, "delete what is so many dB below an utterance's loudest frame; 0: nothing", minimum=0
    )
    silence_probability: float = _chance(1.0, "lose their silence")
    reverse_probability: float = _chance(0.0, "are played backwards, their texts staying as they are")
    rirs: list[Path] = option([], "folders of room impulse responses, such as RIRS_NOISES")
    rir_probability: float = _chance(0.5, "are put into a room")
    noise: list[Path] = option([], "folders of noise, such as musan/noise, or of steps/mine_noise.py")
    noise_snr: list[float] = option([10.0, 20.0], "dB by which the noise is below the speech")
    noise_probability: float = _chance(0.5, "get noise")
    gaussian_snr: list[float] = option([], "dB by which Gaussian noise is below the speech; empty: none")
    gaussian_sigma: float = option(
        0.0, "or its standard deviation, the same for all (full scale is 1); 0: none", minimum=0
    )
    gaussian_probability: float = _chance(0.5, "get Gaussian noise")
    volume: list[float] = option([], "dB by which an utterance gets louder; empty: it does not")
    volume_probability: float = _chance(1.0, "get another volume")

    def __post_init__(self) -> None:
        """See that the options go together.

        Raises:
          UsageError: a range that is none, or an option of something that is not wanted.
        """
        check_speeds(self.speeds, "--augment.speeds")
        for name in ("noise_snr", "gaussian_snr", "volume"):
            _check_range(name, getattr(self, name))
        if self.noise and not self.noise_snr:
            raise UsageError("--augment.noise-snr: expected the lowest and the highest value, or one value")
        if self.gaussian_snr and self.gaussian_sigma:
            raise UsageError("--augment.gaussian-snr and --augment.gaussian-sigma: give one of them")
        wanted = {
            "silence_probability": self.silence_top_db,
            "rir_probability": self.rirs,
            "noise_snr": self.noise,
            "noise_probability": self.noise,
            "gaussian_probability": self.gaussian_snr or self.gaussian_sigma,
            "volume_probability": self.volume,
        }
        of = {"silence": "silence-top-db", "rir": "rirs", "noise": "noise", "gaussian": "gaussian-snr"}
        defaults = {item.name: item.default_factory() if item.name == "noise_snr" else item.default  # type: ignore
                    for item in fields(self)}  # fmt: skip
        for name, there in wanted.items():
            if not there and getattr(self, name) != defaults[name]:
                needed = of.get(name.split("_")[0], "volume")
                raise UsageError(f"{_flag(name)} is of no use without --augment.{needed}; give that too")

    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return bool(
            self.speeds != [1.0] or self.silence_top_db or self.reverse_probability or self.rirs or self.noise
            or self.gaussian_snr or self.gaussian_sigma or self.volume
        )  # fmt: skip


def _flag(name: str) -> str:
    return "--augment." + name.replace("_", "-")


def _check_range(name: str, given: list[float]) -> None:
    if given and (len(given) > 2 or not given[0] <= given[-1]):
        said = " ".join(f"{each:g}" for each in given)
        raise UsageError(f"{_flag(name)} {said}: expected the lowest and the highest value, or one value")


def input_fingerprints(options: WaveformOptions) -> dict[str, str]:
    """What stands in a step's stamp for the noises and rooms.

    Raises:
      EgretError: a folder that is not there, or without recordings.
    """
    noises = sounds_fingerprint(options.noise, "noise", "--augment.noise")
    return noises | sounds_fingerprint(options.rirs, "response", "--augment.rirs")


class Augmenter:
    """Augments utterances: a function of options, samples and the state of a random generator.

    It can be pickled and forked; a process holds some recordings of noise in memory (`egret.features.sounds`).

    Raises:
      EgretError: folders without noises or impulse responses, or with files that cannot be read.
    """

    def __init__(self, options: WaveformOptions) -> None:
        self.options = options
        self.noises = Sounds(options.noise, "noise", "--augment.noise") if options.noise else None
        self.rooms = Sounds(options.rirs, "response", "--augment.rirs") if options.rirs else None

    def __call__(self, samples: "np.ndarray", rate: int, random: "np.random.Generator") -> "np.ndarray":
        """Samples float32 [S] of an utterance, `rate` a second, as float32 [S']; another length only by speed and by
        deletion of silence. What was given is not written to."""
        return self.augment(samples, rate, random)[0]

    def augment(
        self, samples: "np.ndarray", rate: int, random: "np.random.Generator"
    ) -> "tuple[np.ndarray, dict[str, Any]]":
        """The same, and what was done, by name: {"speed": 0.9, "noise": "music/x.wav", "noise_snr": 12.3, ...}."""
        import numpy as np

        options, done = self.options, dict[str, Any]()
        if options.speeds != [1.0]:
            done["speed"] = options.speeds[random.integers(len(options.speeds))]
            samples = perturb(samples, done["speed"])
        chance = partial(_happens, random)
        if options.silence_top_db and chance(options.silence_probability):
            before = len(samples)
            samples = delete_silence(samples, rate, options.silence_top_db)
            done["silence_deleted"] = round((before - len(samples)) / rate, 4)
        if chance(options.reverse_probability):
            samples, done["reversed"] = samples[::-1], True
        if self.rooms and chance(options.rir_probability):
            samples = self._in_a_room(samples, rate, random, done)
        if self.noises and chance(options.noise_probability):
            samples = self._with_noise(samples, rate, random, done)
        if (options.gaussian_snr or options.gaussian_sigma) and chance(options.gaussian_probability):
            samples = self._with_hiss(samples, random, done)
        if options.volume and chance(options.volume_probability):
            done["volume"] = _draw(options.volume, random)
            samples = samples * np.float32(10 ** (done["volume"] / 20))
        return np.ascontiguousarray(samples, np.float32), done

    def _in_a_room(
        self, samples: "np.ndarray", rate: int, random: "np.random.Generator", done: dict[str, Any]
    ) -> "np.ndarray":
        assert self.rooms is not None
        number = int(random.integers(len(self.rooms)))
        done["rir"] = self.rooms.names[number]
        return reverberate(samples, self.rooms.whole(number, rate))

    def _with_noise(
        self, samples: "np.ndarray", rate: int, random: "np.random.Generator", done: dict[str, Any]
    ) -> "np.ndarray":
        snr = _draw(self.options.noise_snr, random)
        for _ in range(DRAWS):
            name, noise = self._noise(len(samples), rate, random)
            if power(noise):
                done |= {"noise": name, "noise_snr": snr}
                return mix(samples, noise, snr)
        return samples

    def _noise(self, count: int, rate: int, random: "np.random.Generator") -> "tuple[str, np.ndarray]":
        """Name and samples of a part of a noise, repeated from anywhere in it where the whole is shorter."""
        import numpy as np

        assert self.noises is not None
        number = int(random.integers(len(self.noises)))
        length = self.noises.length(number, rate)
        if length >= count:
            first = int(random.integers(length - count + 1))
            noise = self.noises.part(number, rate, first, count)
        else:
            noise = np.roll(self.noises.part(number, rate, 0, length), -int(random.integers(length)))
        return self.noises.names[number], np.resize(noise, count)

    def _with_hiss(self, samples: "np.ndarray", random: "np.random.Generator", done: dict[str, Any]) -> "np.ndarray":
        import numpy as np

        hiss = random.standard_normal(len(samples), dtype=np.float32)
        if self.options.gaussian_sigma:
            done["gaussian_sigma"] = self.options.gaussian_sigma
            return samples + np.float32(self.options.gaussian_sigma) * hiss
        done["gaussian_snr"] = _draw(self.options.gaussian_snr, random)
        return mix(samples, hiss, done["gaussian_snr"])


def _happens(random: "np.random.Generator", probability: float) -> bool:
    """Whether it happens; what never or always does draws no number, so that it does not move what follows."""
    return probability > 0 and (probability >= 1 or random.random() < probability)


def _draw(limits: list[float], random: "np.random.Generator") -> float:
    return round(float(random.uniform(limits[0], limits[-1])), 4)

"""What can be set in training of acoustic models."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import group, infile, option, runtime
from egret.features.normalise import Kind
from egret.features.options import FeatureOptions
from egret.features.waveform import WaveformOptions
from egret.graph.topology import Topology
from egret.models.options import ModelOptions
from egret.training.loop_options import LoopOptions, PlanOptions
from egret.training.measure import SPEECH
from egret.training.presets import SPEC_AUGMENT, SPEC_AUGMENT_DEFAULTS, SpecAugmentPreset


@dataclass(kw_only=True)
class BatchOptions(PlanOptions):
    """How batches of speech are made."""

    max_duration: float = option(120.0, "seconds of speech in a batch, padding included", above=0)
    max_utterances: int = option(1000, "utterances in a batch", minimum=1)
    max_tokens: int = option(0, "tokens in a batch, padding included; 0: no limit", minimum=0)
    weights: list[float] = option(
        [], "how often an epoch has the utterances of each manifest: 2.5 is twice, and a random half of them thrice; "
        "none given: all once", minimum=0,
    )  # fmt: skip

    @property
    def limits(self) -> tuple[float, float, float]:
        return self.max_duration, self.max_tokens or math.inf, self.max_utterances

    @property
    def largest(self) -> float:
        return self.max_duration


@dataclass(kw_only=True)
class SpecAugmentOptions:
    """SpecAugment, and frequency warp; what is not set is the preset's, or as given here."""

    preset: SpecAugmentPreset = option(
        "none", "published settings (docs/augmentation.md); options that are set take the place of the preset's"
    )
    time_warp: int = option(None, "frames by which time warp moves a point at most; 0: none (0)", minimum=0)
    frequency_warp: float = option(
        None, "how far the mel axis is stretched or squeezed at most, as a part of it; 0: not (0)",
        minimum=0, maximum=0.5,
    )  # fmt: skip
    time_masks: float = option(
        None, "time masks in a second of speech (at 100 frames a second); 0: none (0)", minimum=0
    )
    fixed_time_masks: int = option(None, "time masks in each utterance, of any length, besides those (0)", minimum=0)
    time_width: int = option(None, "frames that a time mask hides at most; 0: time_part of them (10)", minimum=0)
    time_part: float = option(None, "part of the utterance that a time mask hides at most (1)", above=0, maximum=1)
    frequency_masks: int = option(None, "frequency masks in an utterance; 0: none (0)", minimum=0)
    frequency_width: int = option(
        None, "mel bins that a frequency mask hides at most; 0: frequency_part of them (10)", minimum=0
    )
    frequency_part: float = option(
        None, "part of the mel bins that a frequency mask hides at most (1)", above=0, maximum=1
    )
    mask_chance: float = option(None, "chance of each mask (1)", above=0, maximum=1)
    kind_chances: list[float] = option(
        None, "for each utterance, chances of no masks, time masks, frequency masks and both; none: always both",
        minimum=0, maximum=1,
    )  # fmt: skip
    fill: Literal["mean", "lowest"] = option(
        None, "what masks show: the mean of the features, or the lowest value of the utterance (mean)"
    )

    def __post_init__(self) -> None:
        for name, value in (SPEC_AUGMENT_DEFAULTS | SPEC_AUGMENT[self.preset]).items():
            if getattr(self, name) is None:
                setattr(self, name, list(value) if isinstance(value, list) else value)
        for masks, axis in ((self.time_masks + self.fixed_time_masks, "time"), (self.frequency_masks, "frequency")):
            if masks and not getattr(self, f"{axis}_width") and getattr(self, f"{axis}_part") == 1:
                raise UsageError(
                    f"--specaugment.{axis}-width 0: masks could hide everything; set it, or --specaugment.{axis}-part"
                )
        if self.preset == "none":
            self._refuse_unused()
        if self.kind_chances and (len(self.kind_chances) != 4 or abs(sum(self.kind_chances) - 1) > 1e-6):
            raise UsageError(
                f"--specaugment.kind-chances {' '.join(map(str, self.kind_chances))}: expected four numbers that add "
                f"up to 1: no masks, time masks, frequency masks, both"
            )

    def _refuse_unused(self) -> None:
        """Raises UsageError for an option of masks where there are none."""
        time, frequency = bool(self.time_masks or self.fixed_time_masks), bool(self.frequency_masks)
        needs = {
            "time_width": time, "time_part": time, "frequency_width": frequency, "frequency_part": frequency,
            "mask_chance": time or frequency, "kind_chances": time or frequency, "fill": time or frequency,
        }  # fmt: skip
        for name, masks in needs.items():
            if not masks and getattr(self, name) != SPEC_AUGMENT_DEFAULTS[name]:
                option_name = name.replace("_", "-")
                raise UsageError(f"--specaugment.{option_name}: there are no such masks; say how many, or leave it out")

    @property
    def masks(self) -> bool:
        """Whether anything is ever hidden."""
        return bool(self.time_masks or self.fixed_time_masks or self.frequency_masks)


@dataclass(kw_only=True)
class TeacherOptions:
    """How often a decoder is given the true token before, and not what it said itself (scheduled sampling)."""

    forcing: float = option(1.0, "chance of the true token, in the first epoch", minimum=0, maximum=1)
    fall: float = option(0.0, "by which it falls from epoch to epoch", minimum=0, maximum=1)
    floor: float = option(0.0, "below which it does not fall", minimum=0, maximum=1)

    def __post_init__(self) -> None:
        if self.floor > self.forcing:
            raise UsageError(f"--teacher.floor {self.floor:g}: above --teacher.forcing {self.forcing:g}; lower it")
        if self.floor and not self.fall:
            raise UsageError(f"--teacher.floor {self.floor:g}: without --teacher.fall nothing falls; set that too")

    def in_epoch(self, epoch: int) -> float:
        """The chance in an epoch, counted from 0."""
        return max(self.floor, self.forcing - self.fall * epoch)


def has_middle(model: ModelOptions) -> bool:
    """Whether the encoder gives what comes out of its middle."""
    if model.encoder in ("deepspeech2", "tdnn_lstm", "transformer", "conformer"):
        return getattr(model, model.encoder).layers > 1
    return model.encoder == "zipformer" and len(model.zipformer.dims) > 2  # of two, the second is in its middle


@dataclass(kw_only=True)
class TrainOptions(LoopOptions):
    step, measure = "train", SPEECH

    cuts: list[Path] = infile("training cuts with features, a manifest for each part", "stage 1")
    stats: Path | None = infile(
        "sums of the features, for mean and variance; of computed features they may be left out",
        "steps/extract_features.py (stage 1)",
        default=None,
    )
    dev_cuts: Path | None = infile("dev cuts with features; none: checkpoints are not chosen", "stage 1", default=None)
    init_from: Path | None = infile(
        "a trained model's folder whose weights this one begins with; of an output layer for other units, those of "
        "the units that both have",
        "steps/train.py",
        default=None,
    )
    loss: Literal["ctc", "ctc_graph", "lf_mmi"] = option(
        "ctc",
        "ctc: PyTorch's; ctc_graph: k2's, over every pronunciation and optional silence; lf_mmi: the same "
        "against all that a bigram of the units allows",
    )
    topology: Topology = option(
        "auto", "of ctc_graph and lf_mmi, as of steps/compile_graph.py; auto: modified for more than 500 units"
    )
    ctc_share: float = option(
        0.0, "of lf_mmi: the part of the loss that is ctc_graph, so that greedy search works",
        minimum=0, maximum=0.9,
    )  # fmt: skip
    intermediate: float = option(
        0.0,
        "weight of the same loss on the middle of the encoder; 0: none",
        minimum=0,
        maximum=0.9,
    )
    consistency: float = option(
        0.0, "weight of the consistency between two augmented copies of each utterance (CR-CTC: 0.2); 0: one copy",
        minimum=0,
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "part of the probability that all tokens share in a decoder's loss (0.1 is usual)", minimum=0, maximum=0.9
    )
    inputs: Literal["stored", "computed"] = option(
        "stored", "features; stored: those of stage 1; computed: from the recordings, as --features and --augment say"
    )
    normalise: Kind = option(
        "global", "what features are measured against: all of the training part, their utterance, or their speaker"
    )
    list_losses: bool = runtime(False, "list the training utterances by loss in losses.tsv when the model is trained")
    model: ModelOptions = group(ModelOptions)
    teacher: TeacherOptions = group(TeacherOptions)
    batch: BatchOptions = group(BatchOptions)
    specaugment: SpecAugmentOptions = group(SpecAugmentOptions)
    features: FeatureOptions = group(FeatureOptions)
    augment: WaveformOptions = group(WaveformOptions)

    def __post_init__(self) -> None:
        if self.inputs == "stored" and self.augment.wanted():
            raise UsageError("--augment goes with --inputs computed; features of stage 1 are what they are")
        if self.inputs == "stored" and not self.stats:
            raise UsageError("--stats: stage 1 leaves them beside the features (train.stats.safetensors)")
        if self.normalise != "global" and not self.stats:
            raise UsageError(f"--normalise {self.normalise}: --stats too, whose mean and deviation features are given")
        if self.batch.weights and len(self.batch.weights) != len(self.cuts):
            raise UsageError(f"--batch.weights: {len(self.batch.weights)} for {len(self.cuts)} manifests of --cuts; "
                             f"give one for each")  # fmt: skip
        if not self.cuts:
            raise UsageError("--cuts: expected at least one manifest")
        if self.intermediate and not has_middle(self.model):
            raise UsageError(f"--intermediate: this {self.model.encoder} has no middle; leave it out")
        self._check_decoder()
        if self.topology != "auto" and self.loss == "ctc":
            raise UsageError("--topology goes with --loss ctc_graph and lf_mmi, not with ctc; leave it out")
        if self.ctc_share and self.loss != "lf_mmi":
            raise UsageError(f"--ctc-share goes with --loss lf_mmi, not with {self.loss}; leave it out")
        super().__post_init__()

    @property
    def has_dev(self) -> bool:
        return self.dev_cuts is not None

    def unused(self) -> tuple[str, ...]:
        return tuple(f"model.{part}" for part in self.model.unused())

    def _check_decoder(self) -> None:
        """Raises UsageError for options of a decoder, or of CTC, in a model that has none."""
        model = self.model
        if model.decoder == "none" and (self.label_smoothing or self.teacher != TeacherOptions()):
            raise UsageError("--label-smoothing and --teacher are for decoders, and the model has none; "
                             "choose one with --model.decoder, or leave them out")  # fmt: skip
        if not model.ctc_weight:
            for name, is_set in [("loss", self.loss != "ctc"), ("intermediate", self.intermediate),
                                 ("consistency", self.consistency)]:  # fmt: skip
                if is_set:
                    raise UsageError(f"--{name} is about CTC, and --model.ctc-weight 0 has none; leave it out")

"""What can be set in training."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import group, infile, option, runtime
from egret.base.program import OutOptions
from egret.features.extractor import FeatureOptions
from egret.features.normalise import Kind
from egret.features.waveform import WaveformOptions
from egret.graph.topology import Topology
from egret.models.options import ModelOptions
from egret.training.presets import SPEC_AUGMENT, SPEC_AUGMENT_DEFAULTS, SpecAugmentPreset


@dataclass(kw_only=True)
class OptimOptions:
    """Optimisation; by default AdamW, a linear warm-up, then a cosine down to a part of the peak."""

    name: Literal["adamw", "adam", "sgd", "adadelta", "adagrad", "radam", "nadam", "scaled_adam"] = option(
        "adamw",
        "the optimiser, PyTorch's own; sgd has Nesterov's momentum; scaled_adam: the zipformer's, whose steps are "
        "relative to the size of the weights",
    )
    lr: float = option(1e-3, "learning rate at its peak; adadelta's usual one is 1, scaled_adam's 0.045", above=0)
    weight_decay: float = option(
        None,
        "of all weights but biases and norms; adamw: apart from the gradient, 0.01 unless set; others: added to the "
        "gradient, 0 unless set",
        minimum=0,
    )
    momentum: float = option(0.9, "Nesterov's, of sgd", above=0, maximum=0.99999)
    beta1: float = option(0.9, "decay of the gradient's average, of the Adams", minimum=0, maximum=0.99999)
    beta2: float = option(
        0.98, "decay of the squared gradient's average, of the Adams and adadelta", above=0, maximum=0.99999
    )
    eps: float = option(
        0.0, "keeps divisors from zero; 0: PyTorch's (Adams 1e-8, adadelta 1e-6, adagrad 1e-10)", minimum=0
    )
    schedule: Literal["cosine", "noam", "tristage", "plateau", "exponential", "eden", "constant"] = option(
        "cosine",
        "of the learning rate after the warm-up; cosine: half of one; noam: one over the square root of the step; "
        "tristage: hold, then exponential decay; plateau: lower when the loss on dev does not fall; "
        "exponential: decay from epoch to epoch; eden: by step and epoch, its warm-up from a half; constant",
    )
    warmup: float = option(
        0.1, "steps in which the learning rate rises: up to 1 a part of all steps, above 1 a number", minimum=0
    )
    final_lr: float = option(
        0.05,
        "the last learning rate as a part of the peak; of plateau and exponential, the lowest",
        minimum=0,
        maximum=1,
    )
    model_size: int = option(
        0, "noam: the model's width in the formula, where lr is its factor; 0: lr is the peak", minimum=0
    )
    hold: float = option(0.4, "tristage: steps at the peak, as a part or a number as in warmup", minimum=0)
    patience: int = option(1, "plateau: lower when so many epochs have not lowered the loss on dev", minimum=1)
    reduction: float = option(0.5, "plateau: what the learning rate is multiplied by", above=0, maximum=0.99999)
    decay: float = option(0.9, "exponential: what it is multiplied by from epoch to epoch", above=0, maximum=1)
    decay_after: int = option(0, "exponential: whole epochs before it begins to decay", minimum=0)
    eden_steps: float = option(7500.0, "eden: steps until it begins to fall in earnest", above=0)
    eden_epochs: float = option(3.5, "eden: the same in epochs", above=0)
    clip_median: float = option(
        2.0, "scaled_adam: largest norm of the gradient as a multiple of the median of the steps before; 0: any",
        minimum=0,
    )  # fmt: skip
    clip_norm: float = option(5.0, "largest norm of the gradient; 0: any", minimum=0)
    clip_value: float = option(0.0, "largest absolute value in the gradient, after its norm; 0: any", minimum=0)
    init: Literal["default", "uniform", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"] = (
        option(
            "default",
            "how weights begin, not biases and norms; default: as the layers themselves choose, "
            "some of a zipformer's smaller than others",
        )
    )
    init_range: float = option(0.08, "uniform: weights begin between minus and plus this", above=0)

    def __post_init__(self) -> None:
        if self.weight_decay is None:
            self.weight_decay = 0.01 if self.name == "adamw" else 0.0
        defaults = {item.name: item.default for item in fields(self)}
        for chooser, uses in OPTIM_USES.items():
            chosen = getattr(self, chooser)
            for option_name, users in uses.items():
                if chosen not in users and getattr(self, option_name) != defaults[option_name]:
                    raise UsageError(
                        f"--optim.{option_name.replace('_', '-')} goes with --optim.{chooser} {', '.join(users)}, "
                        f"not with {chosen}; leave it out"
                    )
        if self.name == "scaled_adam" and self.weight_decay:
            raise UsageError("--optim.weight-decay: scaled_adam learns how large weights are; leave it out")
        if self.schedule == "tristage" and not self.final_lr:
            raise UsageError("--optim.final-lr 0: --optim.schedule tristage decays to a part of the peak; say 0.01")


_ADAMS = ["adamw", "adam", "radam", "nadam", "scaled_adam"]
# Options that only some optimisers, schedules or initialisations have a use for.
OPTIM_USES = {
    "name": {
        "momentum": ["sgd"],
        "beta1": _ADAMS,
        "beta2": [*_ADAMS, "adadelta"],
        "eps": [*_ADAMS, "adadelta", "adagrad"],
        "clip_median": ["scaled_adam"],
    },
    "schedule": {
        "final_lr": ["cosine", "tristage", "plateau", "exponential"],
        "model_size": ["noam"],
        "hold": ["tristage"],
        "patience": ["plateau"],
        "reduction": ["plateau"],
        "decay": ["exponential"],
        "decay_after": ["exponential"],
        "eden_steps": ["eden"],
        "eden_epochs": ["eden"],
    },
    "init": {"init_range": ["uniform"]},
}


@dataclass(kw_only=True)
class BatchOptions:
    """How batches are made."""

    max_duration: float = option(120.0, "seconds of speech in a batch, padding included", above=0)
    max_utterances: int = option(1000, "utterances in a batch", minimum=1)
    max_tokens: int = option(0, "tokens in a batch, padding included; 0: no limit", minimum=0)
    jitter: float = option(0.1, "how far utterances of other lengths mix in, as a part of a length", minimum=0)
    sorted_epochs: int = option(0, "epochs at the beginning whose batches come from short to long", minimum=0)
    weights: list[float] = option(
        [], "how often an epoch has the utterances of each manifest: 2.5 is twice, and a random half of them thrice; "
        "none given: all once", minimum=0,
    )  # fmt: skip


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
    if model.encoder in ("deepspeech2", "tdnn_lstm"):
        return getattr(model, model.encoder).layers > 1
    return model.encoder in ("transformer", "conformer", "zipformer")


@dataclass(kw_only=True)
class TrainOptions(OutOptions):
    cuts: list[Path] = infile("training cuts with features, a manifest for each part", "stage 1")
    stats: Path | None = infile(
        "sums of the features, for mean and variance; of computed features they may be left out",
        "steps/extract_features.py (stage 1)",
        default=None,
    )
    dev_cuts: Path | None = infile("dev cuts with features; none: checkpoints are not chosen", "stage 1", default=None)
    lang: Path = infile("lang folder", "steps/prepare_lang.py (stage 2)")
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
    epochs: int = option(
        30,
        "passes over the training part; more than before: it goes on, at the learning rates of the new length",
        minimum=1,
    )
    patience: int = option(0, "stop when so many epochs in a row have not lowered the loss on dev; 0: never", minimum=0)
    seed: int = option(1, "of weights, batches and dropout", minimum=0)
    average: int = option(5, "checkpoints whose weights are averaged", minimum=1)
    average_of: Literal["best", "last"] = option(
        "best",
        "best: those with the lowest loss on dev, the last where there is no dev; last: the last, for a loss "
        "that rises while errors still become fewer",
    )
    ema: float = option(
        0.0, "decay of a running average of the weights, which is what is judged and kept; 0: none",
        minimum=0, maximum=0.999999,
    )  # fmt: skip
    freeze: list[str] = option(
        [], "patterns of the names of parameters that stay as they are, such as 'encoder.layers.0.*'"
    )
    inputs: Literal["stored", "computed"] = option(
        "stored", "features; stored: those of stage 1; computed: from the recordings, as --features and --augment say"
    )
    normalise: Kind = option(
        "global", "what features are measured against: all of the training part, their utterance, or their speaker"
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "of the model's arithmetic; weights, losses and the optimiser stay in fp32"
    )
    accumulate: int = option(1, "batches whose gradients make one step, in each process", minimum=1)
    max_skipped: int = option(
        10, "stop after so many steps in a row without a finite loss and gradient, which are left out", minimum=0
    )
    max_reject_percent: float = option(
        5.0, "of the training part that may be dropped before it stops", minimum=0, maximum=100
    )
    num_gpus: int = runtime(0, "GPUs of each node, a process each; 0: on the CPU", minimum=0)
    num_processes: int = runtime(1, "processes of each node without GPUs", minimum=1)
    num_nodes: int = runtime(1, "machines that train together; each is given the same command", minimum=1)
    node_rank: int = runtime(-1, "which of them this is, from 0; -1: as Slurm says, or 0", minimum=-1)
    rendezvous: str = runtime("", "HOST:PORT of the first of them; empty: as Slurm says")
    workers: int = runtime(0, "processes that load data, for each that trains; 0: it does so itself", minimum=0)
    threads: int = runtime(0, "threads of PyTorch; 0: all cores", minimum=0)
    log_seconds: float = runtime(10.0, "from one line of progress to the next", above=0)
    save_minutes: float = runtime(10.0, "from one checkpoint within an epoch to the next", above=0)
    save_steps: int = runtime(0, "the same in steps; 0: minutes only", minimum=0)
    keep_best: int = runtime(0, "epochs kept, lowest loss on dev; 0: as many as are averaged", minimum=0)
    keep_last: int = runtime(0, "epochs kept, the last ones; 0: as many as are averaged", minimum=0)
    check_batches: bool = runtime(True, "try the largest batches first, and say what would fit")
    list_losses: bool = runtime(False, "list the training utterances by loss in losses.tsv when the model is trained")
    wandb: str = runtime("", "project of Weights & Biases to log to; empty: TensorBoard only")
    model: ModelOptions = group(ModelOptions)
    teacher: TeacherOptions = group(TeacherOptions)
    optim: OptimOptions = group(OptimOptions)
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
        if self.precision == "fp16" and not self.num_gpus:
            raise UsageError("--precision fp16: not on a CPU, where PyTorch would quietly use fp32; take bf16 or fp32")
        if self.num_gpus and self.num_processes > 1:
            raise UsageError("--num-processes is for CPUs; with --num-gpus there is a process for each GPU")
        if self.num_nodes == 1 and (self.node_rank > 0 or self.rendezvous):
            raise UsageError("--node-rank and --rendezvous go with --num-nodes; say how many machines there are")
        if self.node_rank >= self.num_nodes:
            raise UsageError(f"--node-rank {self.node_rank}: there are {self.num_nodes} machines, counted from 0")
        if self.optim.schedule == "plateau" and not self.dev_cuts:
            raise UsageError("--optim.schedule plateau: without --dev-cuts there is no loss to judge by; take another")
        kept = "keep_best" if self.dev_cuts and self.average_of == "best" else "keep_last"
        if 0 < getattr(self, kept) < self.average:
            raise UsageError(f"--{kept.replace('_', '-')} {getattr(self, kept)}: --average {self.average} needs "
                             f"as many of them; lower that too, or leave this one out")  # fmt: skip
        if self.patience and not self.dev_cuts:
            raise UsageError("--patience: without --dev-cuts there is no loss to judge by; leave it out")

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

    @property
    def processes(self) -> int:
        """Training processes of each machine."""
        return self.num_gpus or self.num_processes

    @property
    def node(self) -> int:
        """Which machine this is, from 0."""
        if self.num_nodes == 1:
            return 0
        return self.node_rank if self.node_rank >= 0 else int(os.environ.get("SLURM_NODEID", "0"))

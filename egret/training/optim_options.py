"""What can be set of optimisation."""

from dataclasses import dataclass, fields
from typing import Literal

from egret.base.errors import UsageError
from egret.base.options import option


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

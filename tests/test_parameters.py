"""Parameters are initialised, frozen and clipped as asked for, and no others."""

import math

import pytest
import torch
from torch import Tensor, nn

from egret.base.errors import UsageError
from egret.models.norm import BatchNorm
from egret.training.optim_options import OptimOptions
from egret.training.parameters import clip, freeze, initialise, set_training_mode


class Small(nn.Module):
    """Two layers with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.norm, self.dropout = nn.Linear(4, 6), BatchNorm(6), nn.Dropout(0.5)
        self.upper = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.upper(self.dropout(self.norm(self.lower(x), torch.tensor([x.shape[1]]))))


def small() -> Small:
    torch.manual_seed(1)
    return Small()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


# Initialisation


def test_by_default_layers_keep_what_they_chose() -> None:
    model = small()
    before = state(model)
    initialise(model, OptimOptions())
    assert not changed(model, before)


@pytest.mark.parametrize("init", ["uniform", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"])
def test_weights_are_drawn_anew_and_biases_and_norms_are_not(init: str) -> None:
    model = small()
    before = state(model)
    initialise(model, OptimOptions(init=init))
    assert changed(model, before) == {"lower.weight", "upper.0.weight"}


def test_uniform_weights_fill_their_range() -> None:
    model = nn.Linear(100, 100)
    initialise(model, OptimOptions(init="uniform", init_range=0.5))
    assert -0.5 <= model.weight.min() < -0.49 and 0.49 < model.weight.max() <= 0.5


# Freezing


def test_what_a_pattern_matches_is_frozen() -> None:
    model = small()
    freeze(model, ["lower.*", "*.bias"])
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        "norm.weight",
        "upper.0.weight",
    ]


def test_it_says_what_it_froze() -> None:
    assert freeze(small(), ["lower.*"]) == ["lower.weight", "lower.bias"]


def test_a_pattern_that_matches_nothing_is_refused_with_names_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"--freeze encoder\.\*: .*lower\.weight, lower\.bias"):
        freeze(small(), ["lower.*", "encoder.*"])


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing is left to train"):
        freeze(small(), ["*"])


def test_batch_statistics_of_frozen_layers_do_not_move() -> None:
    model = small()
    freeze(model, ["norm.*"])
    before = state(model)
    set_training_mode(model, ["norm.*"])
    model(torch.randn(1, 20, 4))
    assert not changed(model, before)


def test_batch_statistics_of_other_layers_move() -> None:
    model = small()
    before = state(model)
    set_training_mode(model, ["lower.*"])
    model(torch.randn(1, 20, 4))
    assert changed(model, before) == {"norm.mean", "norm.variance"}


def test_dropout_rests_in_frozen_modules_only() -> None:
    model = small()
    set_training_mode(model, ["upper.*"])
    assert model.dropout.training and not model.upper[1].training


def test_training_mode_after_evaluation_mode() -> None:
    model = small()
    model.eval()
    set_training_mode(model, [])
    assert all(module.training for module in model.modules())


# Clipping


def with_gradient(values: list[float]) -> list[nn.Parameter]:
    parameter = nn.Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values, dtype=torch.float)
    return [parameter, nn.Parameter(torch.zeros(2))]  # the second has none


def clipped(values: list[float], options: OptimOptions) -> list[float]:
    parameters = with_gradient(values)
    clip(parameters, options)
    assert parameters[0].grad is not None
    return parameters[0].grad.tolist()


def test_a_long_gradient_is_made_as_long_as_allowed() -> None:
    assert clipped([3, 4], OptimOptions(clip_norm=1)) == pytest.approx([0.6, 0.8])


def test_a_short_gradient_is_left_alone() -> None:
    assert clipped([3, 4], OptimOptions(clip_norm=5.1)) == [3, 4]


def test_without_a_limit_no_gradient_is_changed() -> None:
    assert clipped([3e5, 4e5], OptimOptions(clip_norm=0)) == [3e5, 4e5]


def test_values_are_clipped_after_the_norm() -> None:
    assert clipped([-30, 40], OptimOptions(clip_norm=5, clip_value=3.5)) == pytest.approx([-3, 3.5])


def test_the_norm_before_clipping_is_returned() -> None:
    assert clip(with_gradient([3, 4]), OptimOptions(clip_norm=1, clip_value=0.1)) == 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told(value: float) -> None:
    assert not math.isfinite(clip(with_gradient([3, value]), OptimOptions(clip_norm=0)))

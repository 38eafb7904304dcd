"""Learning rates are those of the published formulas; optimisers get the parameters and settings they should."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from egret.base.errors import UsageError
from egret.training import checkpoints
from egret.training.checkpoints import Progress
from egret.training.optim_options import OptimOptions
from egret.training.schedule import learning_rate, make_optimiser, plateau

OPTIMISERS = ["adamw", "adam", "sgd", "adadelta", "adagrad", "radam", "nadam"]
SCHEDULES = ["cosine", "noam", "tristage", "plateau", "exponential", "constant"]


def rates(steps: int, options: OptimOptions, steps_per_epoch: int = 1) -> list[float]:
    return [learning_rate(step, steps, options, steps_per_epoch) for step in range(steps)]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


def train(trained: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        optimiser.zero_grad(set_to_none=True)
        trained(torch.randn(9, 5)).pow(2).mean().backward()
        optimiser.step()


# Schedules


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_rises_linearly_to_its_peak(schedule: str) -> None:
    options = OptimOptions(lr=2.0, schedule=schedule, warmup=4)
    assert rates(100, options)[:4] == [0.5, 1.0, 1.5, 2.0]


def test_a_warmup_up_to_1_is_a_part_of_all_steps() -> None:
    assert rates(80, OptimOptions(lr=8.0, schedule="constant"))[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 8]


def test_a_warmup_above_1_is_a_number_of_steps_however_many_there_are() -> None:
    options = OptimOptions(schedule="constant", warmup=10)
    assert rates(100, options)[:20] == rates(1000, options)[:20]


def test_a_warmup_longer_than_training_only_rises() -> None:
    found = rates(10, OptimOptions(lr=1.0, warmup=20))
    assert found == [(step + 1) / 20 for step in range(10)]


def test_constant_stays_at_its_peak() -> None:
    assert set(rates(100, OptimOptions(lr=3.0, schedule="constant", warmup=0))) == {3.0}


def test_cosine_is_half_way_down_in_the_middle() -> None:
    options = OptimOptions(lr=1.0, warmup=20, final_lr=0.1)
    assert learning_rate(60, 100, options) == pytest.approx((1 + 0.1) / 2)


def test_cosine_ends_at_the_last_learning_rate() -> None:
    assert learning_rate(100, 100, OptimOptions(lr=2.0, final_lr=0.1)) == pytest.approx(0.2)


def test_by_default_learning_rates_are_what_they_were_before_there_were_others() -> None:
    """To the bit, for experiments that go on: the formula as it stood."""
    steps, warmup, options = 57, 6, OptimOptions(lr=0.003)
    before = [0.003 * (step + 1) / warmup for step in range(warmup)] + [
        0.003 * (0.05 + (1 - 0.05) * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup)))))
        for step in range(warmup, steps)
    ]
    assert rates(steps, options) == before


def test_noam_with_the_size_of_the_model_is_the_formula_of_the_paper() -> None:
    options = OptimOptions(lr=2.0, schedule="noam", warmup=40, model_size=256)
    paper = [2.0 * 256**-0.5 * min(step**-0.5, step * 40**-1.5) for step in range(1, 201)]
    assert rates(200, options) == pytest.approx(paper)


def test_noam_without_the_size_of_the_model_has_the_learning_rate_at_its_peak() -> None:
    options = OptimOptions(lr=2.0, schedule="noam", warmup=40)
    assert max(rates(200, options)) == 2.0 and learning_rate(159, 200, options) == pytest.approx(2.0 / 2)


def test_tristage_holds_its_peak_for_a_part_of_all_steps() -> None:
    options = OptimOptions(lr=2.0, schedule="tristage", warmup=0.1, hold=0.4)
    assert [step for step, rate in enumerate(rates(100, options)) if rate == 2.0] == list(range(9, 51))


def test_tristage_decays_exponentially_to_the_last_learning_rate() -> None:
    options = OptimOptions(lr=1.0, schedule="tristage", warmup=10, hold=40, final_lr=0.01)
    found = [learning_rate(step, 100, options) for step in (50, 75, 100, 120)]
    assert found == pytest.approx([1, 0.1, 0.01, 0.01])


def test_tristage_to_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--optim.final-lr 0: --optim.schedule tristage"):
        OptimOptions(schedule="tristage", final_lr=0)


def test_exponential_falls_from_epoch_to_epoch_and_not_within_one() -> None:
    options = OptimOptions(lr=8.0, schedule="exponential", warmup=0, decay=0.5, decay_after=1)
    assert rates(12, options, steps_per_epoch=3) == [8, 8, 8, 8, 8, 8, 4, 4, 4, 2, 2, 2]


def test_exponential_falls_no_lower_than_the_last_learning_rate() -> None:
    options = OptimOptions(lr=1.0, schedule="exponential", warmup=0, decay=0.5, final_lr=0.2)
    assert min(rates(50, options)) == 0.2


def test_the_plateaus_factor_multiplies_the_learning_rate() -> None:
    options = OptimOptions(lr=4.0, schedule="plateau", warmup=2)
    assert [learning_rate(step, 9, options, factor=0.25) for step in (0, 1, 8)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "losses, factor",
    [
        ([], 1),
        ([5, 4, 3], 1),
        ([5, 4, 4.5], 1),
        ([5, 4, 4.5, 4], 0.5),
        ([5, 4, 4.5, 4, 3], 0.5),
        ([5, 4, 4.5, 4, 4, 4], 0.25),
        ([5, 4, 4.5, 3, 3.5], 1),
        ([5, math.nan, math.nan], 0.5),
        ([1] * 100, 0.05),
    ],
)
def test_the_learning_rate_halves_when_the_loss_has_not_fallen_for_two_epochs(
    losses: list[float], factor: float
) -> None:
    assert plateau(losses, OptimOptions(schedule="plateau", patience=2)) == factor


def test_other_schedules_do_not_look_at_the_loss_on_dev() -> None:
    assert plateau([1.0] * 9, OptimOptions()) == 1


# Optimisers


@pytest.mark.parametrize("name", OPTIMISERS)
def test_weights_decay_and_biases_and_norms_do_not(name: str) -> None:
    trained = model()
    groups = make_optimiser(trained, OptimOptions(name=name, weight_decay=0.3)).param_groups
    found = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [found[id(parameter)] for parameter in trained.parameters()] == [0.3, 0, 0, 0, 0.3, 0]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_makes_the_loss_smaller(name: str) -> None:
    trained = model()
    x = torch.randn(9, 5)
    before = float(trained(x).pow(2).mean())
    train(trained, make_optimiser(trained, OptimOptions(name=name, lr=1.0 if name == "adadelta" else 0.01)), range(30))
    assert float(trained(x).pow(2).mean()) < before


@pytest.mark.parametrize("name", OPTIMISERS)
def test_training_goes_on_from_a_checkpoint_to_the_bit(name: str, tmp_path: Path) -> None:
    options = OptimOptions(name=name, lr=0.01)
    through = model()
    train(through, make_optimiser(through, options), range(12))
    first = model()
    optimiser = make_optimiser(first, options)
    train(first, optimiser, range(6))
    saved = checkpoints.save(tmp_path, first, optimiser, Progress(step=6))
    second = model()
    optimiser = make_optimiser(second, options)
    checkpoints.restore(saved, second, optimiser)
    train(second, optimiser, range(6, 12))
    assert all(torch.equal(a, b) for a, b in zip(through.parameters(), second.parameters(), strict=True))


def test_by_default_the_optimiser_is_what_it_was_before_there_were_others() -> None:
    now, before = model(), model()
    weights, others = [before[0].weight, before[2].weight], [before[0].bias, *before[1].parameters(), before[2].bias]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    train(now, make_optimiser(now, OptimOptions()), range(5))
    train(before, torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98)), range(5))
    assert all(torch.equal(a, b) for a, b in zip(now.parameters(), before.parameters(), strict=True))


def test_what_is_frozen_is_not_given_to_the_optimiser() -> None:
    trained = model()
    trained[0].requires_grad_(False)
    groups = make_optimiser(trained, OptimOptions()).param_groups
    assert [len(group["params"]) for group in groups] == [1, 3]


@pytest.mark.parametrize(
    "chosen, settings",
    [
        ({"name": "adam", "beta1": 0.8, "beta2": 0.7, "eps": 1e-3}, {"betas": (0.8, 0.7), "eps": 1e-3}),
        ({"name": "radam", "beta1": 0.8}, {"betas": (0.8, 0.98), "eps": 1e-8}),
        ({"name": "sgd", "momentum": 0.5}, {"momentum": 0.5, "nesterov": True}),
        ({"name": "adadelta", "beta2": 0.95}, {"rho": 0.95, "eps": 1e-6}),
        ({"name": "adagrad"}, {"eps": 1e-10}),
    ],
)
def test_settings_reach_the_optimiser(chosen: dict, settings: dict) -> None:
    group = make_optimiser(model(), OptimOptions(**chosen)).param_groups[0]
    assert {name: group[name] for name in settings} == settings


def test_only_adamw_decays_weights_unless_told_to() -> None:
    assert [OptimOptions(name=name).weight_decay for name in ("adamw", "adam", "sgd")] == [0.01, 0, 0]


@pytest.mark.parametrize(
    "chosen, named",
    [
        ({"momentum": 0.5}, ["--optim.momentum", "--optim.name sgd", "adamw"]),
        ({"name": "sgd", "beta1": 0.5}, ["--optim.beta1", "sgd"]),
        ({"name": "adagrad", "beta2": 0.5}, ["--optim.beta2", "adagrad"]),
        ({"name": "sgd", "eps": 0.5}, ["--optim.eps", "sgd"]),
        ({"schedule": "noam", "final_lr": 0.5}, ["--optim.final-lr", "noam"]),
        ({"model_size": 256}, ["--optim.model-size", "--optim.schedule noam", "cosine"]),
        ({"hold": 0.1}, ["--optim.hold", "tristage"]),
        ({"patience": 3}, ["--optim.patience", "plateau"]),
        ({"reduction": 0.1}, ["--optim.reduction", "plateau"]),
        ({"decay": 0.5}, ["--optim.decay", "exponential"]),
        ({"decay_after": 5}, ["--optim.decay-after", "exponential"]),
        ({"init_range": 0.5}, ["--optim.init-range", "--optim.init uniform", "default"]),
    ],
)
def test_an_option_that_what_is_chosen_has_no_use_for_is_refused(chosen: dict, named: list[str]) -> None:
    with pytest.raises(UsageError) as refusal:
        OptimOptions(**chosen)
    assert all(name in str(refusal.value) for name in named)

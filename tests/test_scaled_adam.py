"""ScaledAdam and the Eden schedule are those of their equations, and go on from a checkpoint to the bit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from egret.base.errors import UsageError
from egret.training import checkpoints
from egret.training.checkpoints import Progress
from egret.training.optim_options import OptimOptions
from egret.training.scaled_adam import FEWEST, LARGEST, SCALE_RATE, WINDOW, ScaledAdam
from egret.training.schedule import learning_rate, make_optimiser

SCALED = OptimOptions(name="scaled_adam", lr=0.02)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 1))


def train(trained: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        optimiser.zero_grad(set_to_none=True)
        (trained(torch.randn(9, 5)) - 1).pow(2).mean().backward()
        optimiser.step()


def steps_of(begin: torch.Tensor, gradients: torch.Tensor, **settings: float) -> torch.Tensor:
    """Where a parameter ends that begins so and sees these gradients."""
    parameter = nn.Parameter(begin.clone())
    optimiser = ScaledAdam([parameter], **settings)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


def by_the_equations(begin: torch.Tensor, gradients: torch.Tensor, lr: float) -> torch.Tensor:
    """Section 3.5 of arXiv:2310.11230 with beta 0.9 and 0.98, in double precision."""
    theta, beta1, beta2 = begin.double(), 0.9, 0.98
    m, v, n, w = torch.zeros_like(theta), torch.zeros_like(theta), 0.0, 0.0
    for time, gradient in enumerate(gradients.double(), 1):
        r = theta.square().mean().sqrt()
        unit = theta / r
        h = (gradient * unit).sum()
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        n, w = beta1 * n + (1 - beta1) * h, beta2 * w + (1 - beta2) * h**2
        correction = (1 - beta2**time) ** 0.5 / (1 - beta1**time)
        theta = theta - lr * r * correction * m / v.sqrt() - 0.1 * lr * r * correction * n / w**0.5 * unit
    return theta.float()


# The optimiser


def test_its_steps_are_those_of_the_equations() -> None:
    torch.manual_seed(1)
    begin, gradients = torch.randn(3, 4), torch.randn(8, 3, 4)
    found = steps_of(begin, gradients, lr=0.05, clip_median=0)
    assert torch.allclose(found, by_the_equations(begin, gradients, 0.05), atol=1e-5)


def test_steps_are_relative_to_the_size_of_the_weights() -> None:
    torch.manual_seed(1)
    begin, gradients = torch.randn(3, 4), torch.randn(5, 3, 4)
    assert torch.allclose(steps_of(begin / 20, gradients) * 20, steps_of(begin, gradients), atol=1e-5)


def test_the_size_of_the_gradients_does_not_matter() -> None:
    torch.manual_seed(1)
    begin, gradients = torch.randn(3, 4), torch.randn(5, 3, 4)
    assert torch.allclose(steps_of(begin, gradients * 50), steps_of(begin, gradients), atol=1e-5)


def test_a_number_that_stands_alone_has_adams_steps_at_the_scales_rate() -> None:
    torch.manual_seed(1)
    begin, gradients = torch.randn(()), torch.randn(5)
    theirs = nn.Parameter(begin.clone())
    adam = torch.optim.Adam([theirs], lr=0.05 * SCALE_RATE, betas=(0.9, 0.98))
    for gradient in gradients:
        theirs.grad = gradient.clone()
        adam.step()
    assert float(steps_of(begin, gradients, lr=0.05)) == pytest.approx(float(theirs), abs=1e-6)


def test_weights_of_zero_begin_to_move() -> None:
    assert (steps_of(torch.zeros(4), torch.ones(3, 4), lr=0.1) < 0).all()


@pytest.mark.parametrize("size, learned", [(LARGEST - 1, 1), (LARGEST + 1, -1)])
def test_a_scale_that_is_too_large_shrinks_whatever_its_gradient(size: float, learned: int) -> None:
    found = steps_of(torch.full((4,), size), torch.full((1, 4), -1.0), lr=0.1)
    assert torch.allclose(found, torch.full((4,), size) * (1 + 0.1 + learned * SCALE_RATE * 0.1), rtol=1e-5)


def burst(clip_median: float) -> torch.Tensor:
    """Where a parameter ends after usual gradients and one a thousand times as large."""
    torch.manual_seed(1)
    gradients = torch.randn(FEWEST + 1, 6)
    gradients[-1] *= 1000
    return steps_of(torch.ones(6), gradients, clip_median=clip_median)


def test_a_gradient_far_above_the_median_is_clipped_to_a_multiple_of_it() -> None:
    torch.manual_seed(1)
    gradients = torch.randn(FEWEST + 1, 6)
    norms, parameter = [], nn.Parameter(torch.ones(6))
    optimiser = ScaledAdam([parameter], clip_median=0)
    for number, gradient in enumerate(gradients):
        size = float(parameter.detach().square().mean().sqrt())
        if number == FEWEST:
            gradient = gradient / gradient.norm() * 2 * float(torch.tensor(norms).median()) / size
        norms.append(float(gradient.norm()) * size)
        parameter.grad = gradient
        optimiser.step()
    assert torch.allclose(burst(2.0), parameter.detach(), atol=1e-5)


def test_gradients_are_not_clipped_where_that_is_not_wanted() -> None:
    assert not torch.allclose(burst(0), burst(2.0), atol=1e-3)


def test_only_the_last_norms_are_remembered() -> None:
    trained = model()
    optimiser = make_optimiser(trained, SCALED)
    train(trained, optimiser, range(WINDOW + 5))
    assert len(optimiser.state[trained[0].weight]["norms"]) == WINDOW


@pytest.mark.parametrize("first", [3, WINDOW + 5])
def test_training_goes_on_from_a_checkpoint_to_the_bit(first: int, tmp_path: Path) -> None:
    through = model()
    train(through, make_optimiser(through, SCALED), range(first + 6))
    before = model()
    optimiser = make_optimiser(before, SCALED)
    train(before, optimiser, range(first))
    saved = checkpoints.save(tmp_path, before, optimiser, Progress(step=first))
    after = model()
    optimiser = make_optimiser(after, SCALED)
    checkpoints.restore(saved, after, optimiser)
    train(after, optimiser, range(first, first + 6))
    assert all(torch.equal(a, b) for a, b in zip(through.parameters(), after.parameters(), strict=True))


def test_it_makes_the_loss_smaller() -> None:
    trained, x = model(), torch.randn(9, 5)
    before = float((trained(x) - 1).pow(2).mean())
    train(trained, make_optimiser(trained, SCALED), range(60))
    assert float((trained(x) - 1).pow(2).mean()) < 0.5 * before


def test_what_has_no_gradient_stays() -> None:
    trained = model()
    before = trained[0].weight.detach().clone()
    optimiser = make_optimiser(trained, SCALED)
    trained[2](torch.randn(3, 7)).sum().backward()
    optimiser.step()
    assert torch.equal(trained[0].weight, before)


def test_its_settings_are_those_of_the_options() -> None:
    options = OptimOptions(name="scaled_adam", beta1=0.8, beta2=0.9, eps=1e-5, clip_median=3.0)
    defaults = make_optimiser(model(), options).defaults
    assert {name: defaults[name] for name in ("betas", "eps", "clip_median")} == {
        "betas": (0.8, 0.9), "eps": 1e-5, "clip_median": 3.0,
    }  # fmt: skip


def test_what_is_frozen_is_not_given_to_it() -> None:
    trained = model()
    trained[0].requires_grad_(False)
    assert len(make_optimiser(trained, SCALED).param_groups[0]["params"]) == 4


@pytest.mark.parametrize(
    "given, says",
    [
        ({"name": "scaled_adam", "weight_decay": 0.1}, "--optim.weight-decay: scaled_adam"),
        ({"clip_median": 3.0}, "--optim.clip-median goes with --optim.name scaled_adam"),
        ({"eden_steps": 100.0}, "--optim.eden-steps goes with --optim.schedule eden"),
        ({"eden_epochs": 1.0}, "--optim.eden-epochs goes with --optim.schedule eden"),
        ({"schedule": "eden", "final_lr": 0.5}, "--optim.final-lr goes with"),
    ],
)
def test_options_without_a_use_are_refused(given: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        OptimOptions(**given)


# The schedule

EDEN = OptimOptions(name="scaled_adam", lr=2.0, schedule="eden", warmup=10, eden_steps=100, eden_epochs=4)


def test_eden_is_its_formula_of_step_and_epoch() -> None:
    expected = 2.0 * ((300**2 + 100**2) / 100**2) ** -0.25 * ((6**2 + 4**2) / 4**2) ** -0.25
    assert learning_rate(300, 1000, EDEN, steps_per_epoch=50) == pytest.approx(expected)


def test_eden_rises_from_a_half() -> None:
    flat = OptimOptions(lr=2.0, schedule="eden", warmup=10, eden_steps=1e9, eden_epochs=1e9)
    assert [learning_rate(step, 1000, flat) for step in (0, 5, 10, 50)] == pytest.approx([1.0, 1.5, 2.0, 2.0])


def test_eden_falls_within_an_epoch_and_more_from_one_to_the_next() -> None:
    found = [learning_rate(step, 1000, EDEN, steps_per_epoch=50) for step in (148, 149, 150)]
    assert found[0] - found[1] < 0.1 * (found[1] - found[2])


def test_how_long_training_is_does_not_change_eden() -> None:
    assert learning_rate(70, 100, EDEN, 20) == learning_rate(70, 1000, EDEN, 20)

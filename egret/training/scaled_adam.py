"""ScaledAdam: Adam whose steps are relative to the size of the weights.

Yao et al. 2024, "Zipformer: A faster and better encoder for automatic speech recognition", arXiv:2310.11230, section
3.5.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

SCALE_RATE = 0.1  # of the scales' learning rate to that of the weights (the paper's eta)
SMALLEST, LARGEST = 1e-5, 3.0  # root mean squares: what a tensor is taken to have at least; above, its scale shrinks
WINDOW, FEWEST = 100, 10  # steps whose norms give the median, and how few will do at the beginning


class ScaledAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015) with two changes for each tensor, whose root mean square is r.

    Its step is multiplied by r, so that the relative change is the same for small and large weights. And r is learned
    as if it were a parameter, by Adam too, from its gradient, the sum of gradient times weight over r.

    Numbers that stand alone, which have no scale, get Adam's step with the scales' learning rate.

    Gradients are made smaller where their norm is more than `clip_median` times the median of the last WINDOW steps;
    0: never. In this norm each tensor's gradient counts times its r. The authors' implementation (icefall) does so too,
    there with the median of each 100 steps for the next 100.

    All that it remembers is tensors of the parameters; the norms are remembered with the first one.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 0.045,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        clip_median: float = 2.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "clip_median": clip_median})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not trained:
                continue
            sizes = [root_mean_square(parameter) for parameter in trained]
            share = self.share_that_is_kept(trained, sizes, group["clip_median"])
            for parameter, size in zip(trained, sizes, strict=True):
                self.change(parameter, size, share, group)
        return loss

    def share_that_is_kept(self, trained: list[nn.Parameter], sizes: list[Tensor], clip_median: float) -> Tensor | None:
        """What gradients are multiplied by; None: they stay. Remembers their norm."""
        if not clip_median:
            return None
        norms = [gradient_of(parameter).norm() * size for parameter, size in zip(trained, sizes, strict=True)]
        norm = torch.stack(norms).norm()
        state = self.state[self.param_groups[0]["params"][0]]
        before = state.get("norms", norm.new_zeros(0))
        state["norms"] = torch.cat([before, norm[None]])[-WINDOW:]
        if len(before) < FEWEST:
            return None
        return (clip_median * before.median() / norm.clamp(min=1e-30)).clamp(max=1.0)

    def change(self, parameter: nn.Parameter, size: Tensor, share: Tensor | None, group: dict[str, Any]) -> None:
        """Make the step of one parameter of a root mean square, as a number `size`."""
        state, gradient = self.state[parameter], gradient_of(parameter)
        single = parameter.numel() == 1
        if share is not None:
            gradient = gradient * share
        if "step" not in state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            if not single:
                state["scale_exp_avg"] = torch.zeros_like(size)
                state["scale_exp_avg_sq"] = torch.zeros_like(size)
        state["step"] += 1
        time, rate = float(state["step"]), group["lr"]
        step = direction(gradient, state["exp_avg"], state["exp_avg_sq"], time, group)
        if single:
            parameter.sub_(step, alpha=rate * SCALE_RATE)
            return
        of_scale = torch.dot(gradient.flatten(), parameter.flatten()) / size
        growth = direction(of_scale, state["scale_exp_avg"], state["scale_exp_avg_sq"], time, group)
        growth = torch.where(size > LARGEST, torch.ones_like(growth), growth)  # too large: it must shrink
        parameter.mul_(1 - rate * SCALE_RATE * growth).sub_(step.mul_(rate * size))


def direction(gradient: Tensor, mean: Tensor, square: Tensor, time: float, group: dict[str, Any]) -> Tensor:
    """Adam's step for a learning rate of 1, its averages brought up to date."""
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    step = mean / square.sqrt().add_(group["eps"])
    return step.mul_((1 - beta2**time) ** 0.5 / (1 - beta1**time))


def root_mean_square(parameter: Tensor) -> Tensor:
    """As a tensor without dimensions, so that a GPU need not be waited for; at least SMALLEST."""
    return (parameter.norm() * parameter.numel() ** -0.5).clamp(min=SMALLEST)


def gradient_of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad

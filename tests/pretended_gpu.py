"""A GPU for machines without one: tensors that lie on the CPU and pass for a GPU's.

Within `PretendedGpu()` a tensor that is made with `device="cuda"`, or moved there, is marked, and so is what is
computed of marked tensors. As with a real GPU it is an error to compute with tensors of both kinds, or to make a NumPy
array of a marked one; indices, single numbers and the lengths of packed sequences may be on the CPU. That shows where a
tensor was left behind. What a GPU's kernels compute, how fast, and what libraries other than PyTorch make of it, it
does not show.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
# Functions that take tensors of both kinds, and which of their results are on the CPU all the same.
BOTH: dict[str, tuple[int, ...]] = {
    "copy_": (), "__setitem__": (), "_pack_padded_sequence": (1,), "_pad_packed_sequence": (1,), "lstm": (), "gru": (),
}  # fmt: skip
MODULE_TO, GET_ITEM = torch.nn.Module.to, Tensor.__getitem__


def on_gpu(tensor: Tensor) -> bool:
    return getattr(tensor, "pretended", False)


def mark(tensor: Tensor, gpu: bool) -> None:
    tensor.pretended = gpu  # type: ignore[attr-defined]


def tensors(value: Any) -> Iterator[Tensor]:
    """All that are in arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)
    elif isinstance(value, slice):
        yield from tensors([value.start, value.stop, value.step])
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"))


class PretendedGpu(TorchFunctionMode):
    """Tensors marked as lying on a GPU."""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func is torch.device:  # of which PyTorch 2 tells the mode, too
            return func(*args, **kwargs)
        if name == "__get__" and getattr(func, "__self__", None) is Tensor.device:
            return GPU if on_gpu(args[0]) else CPU
        gpu = lands_on_gpu(name, args, kwargs)
        result = func(*map(here, args), **{key: here(value) for key, value in kwargs.items()})
        if name in ("to", "cpu") and result is args[0] and on_gpu(result) != gpu:
            result = result.clone()  # a copy on the other device
        for place, each in enumerate(result if BOTH.get(name) else [result]):
            for tensor in tensors(each):
                mark(tensor, gpu and not (BOTH.get(name) and place in BOTH[name]))
        return result


def here(value: Any) -> Any:
    """An argument for PyTorch, which has no other device."""
    return CPU if is_device(value) else value


def lands_on_gpu(name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a function's result is on the GPU; an error where a GPU would refuse its arguments."""
    given = list(tensors([args, kwargs]))
    gpu = any(map(on_gpu, given))
    if name == "numpy" and gpu:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if name == "cpu":
        return False
    if name == "to":
        others = [*args[1:], *kwargs.values()]
        devices = [torch.device(each).type == "cuda" for each in others if is_device(each)]
        return [*devices, *map(on_gpu, tensors(others)), gpu][0]
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == "cuda"
    if gpu and name not in BOTH:
        alike = given[:1] if name == "__getitem__" and on_gpu(given[0]) else given
        if behind := [list(each.shape) for each in alike if not on_gpu(each) and each.dim()]:
            raise RuntimeError(f"{name}: tensors on two devices, of shapes {behind} on the CPU")
    return gpu


def move(module: torch.nn.Module, device: torch.device | None = None, **more: Any) -> torch.nn.Module:
    """As Module.to."""
    if device is None:
        return MODULE_TO(module, **more)
    for tensor in chain(module.parameters(), module.buffers()):
        mark(tensor, device.type == "cuda")
    return module


def install(monkeypatch: pytest.MonkeyPatch) -> PretendedGpu:
    """One GPU of which PyTorch tells; to be entered with `with`."""
    mode = PretendedGpu()
    # Of tensors that are indexed PyTorch 1.13 does not tell the mode.
    monkeypatch.setattr(Tensor, "__getitem__", lambda *given: mode.__torch_function__(GET_ITEM, (), given))
    monkeypatch.setattr(torch.nn.Module, "to", move)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return mode

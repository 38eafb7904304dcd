"""Where the model's self-attention looks, as pictures; models without attention have none."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.features.batching import STORED, Inputs, load_batch
from egret.models.attention import RelativeAttention, attention_weights
from egret.models.model import JointModel
from egret.report.html import Markup, data_uri, el
from egret.report.png import heat_map

SIDE = 400  # pixels of a picture at most: neighbouring frames are averaged
ABOUT = (
    "Mean over the heads. Across: the frame looked at; up: the frame that looks; time begins at the lower left. "
    "Light is much. On a diagonal frames look at their neighbourhood; a column is a frame that all of them look at."
)


def attention_maps(model: JointModel, cut: dict[str, Any], inputs: Inputs = STORED) -> list[tuple[str, np.ndarray]]:
    """The mean over heads [T, T] of the first, the middle and the last layer for an utterance, each with its name; row
    t says where frame t looks. Empty for a model without self-attention.

    Raises:
      EgretError: the features cannot be read.
    """
    layers = [module for module in model.modules() if isinstance(module, RelativeAttention)]
    if not layers:
        return []
    seen: dict[int, np.ndarray] = {}
    chosen = sorted({0, (len(layers) - 1) // 2, len(layers) - 1})

    def watch(number: int, layer: RelativeAttention) -> Any:
        def look(_: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
            seen[number] = attention_weights(layer, *given)[0].mean(dim=0).numpy()

        return layer.register_forward_pre_hook(look)

    if not cut["features"]["num_frames"]:
        raise EgretError("it is so short that it has no features")
    hooks = [watch(number, layers[number]) for number in chosen]
    try:
        with torch.no_grad():
            model.encode(*load_batch([cut], inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return [(f"layer {number + 1} of {len(layers)}", seen[number]) for number in chosen]


def attention_section(model: JointModel, cut: dict[str, Any], inputs: Inputs = STORED) -> Markup:
    """The pictures of one utterance, side by side; nothing for a model without self-attention.

    Raises:
      EgretError: the features cannot be read.
    """
    pictures = [_picture(name, weights) for name, weights in attention_maps(model, cut, inputs)]
    if not pictures:
        return Markup("")
    facts = f"{cut['id']}, {cut['duration']:.2f} s. {ABOUT}"
    boxes = el("div", pictures, class_="charts")
    return el("section", el("h2", "Self-attention"), el("p", facts, class_="note"), boxes)


def _picture(name: str, weights: np.ndarray) -> Markup:
    content = heat_map(reduced(weights, SIDE).T)
    image = el("img", src=data_uri("image/png", content), alt=f"attention weights, {name}", class_="attention")
    return el("figure", el("figcaption", name), image)


def reduced(values: np.ndarray, side: int) -> np.ndarray:
    """Square values [T, T] as at most `side` on a side, neighbours averaged."""
    size = -(-len(values) // side)
    starts = np.arange(0, len(values), size)
    counts = np.diff([*starts, len(values)])
    summed = np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1)
    return summed / counts[:, None] / counts[None, :]

"""Where the model's attention looks, as pictures; models without attention have none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egret.base.errors import EgretError
from egret.features.batching import STORED, Inputs, load_batch
from egret.models.attention import RelativeAttention, attention_weights
from egret.models.cross_attention import AdditiveAttention, DotAttention
from egret.models.greedy import decoder_greedy, most_tokens
from egret.models.model import JointModel
from egret.models.options import MAX_RATIO
from egret.models.zipformer_modules import AttentionWeights
from egret.report.html import Markup, data_uri, el
from egret.report.png import heat_map

LOOKS_AT_FRAMES = (DotAttention, AdditiveAttention)
SIDE = 400  # pixels of a picture at most: neighbouring frames are averaged
ABOUT = (
    "Mean over the heads. Across: the frame looked at; up: the frame that looks; time begins at the lower left. "
    "Light is much. On a diagonal frames look at their neighbourhood; a column is a frame that all of them look at. "
    "Of a decoder a row is a token."
)


def attention_maps(model: JointModel, cut: dict[str, Any], inputs: Inputs = STORED) -> list[tuple[str, np.ndarray]]:
    """The mean over heads [T, T] of the first, the middle and the last layer for an utterance, each with its name; row
    t says where frame t looks. Empty for a model without self-attention.

    Raises:
      EgretError: the features cannot be read.
    """
    layers = [module for module in model.encoder.modules() if isinstance(module, RelativeAttention | AttentionWeights)]
    chosen = sorted({0, (len(layers) - 1) // 2, len(layers) - 1}) if layers else []
    seen: dict[int, np.ndarray] = {}

    def watch(number: int, layer: RelativeAttention | AttentionWeights) -> Any:
        def look(_: torch.nn.Module, given: tuple[Tensor, ...], weights: Tensor) -> None:
            if isinstance(layer, RelativeAttention):
                seen[number] = attention_weights(layer, *given)[0].mean(dim=0).numpy()
            else:
                seen[number] = weights.mean(dim=0)[0].numpy()

        return layer.register_forward_hook(look)

    with watched([watch(number, layers[number]) for number in chosen]), torch.no_grad():
        model.encode(*features_of(cut, inputs))
    return [(f"layer {number + 1} of {len(layers)}", seen[number]) for number in chosen]


def decoder_maps(model: JointModel, cut: dict[str, Any], inputs: Inputs = STORED) -> list[tuple[str, np.ndarray]]:
    """The mean over heads [U, T] of each of the decoder's layers that look at the encoder's frames, with its name; row
    u says where it looked for token u of what it makes of the utterance by itself. Empty for a model without a decoder.

    Raises:
      EgretError: the features cannot be read.
    """
    if model.decoder is None:
        return []
    layers = [module for name, module in model.decoder.named_modules()
              if isinstance(module, LOOKS_AT_FRAMES) and not name.endswith("own_attention")]  # fmt: skip
    seen: list[list[np.ndarray]] = [[] for _ in layers]

    def watch(rows: list[np.ndarray], layer: torch.nn.Module) -> Any:
        return layer.register_forward_hook(lambda _, given, made: rows.append(made[1][0, 0].numpy()))

    features, frames = features_of(cut, inputs)
    with watched([watch(rows, layer) for rows, layer in zip(seen, layers, strict=True)]), torch.no_grad():
        x, lengths, _ = model.encode(features, frames)
        decoder_greedy(model.decoder, x, lengths, most_tokens(frames, MAX_RATIO).tolist())
    return [(f"decoder, layer {number} of {len(layers)}", np.stack(rows)) for number, rows in enumerate(seen, 1)]


def features_of(cut: dict[str, Any], inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Features [1, T, C] and their length [1] of a cut."""
    if not cut["features"]["num_frames"]:
        raise EgretError("it is so short that it has no features")
    return load_batch([cut], inputs)


@contextmanager
def watched(hooks: list[Any]) -> Iterator[None]:
    """Hooks that are taken off in the end."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def attention_section(model: JointModel, cut: dict[str, Any], inputs: Inputs = STORED) -> Markup:
    """The pictures of one utterance, side by side; nothing for a model without attention.

    Raises:
      EgretError: the features cannot be read.
    """
    pictures = [_picture(*each) for each in attention_maps(model, cut, inputs) + decoder_maps(model, cut, inputs)]
    if not pictures:
        return Markup("")
    facts = f"{cut['id']}, {cut['duration']:.2f} s. {ABOUT}"
    boxes = el("div", pictures, class_="charts")
    return el("section", el("h2", "Attention"), el("p", facts, class_="note"), boxes)


def _picture(name: str, weights: np.ndarray) -> Markup:
    content = heat_map(reduced(weights, SIDE).T)
    image = el("img", src=data_uri("image/png", content), alt=f"attention weights, {name}", class_="attention")
    return el("figure", el("figcaption", name), image)


def reduced(values: np.ndarray, side: int) -> np.ndarray:
    """Values [U, T] as at most `side` on a side, neighbours averaged."""
    for axis, length in enumerate(values.shape):
        starts = np.arange(0, length, -(-length // side))
        counts = np.diff([*starts, length])
        values = np.add.reduceat(values, starts, axis=axis) / np.expand_dims(counts, 1 - axis)
    return values

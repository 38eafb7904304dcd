"""Streaming: what modules that hear an utterance piece by piece have in common.

An encoder that can stream has, beside `forward`, which is given a whole utterance:

- `start(batch)`: the state before anything is heard, a list of tensors of N utterances each.
- `stream(x, state, last)`: of a piece of features [N, T, C] and the state the outputs [N, T', D] that are settled by
  now, and the next state; the given one stays as it is. With `last` the utterances end with this piece: what was held
  back is put out, and the state is again that of the start.
- `piece`: how many frames of features make whole outputs: a chunk, or the product of the strides. Pieces may be of any
  length, none at all too, but only after whole multiples of it is nothing held back but for the `delay`.
- `delay`: so many frames of features must be heard behind a piece before its outputs are settled.
- `cannot_stream`: why it cannot, for whoever asks all the same; empty: it can.

The outputs of all pieces are together what `forward` makes of the whole utterance in evaluation mode. All utterances
of a batch are given as many frames and end together; one that ends by itself is taken out of the state,
`[each[rows] for each in state]`, and states of the same sizes can be joined to one, whenever they began. The state does
not grow, but for attention that goes back without limit. Call it without gradients, for which the state would hold on
to all that was heard (JointModel sees to that itself).

A module with a memory has `start` and `stream` beside its `forward`, with the same weights. The state is a queue: each
module takes its tensors from the front and puts what they have become to the back, so that it is in order again when
all have had their turn.
"""

from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional

from egret.base.errors import EgretError


def refuse(reason: str, training: bool) -> None:
    """Stop where there is a reason for which a model cannot stream, or where it is in training mode.

    Raises:
      EgretError: it is one or the other.
    """
    if reason:
        raise EgretError(reason)
    if training:
        raise EgretError("this model is in training mode, in which nothing can be streamed; call its eval() first")


def convolve(
    x: Tensor,
    state: list[Tensor],
    last: bool,
    weight: Tensor,
    bias: Optional[Tensor],
    stride: list[int],
    padding: int,
    after: int,
    groups: int = 1,
    time: int = 2,
) -> Tensor:
    """The outputs of a convolution over images for which enough has been heard. The state has the frames that later
    ones see again, at the start the zeros before the first frame.

    Args:
      x: what is new, [N, C, T, F], or [N, C, F, T] where `time` is 3; none too.
      padding: frequencies of zeros on both sides.
      after: frames of zeros behind the last.
    """
    kernel, step = weight.shape[time], stride[time - 2]
    x = torch.cat([state.pop(0), x], time)
    if last:
        behind = after + max(step - kernel, 0)
        x = functional.pad(x, [0, behind] if time == 3 else [0, 0, 0, behind])
    count = max(0, (x.shape[time] - max(kernel, step)) // step + 1)
    state.append(x.narrow(time, count * step, x.shape[time] - count * step).clone())  # not a view of more than that
    if count == 0:  # an output that is thrown away gives nothing its shape
        shape = list(x.shape)
        shape[time] = kernel
        x = x.new_zeros(shape)
    else:
        x = x.narrow(time, 0, (count - 1) * step + kernel)
    x = functional.conv2d(x, weight, bias, stride, [padding, 0] if time == 3 else [0, padding], groups=groups)
    return x.narrow(time, 0, count)


def remember(x: Tensor, state: list[Tensor], frames: int) -> Tensor:
    """[N, T, ...] behind the frames in the state, [N, past + T, ...]. The last `frames` of them all are there next
    time."""
    x = torch.cat([state.pop(0), x], 1)
    state.append(x[:, x.shape[1] - frames :].clone())
    return x


def whole_chunks(x: Tensor, state: list[Tensor], chunk: int, last: bool) -> Tensor:
    """[N, T, ...] and what was held back before, as far as it makes whole chunks; the last one need not be whole. The
    rest is held back in the state."""
    x = torch.cat([state.pop(0), x], 1)
    frames = x.shape[1] if last else x.shape[1] // chunk * chunk
    state.append(x[:, frames:].clone())
    return x[:, :frames]


def unchanged(state: list[Tensor], count: int) -> None:
    """Put the first `count` tensors to the back as they are: there is nothing for their modules yet."""
    for _ in range(count):
        state.append(state.pop(0))

"""Features of several cuts as one padded tensor."""

import torch
from torch import Tensor

from egret.features.store import load_features


def load_batch(cuts: list[dict]) -> tuple[Tensor, Tensor]:
    """Features float32 [N, T, C], zeros beyond an utterance's end, and lengths int64 [N] in frames."""
    features = [torch.from_numpy(load_features(cut)) for cut in cuts]
    lengths = torch.tensor([len(each) for each in features])
    return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), lengths

"""The acoustic model: mean and variance normalisation, an encoder, and a CTC head."""

import torch
from torch import Tensor, nn

from egret.models.conformer import Conformer
from egret.models.masking import frame_mask
from egret.models.options import ModelOptions
from egret.models.tdnn import Tdnn

# Each is made of the number of features and of the options in the group of its name.
# Buffers that hold the mean and deviation of the training features: no weights, and no running statistics.
STATISTICS = ("mean", "deviation")
ENCODERS = {"tdnn": Tdnn, "conformer": Conformer}


class CtcModel(nn.Module):
    """Features [N, T, C] to logarithms of token probabilities [N, T', V].

    Graves et al. 2006, "Connectionist temporal classification".
    """

    def __init__(self, features: int, tokens: int, options: ModelOptions) -> None:
        super().__init__()
        self.encoder = ENCODERS[options.encoder](features, getattr(options, options.encoder))
        self.head = nn.Linear(self.encoder.out_dim, tokens)
        self.utterance_mean = options.utterance_mean
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Take the mean and standard deviation [C] of the training features."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities [N, T', V] and their lengths [N] of features [N, T, C] of lengths [N]."""
        x, lengths, _ = self.encoder(self.normalise(features, lengths), lengths)
        return self.log_probs(x), lengths

    def with_middle(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What forward gives, and log probabilities [N, T', V] by the same head from the middle of the encoder."""
        x, lengths, middle = self.encoder(self.normalise(features, lengths), lengths)
        return self.log_probs(x), lengths, self.log_probs(middle)

    def log_probs(self, x: Tensor) -> Tensor:
        """Log probabilities float32 [N, T', V] of the encoder's output; half the precision would not do for them."""
        return self.head(x).float().log_softmax(dim=2)

    def normalise(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [N, T, C] of lengths [N] with the mean and deviation that the model expects."""
        mean = self.mean
        if self.utterance_mean:
            spoken = frame_mask(lengths, features.shape[1]).unsqueeze(2)
            mean = (features * spoken).sum(1, keepdim=True) / spoken.sum(1, keepdim=True)
        return (features - mean) / self.deviation

    def output_frames(self, frames: int) -> int:
        """How many frames come out of so many: what CTC has for its tokens."""
        for stride in self.encoder.strides:
            frames = -(-frames // stride)
        return frames


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

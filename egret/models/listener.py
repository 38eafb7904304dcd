"""The encoder of Listen, Attend and Spell: bidirectional recurrent layers, pyramidal or above convolutions.

Chan et al. 2016, "Listen, Attend and Spell", section 3.1; with convolutions below as in Hori et al. 2017.
"""

from torch import Tensor, nn
from torch.nn import functional

from egret.models.extractors import DeepSpeechExtractor, VggExtractor
from egret.models.masking import mask_frames, strided
from egret.models.recurrent import RecurrentBlock, RecurrentLayer
from egret.models.recurrent_options import ListenerOptions


class Listener(nn.Module):
    """[N, T, C] to [N, T', 2 dim], T' = T divided by the extractor's strides and by 2 at each pyramidal layer, rounded
    up each time. Both directions stand side by side."""

    def __init__(self, features: int, options: ListenerOptions) -> None:
        super().__init__()
        self.extractor = make_extractor(features, options)
        inputs = features if self.extractor is None else self.extractor.out_dim
        self.strides = ([] if self.extractor is None else self.extractor.strides) + [2] * options.pyramidal
        self.out_dim = 2 * options.dim
        self.plain = options.layers - options.pyramidal
        blocks = []
        for number in range(options.layers):
            joined = inputs if number < self.plain else 2 * inputs
            layer = RecurrentLayer(joined, options.dim, options.cell, directions="concat")
            blocks.append(RecurrentBlock(layer, options.norm, options.dropout))
            inputs = layer.out_dim
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, None]:
        """Features [N, T, C] and lengths [N] to outputs [N, T', 2 dim] and their lengths [N]; it has no middle."""
        if self.extractor is not None:
            x, lengths = self.extractor(x, lengths)
        for number, block in enumerate(self.blocks):
            if number >= self.plain:
                x, lengths = join_pairs(x, lengths)
            x = block(x, lengths)
        return x, lengths, None


def make_extractor(features: int, options: ListenerOptions) -> VggExtractor | DeepSpeechExtractor | None:
    """The convolutions below the recurrent layers, by their name."""
    if options.extractor == "vgg":
        return VggExtractor(features, options.channels or 64, options.activation)
    if options.extractor == "deepspeech2":
        channels = [options.channels or 32] * 2
        return DeepSpeechExtractor(features, channels, [41, 21], [2, 2], [11, 11], [2, 1], options.activation)
    return None


def join_pairs(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Two frames after each other as one: [N, T, C] to [N, T / 2, 2 C], rounded up; a last one without a second is
    joined with zeros."""
    x = mask_frames(x, lengths)
    x = functional.pad(x, (0, 0, 0, x.shape[1] % 2))
    return x.reshape(x.shape[0], x.shape[1] // 2, 2 * x.shape[2]), strided(lengths, 2)

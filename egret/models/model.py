"""The acoustic model: mean and variance normalisation, an encoder, and a CTC head, an attention decoder or both."""

from typing import Optional

import torch
from torch import Tensor, nn

from egret.models.conformer import Conformer
from egret.models.dcnn import Dcnn
from egret.models.deepspeech2 import DeepSpeech2
from egret.models.listener import Listener
from egret.models.masking import frame_mask, full_lengths
from egret.models.options import ModelOptions
from egret.models.speller import Speller
from egret.models.streaming import refuse
from egret.models.tdnn import Tdnn
from egret.models.tdnn_lstm import TdnnLstm
from egret.models.transformer import Transformer
from egret.models.transformer_decoder import TransformerDecoder
from egret.models.zipformer import Zipformer

# Buffers that hold the mean and deviation of the training features: no weights, and no running statistics.
STATISTICS = ("mean", "deviation")
# Encoders are made of the number of features, decoders of the number of tokens and the width of the encoder's output,
# both of the options in the group of their name.
ENCODERS = {
    "tdnn": Tdnn,
    "transformer": Transformer,
    "conformer": Conformer,
    "dcnn": Dcnn,
    "tdnn_lstm": TdnnLstm,
    "deepspeech2": DeepSpeech2,
    "listener": Listener,
    "zipformer": Zipformer,
}
DECODERS = {"transformer_decoder": TransformerDecoder, "speller": Speller}


class JointModel(nn.Module):
    """An encoder with a CTC head, an attention decoder, or both.

    `forward` gives CTC's logarithms of token probabilities (Graves et al. 2006, "Connectionist temporal
    classification"); a decoder is called with what `encode` gives (Watanabe et al. 2017, "Hybrid CTC/attention
    architecture", for both together).

    Attributes:
      head: None where there is no CTC.
      decoder: None where there is no decoder.
      cannot_stream: why the model cannot; empty: it can (egret.models.streaming).
    """

    def __init__(self, features: int, tokens: int, options: ModelOptions) -> None:
        super().__init__()
        self.encoder = ENCODERS[options.encoder](features, getattr(options, options.encoder))
        dim = self.encoder.out_dim
        self.head = nn.Linear(dim, tokens) if options.ctc_weight else None
        self.decoder = None
        if options.decoder != "none":
            self.decoder = DECODERS[options.decoder](tokens, dim, getattr(options, options.decoder))
        self.ctc_weight = options.ctc_weight
        self.utterance_mean = options.utterance_mean
        self.cannot_stream: str = getattr(
            self.encoder,
            "cannot_stream",
            f"--model.encoder {options.encoder}: it is made for whole utterances, so that this model cannot stream; "
            f"train a causal deepspeech2, or a conformer, a transformer or a zipformer in chunks",
        )
        if options.utterance_mean:
            self.cannot_stream = (
                "--model.utterance-mean true: the mean of an utterance is known when it has ended, so that this model "
                "cannot stream; train one without it"
            )
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
        x, lengths, _ = self.encode(features, lengths)
        return self.log_probs(x), lengths

    @torch.jit.export
    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Optional[Tensor]]:
        """The encoder's output [N, T', D] of features [N, T, C] of lengths [N], its lengths [N], and what its middle
        gives [N, T', D]; None: it has none."""
        return self.encoder(self.normalise(features, lengths), lengths)

    @torch.jit.export
    def log_probs(self, x: Tensor) -> Tensor:
        """CTC's log probabilities float32 [N, T', V] of the encoder's output; half the precision would not do."""
        assert self.head is not None, "this model has no CTC"
        return self.head(x).float().log_softmax(dim=2)

    @torch.jit.export
    def start(self, batch: int) -> list[Tensor]:
        """The state of `batch` utterances of which nothing has been heard, for `stream`.

        Raises:
          EgretError: the model cannot stream, or is in training mode.
        """
        refuse(self.cannot_stream, self.training)
        state: list[Tensor] = []
        if hasattr(self.encoder, "stream"):  # known to TorchScript when it compiles
            state += self.encoder.start(batch)
        return state

    @torch.jit.export
    def stream(self, features: Tensor, state: list[Tensor], last: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Log probabilities [N, T', V] of the outputs that are settled when a piece of features [N, T, C] has been
        heard, and the next state; `last`: the utterances end with it."""
        x, state = self.encode_piece(features, state, last)
        return self.log_probs(x), state

    @torch.jit.export
    def encode_piece(self, features: Tensor, state: list[Tensor], last: bool = False) -> tuple[Tensor, list[Tensor]]:
        """As `stream`, but the encoder's output [N, T', D]."""
        refuse(self.cannot_stream, self.training)
        with torch.no_grad():  # or the state would hold on to the whole past for the sake of gradients
            x = self.normalise(features, full_lengths(features))
            if hasattr(self.encoder, "stream"):
                x, state = self.encoder.stream(x, state, last)
        return x, state

    def normalise(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [N, T, C] of lengths [N] with the mean and deviation that the model expects."""
        mean = self.mean
        if self.utterance_mean:
            spoken = frame_mask(lengths, features.shape[1]).unsqueeze(2)
            heard = spoken.sum(1, keepdim=True).clamp(min=1)  # an utterance without frames would give NaN
            mean = (features * spoken).sum(1, keepdim=True) / heard
        return (features - mean) / self.deviation

    def output_frames(self, frames: int) -> int:
        """How many frames come out of so many: what CTC has for its tokens."""
        for stride in self.encoder.strides:
            frames = -(-frames // stride)
        return frames

    def token_room(self, frames: int) -> int:
        """How many tokens, with a blank between equal ones, so many frames have room for: by CTC one in each frame that
        comes out, otherwise any number."""
        return self.output_frames(frames) if self.head is not None else (1 << 30) * (frames > 0)

    def bound(self, step: float) -> None:
        """Bring weights that have limits back into them, after so many steps; to be called after every step."""
        if isinstance(self.encoder, Zipformer):
            self.encoder.bound(step)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

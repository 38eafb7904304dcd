"""The speller: a recurrent decoder that looks at the encoder's frames for every token.

Chan et al. 2016, "Listen, attend and spell"; with other kinds of attention as in KoSpeech (Kim et al. 2020).
"""

import torch
from torch import Tensor, nn

from egret.models.cross_attention import AdditiveAttention, DotAttention, LocationAttention
from egret.models.decoder import drawn_from
from egret.models.masking import frame_mask
from egret.models.options import SpellerOptions


class Speller(nn.Module):
    """Tokens [N, U] and the encoder's frames [N, T, frame_dim] to scores of the next token [N, U, V].

    The recurrent layers see the token before and, with `feed_context`, what was looked at for it; their output is what
    attention asks with; output and context together score the tokens.
    """

    def __init__(self, tokens: int, frame_dim: int, options: SpellerOptions) -> None:
        super().__init__()
        dim = options.dim
        self.layers, self.dim, self.feed_context = options.layers, dim, options.feed_context
        self.by_place = options.attention == "location_aware"
        self.embedding = nn.Embedding(tokens, options.embedding)
        self.attention = make_attention(frame_dim, options)
        self.context_dim = self.attention.out_dim
        inputs = options.embedding + (self.context_dim if options.feed_context else 0)
        self.rnn = nn.LSTM(inputs, dim, options.layers, batch_first=True,
                           dropout=options.dropout if options.layers > 1 else 0.0)  # fmt: skip
        self.dropout = nn.Dropout(options.dropout)
        self.join = nn.Linear(dim + self.context_dim, dim)
        self.output = nn.Linear(dim, tokens)

    def forward(self, x: Tensor, lengths: Tensor, tokens: Tensor, truth: float = 1.0) -> Tensor:
        """Scores [N, U, V], row u of what follows tokens 0 to u.

        Args:
          x: [N, T, frame_dim], of lengths [N].
          tokens: int64 [N, U].
          truth: chance with which each token is given as it is; others are drawn from the scores of the step before
            (Bengio et al. 2015, "Scheduled sampling").
        """
        memory, state = self.begin(x, lengths, 1)
        if truth >= 1 and not self.feed_context and not self.by_place:
            return self.all_at_once(tokens, memory)
        logits = []
        given = tokens[:, :1]
        for place in range(tokens.shape[1]):
            scores, state = self.step(given, memory, state)
            logits.append(scores)
            if place + 1 < tokens.shape[1]:
                given = tokens[:, place + 1 : place + 2]
                if truth < 1:
                    drawn = drawn_from(scores)
                    given = torch.where(torch.rand(given.shape, device=given.device) < truth, given, drawn)
        return torch.cat(logits, dim=1)

    def all_at_once(self, tokens: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """What step by step would come out as well, where no step depends on what was looked at before."""
        asked, _ = self.rnn(self.dropout(self.embedding(tokens)))
        context, _ = self.attention(asked, memory["keys"], memory["values"], memory["hidden"], asked)
        return self.scores(asked, context)

    def scores(self, asked: Tensor, context: Tensor) -> Tensor:
        return self.output(self.dropout(torch.tanh(self.join(torch.cat([asked, context], dim=2)))))

    @torch.jit.export
    def begin(self, x: Tensor, lengths: Tensor, beam: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a search of `beam` hypotheses for each utterance begins with."""
        keys, values = self.attention.prepare(x)
        inside = frame_mask(lengths, x.shape[1])
        # Nothing has been looked at yet: every frame alike.
        even = inside.to(x.dtype) / inside.sum(dim=1, keepdim=True).clamp(min=1)
        nothing = x.new_zeros(len(x), beam, self.layers, self.dim)
        state = {
            "output": nothing,
            "cell": nothing,
            "context": x.new_zeros(len(x), beam, self.context_dim),
            "weights": even.unsqueeze(1).expand(-1, beam, -1),
        }
        return {"keys": keys, "values": values, "hidden": ~inside}, state

    @torch.jit.export
    def step(
        self, tokens: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores [N, B, V] of what follows the tokens [N, B] and those given before."""
        batch, beam = tokens.shape
        y = self.dropout(self.embedding(tokens))
        if self.feed_context:
            y = torch.cat([y, state["context"]], dim=2)
        output = state["output"].flatten(0, 1).transpose(0, 1).contiguous()
        cell = state["cell"].flatten(0, 1).transpose(0, 1).contiguous()
        asked, (output, cell) = self.rnn(y.flatten(0, 1).unsqueeze(1), (output, cell))
        asked = asked.view(batch, beam, -1)
        context, weights = self.attention(asked, memory["keys"], memory["values"], memory["hidden"], state["weights"])
        state = {
            "output": output.transpose(0, 1).view(batch, beam, self.layers, self.dim),
            "cell": cell.transpose(0, 1).view(batch, beam, self.layers, self.dim),
            "context": context,
            "weights": weights,
        }
        return self.scores(asked, context), state


def make_attention(frame_dim: int, options: SpellerOptions) -> DotAttention | AdditiveAttention | LocationAttention:
    """The attention of a name in SpellerOptions."""
    dim = options.dim
    if options.attention == "additive":
        return AdditiveAttention(dim, frame_dim, options.attention_dim)
    if options.attention == "location_aware":
        return LocationAttention(dim, frame_dim, options.attention_dim, options.channels, options.kernel)
    heads = options.heads if options.attention == "multi_head" else 1
    return DotAttention(dim, frame_dim, options.attention_dim, heads)

"""The Transformer's decoder (Vaswani et al. 2017), its normalisation before each part and once more at the end."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from egret.models.attention import sinusoids
from egret.models.cross_attention import DotAttention
from egret.models.decoder import sampled
from egret.models.masking import frame_mask
from egret.models.norm import LayerNorm
from egret.models.options import TransformerDecoderOptions


class TransformerDecoder(nn.Module):
    """Tokens [N, U] and the encoder's frames [N, T, frame_dim] to scores of the next token [N, U, V]."""

    def __init__(self, tokens: int, frame_dim: int, options: TransformerDecoderOptions) -> None:
        super().__init__()
        self.dim = options.dim
        self.embedding = nn.Embedding(tokens, options.dim)
        nn.init.normal_(self.embedding.weight, std=options.dim**-0.5)  # it is multiplied by the root below
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(DecoderBlock(frame_dim, options) for _ in range(options.layers))
        self.norm = LayerNorm(options.dim)
        self.output = nn.Linear(options.dim, tokens)

    def forward(self, x: Tensor, lengths: Tensor, tokens: Tensor, truth: float = 1.0) -> Tensor:
        """Scores [N, U, V], row u of what follows tokens 0 to u.

        Args:
          x: [N, T, frame_dim], of lengths [N].
          tokens: int64 [N, U].
          truth: chance with which each token is given as it is; others are drawn from what the decoder says of
            the places when it is given all of them (Mihaylova and Martins 2019, "Scheduled sampling for
            transformers").
        """
        if truth < 1:
            with torch.no_grad():
                tokens = sampled(tokens, self.logits(x, lengths, tokens), truth)
            if not torch.jit.is_scripting():
                torch.clear_autocast_cache()  # its copies of the weights in halves would have no gradient
        return self.logits(x, lengths, tokens)

    def logits(self, x: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        count = tokens.shape[1]
        y = self.embed(tokens, torch.arange(count, device=tokens.device))
        later = torch.ones(count, count, device=tokens.device, dtype=torch.bool).triu(1).expand(len(tokens), -1, -1)
        hidden = ~frame_mask(lengths, x.shape[1])
        for block in self.blocks:
            keys, values = block.attention.prepare(x)
            own = block.own_norm(y)
            y = block(
                y, block.own_attention(own, *block.own_attention.prepare(own), later, own)[0], keys, values, hidden
            )
        return self.output(self.norm(y))

    def embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        """[N, U, dim] of tokens [N, U] at places [U], counted from 0."""
        return self.dropout(self.embedding(tokens) * math.sqrt(self.dim) + sinusoids(places, self.dim))

    @torch.jit.export
    def begin(self, x: Tensor, lengths: Tensor, beam: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a search of `beam` hypotheses for each utterance begins with."""
        memory = {"hidden": ~frame_mask(lengths, x.shape[1])}
        state: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            keys, values = block.attention.prepare(x)
            # Each step would make a copy of its own otherwise.
            memory[f"keys{number}"], memory[f"values{number}"] = keys.contiguous(), values.contiguous()
            heads = block.own_attention.heads
            nothing = x.new_zeros(len(x), beam, heads, 0, self.dim // heads)
            state[f"keys{number}"], state[f"values{number}"] = nothing, nothing
        return memory, state

    @torch.jit.export
    def step(
        self, tokens: Tensor, memory: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores [N, B, V] of what follows the tokens [N, B] and those given before."""
        batch, beam = tokens.shape
        place = state["keys0"].shape[3]
        y = self.embed(tokens, torch.full((1,), place, device=tokens.device))
        longer: dict[str, Tensor] = {}
        for number, block in enumerate(self.blocks):
            # Here every hypothesis has a past of its own: utterances and hypotheses are one dimension.
            flat = block.own_norm(y).flatten(0, 1).unsqueeze(1)
            key, value = block.own_attention.prepare(flat)
            keys = torch.cat([state[f"keys{number}"].flatten(0, 1), key], dim=2)
            values = torch.cat([state[f"values{number}"].flatten(0, 1), value], dim=2)
            seen = torch.zeros(batch * beam, place + 1, device=tokens.device, dtype=torch.bool)
            context, _ = block.own_attention(flat, keys, values, seen, flat)
            y = block(
                y, context.view(batch, beam, -1), memory[f"keys{number}"], memory[f"values{number}"], memory["hidden"]
            )  # fmt: skip
            longer[f"keys{number}"] = keys.view(batch, beam, keys.shape[1], place + 1, -1)
            longer[f"values{number}"] = values.view(batch, beam, values.shape[1], place + 1, -1)
        return self.output(self.norm(y)), longer


class DecoderBlock(nn.Module):
    """Attention to the tokens so far, attention to the frames, feed-forward; each added to what came in."""

    def __init__(self, frame_dim: int, options: TransformerDecoderOptions) -> None:
        super().__init__()
        dim, inner = options.dim, options.feed_forward * options.dim
        self.own_norm = LayerNorm(dim)
        self.own_attention = DotAttention(dim, dim, dim, options.heads, options.attention_dropout)
        self.norm = LayerNorm(dim)
        self.attention = DotAttention(dim, frame_dim, dim, options.heads, options.attention_dropout)
        self.feed_forward_norm = LayerNorm(dim)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, y: Tensor, own: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
        """[N, U, dim] to the same shape; `own` is what the tokens so far give each, [N, U, dim]."""
        y = y + self.dropout(own)
        asked = self.norm(y)
        y = y + self.dropout(self.attention(asked, keys, values, hidden, asked)[0])
        inner = self.dropout(functional.relu(self.widen(self.feed_forward_norm(y))))
        return y + self.dropout(self.narrow(inner))

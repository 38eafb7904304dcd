"""The worst utterances: what was said and what was understood, to hear, and to see token by token."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from egret.base.errors import EgretError
from egret.corpus.cuts import spoken_of
from egret.features.batching import STORED, Inputs, load_batch
from egret.graph.automaton import BLANK, plain
from egret.graph.viterbi import Alignment, Span, align
from egret.lang.lang import Lang
from egret.lang.transcript import Transcripts
from egret.models.model import JointModel
from egret.report.aligned import aligned, note
from egret.report.html import Markup, el, table
from egret.report.picture import Token, picture
from egret.report.sound import inside
from egret.scoring.errors import Errors


@dataclass(frozen=True)
class Utterance:
    """An utterance with its reference and its hypothesis (words, None where there is none, and units)."""

    cut: dict[str, Any]
    speaker: str
    ref: list[str]
    hyp: list[str] | None
    tokens: list[str] | None
    errors: Errors


class Listener:
    """The model, which says where it hears the tokens of an utterance."""

    def __init__(self, model: JointModel, lang: Lang, inputs: Inputs = STORED, modified: bool = False) -> None:
        """`modified`: the model was trained by k2's modified topology, which wants no blank between equal tokens."""
        self.model, self.lang, self.inputs, self.transcripts = model, lang, inputs, Transcripts(lang)
        self.modified = modified

    @torch.no_grad()
    def listen(self, cut: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
        """Features [T, C] and log probabilities [T', V]; None: the model has no CTC to say when it hears what.

        Raises:
          EgretError: the features cannot be read.
        """
        if not cut["features"]["num_frames"]:
            raise EgretError("It is so short that it has no features.")
        features, lengths = load_batch([cut], self.inputs)
        if self.model.head is None:
            return features[0].numpy(), None
        log_probs, lengths = self.model(features, lengths)
        return features[0].numpy(), log_probs[0, : int(lengths[0])].numpy()

    def reference(self, log_probs: np.ndarray, cut: dict[str, Any], text: str) -> Alignment:
        """Where the words of the transcript would be. Raises EgretError: they cannot be."""
        return align(log_probs, self.transcripts.slots(text, spoken_of(cut, self.lang.spoken)), self.modified)

    def hypothesis(self, log_probs: np.ndarray, tokens: list[str]) -> Alignment:
        return align(log_probs, plain([self.lang.tokens[name] for name in tokens]), self.modified)

    def heard(self, log_probs: np.ndarray) -> list[Span]:
        """The most probable token at every frame, as a path of its own."""
        best = log_probs.argmax(axis=1)
        edges = [0, *(np.flatnonzero(best[1:] != best[:-1]) + 1).tolist(), len(best)]
        return [
            Span(int(best[first]), first, last, float(log_probs[first:last, best[first]].mean()))
            for first, last in pairwise(edges)
            if first < last and best[first] != BLANK
        ]

    def tokens(self, spans: list[Span], cut: dict[str, Any]) -> list[Token]:
        """Frames of the model's output as seconds."""
        shift = cut["features"]["frame_shift"] * float(np.prod(self.model.encoder.strides))
        end = cut["duration"]
        return [Token(self.lang.units[span.token], span.start * shift, min(span.end * shift, end), np.exp(span.score))
                for span in spans]  # fmt: skip


def card(utterance: Utterance, listener: Listener, text: str, allowance: Callable[[int], bool]) -> Markup:
    """One utterance. What of it cannot be read is replaced by a note that says why.

    Args:
      text: the transcript as the lexicon spells it.
      allowance: takes the size of a sound in bytes and says whether there is still room for it.
    """
    cut, errors = utterance.cut, utterance.errors
    facts = [utterance.speaker and f"speaker {utterance.speaker}", f"{cut['duration']:.2f} s",
             f"{errors.total} errors in {errors.ref} words" if errors.total else "no errors"]  # fmt: skip
    parts = [
        el("h4", cut["id"]),
        el("p", " · ".join(fact for fact in facts if fact), class_="facts"),
        aligned(utterance.ref, utterance.hyp or []),
    ]
    if utterance.hyp is None:
        parts.append(note("It has no hypothesis; all its words count as deleted."))
    parts.append(inside(cut, allowance))
    try:
        parts += _seen(utterance, listener, text)
    except EgretError as error:
        parts.append(note(str(error)))
    return el("article", parts)


def _seen(utterance: Utterance, listener: Listener, text: str) -> list[Markup]:
    """The picture, what the model thinks of reference and hypothesis, and the tokens as a table.

    Raises:
      EgretError: the features cannot be read.
    """
    cut = utterance.cut
    features, log_probs = listener.listen(cut)
    if log_probs is None:
        return [picture(features, cut["duration"], [])]
    rows, notes = [], []
    reference = None
    try:
        reference = listener.reference(log_probs, cut, text)
        rows.append(("reference, where the model finds it", listener.tokens(reference.spans, cut)))
    except EgretError as error:
        notes.append(note(f"The reference has no alignment: {error}."))
    heard = listener.tokens(listener.heard(log_probs), cut)
    rows.append(("the model's best token at each moment", heard))
    if reference and utterance.tokens is not None and utterance.errors.total:
        try:
            hypothesis = listener.hypothesis(log_probs, utterance.tokens)
            notes.append(note(verdict(reference.score, hypothesis.score)))
        except (EgretError, KeyError):  # tokens of another lang folder
            pass
    columns = ["row", "token", "start, s", "end, s", "probability"]
    cells = [[title.split(",")[0] if number == 0 else "", token.name, f"{token.start:.2f}", f"{token.end:.2f}",
              f"{token.probability:.2f}"] for title, tokens in rows for number, token in enumerate(tokens)]  # fmt: skip
    return [
        picture(features, cut["duration"], rows),
        *notes,
        el("details", el("summary", "tokens as a table"), table(columns, cells)),
    ]


def verdict(reference: float, hypothesis: float) -> str:
    """Whose fault it was: log probabilities of the best path of each, by the acoustic model alone."""
    figures = f"log probability {reference:.1f} of the reference, {hypothesis:.1f} of the hypothesis"
    if reference > hypothesis:
        return (f"The acoustic model prefers the reference ({figures}): what lost it is the language model, "
                f"the lexicon or the beam.")  # fmt: skip
    return f"The acoustic model itself prefers the hypothesis ({figures})."

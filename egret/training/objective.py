"""What training makes small: the loss of a batch, augmented, in the precision that was chosen."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from egret.lang.lang import Lang
from egret.models.decoder import attention_loss, with_ends
from egret.models.losses import make_loss
from egret.models.masking import frame_mask
from egret.models.model import JointModel
from egret.training.augment import spec_augment
from egret.training.data import Batch
from egret.training.denominator import read_bigram
from egret.training.options import SpecAugmentOptions, TrainOptions


class Objective:
    """The loss of a batch, summed over its utterances.

    `intermediate` mixes in the loss on the encoder's middle, which keeps the lower half honest (Lee and Watanabe
    2021, "Intermediate loss regularization for CTC-based speech recognition"). `consistency` takes two augmented
    copies of each utterance and adds how far their outputs are apart (Yao et al. 2024, "CR-CTC: Consistency
    regularization on CTC for improved speech recognition", arXiv:2410.05101). A model with a decoder has its cross
    entropy mixed in by the model's `ctc_weight` (Watanabe et al. 2017).
    """

    def __init__(self, options: TrainOptions, lang: Lang, model: JointModel, device: torch.device) -> None:
        self.options, self.model = options, model
        self.loss = make_loss(options.loss, lang, options.topology, read_bigram(options, lang), options.ctc_share)
        self.precision = autocast(options.precision, device)
        self.truth = 1.0  # the part of the tokens that a decoder is given as they are; falls with the epochs

    def in_epoch(self, epoch: int) -> None:
        """From now on decoders are given as much of the truth as in an epoch, counted from 0."""
        self.truth = self.options.teacher.in_epoch(epoch)

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of an augmented batch, to be made smaller; uses torch's random numbers."""
        ctc, middle_weight = self.model.ctc_weight, self.options.intermediate
        copies = self.augmented(batch)
        loss = torch.zeros((), device=copies.features.device)
        with self.precision():
            x, lengths, middle = self.model.encode(copies.features, copies.lengths)
            outputs = [self.model.log_probs(each) for each in ([x, middle] if middle_weight else [x])] if ctc else []
            if self.model.decoder is not None:
                loss = loss + (1 - ctc) * self.of_decoder(x, lengths, copies, self.truth).sum()
        weights = [1 - middle_weight, middle_weight]
        for log_probs, weight in zip(outputs, weights, strict=False):
            loss = loss + ctc * weight * self.checked(log_probs, lengths, copies)
        if self.options.consistency:
            # The mean of both copies' losses, as the sum over a batch would count each utterance twice.
            loss = loss / 2 + ctc * self.options.consistency * disagreement(outputs[0], lengths)
        return loss

    def plain(self, batch: Batch) -> Tensor:
        """The loss of a batch as it is, without gradients."""
        return self.per_utterance(batch).sum()

    @torch.no_grad()
    def per_utterance(self, batch: Batch) -> Tensor:
        """The loss of each utterance as it is, [N], NaN or infinite where an output of the model is."""
        with self.precision():
            x, lengths, _ = self.model.encode(batch.features, batch.lengths)
        return self.of_encoded(x, lengths, batch)

    @torch.no_grad()
    def of_encoded(self, x: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """What per_utterance gives, from the encoder's output [N, T, D] of lengths [N]."""
        ctc = self.model.ctc_weight
        with self.precision():
            log_probs = self.model.log_probs(x) if ctc else None
            found = torch.zeros(len(batch.ids), dtype=torch.float64, device=x.device)
            if self.model.decoder is not None:
                found += (1 - ctc) * self.of_decoder(x, lengths, batch)
        if log_probs is not None:
            check = log_probs.sum()
            if not torch.isfinite(check):
                return found + check
            found += ctc * self.loss.per_utterance(log_probs, lengths, batch)
        return found

    def of_decoder(self, x: Tensor, lengths: Tensor, batch: Batch, truth: float = 1.0) -> Tensor:
        """The decoder's loss of each utterance, [N], for the encoder's output [N, T, D] of lengths [N]."""
        assert self.model.decoder is not None
        given, wanted = with_ends(batch.targets, x.device)
        smoothing = self.options.label_smoothing if self.model.training else 0.0
        return attention_loss(self.model.decoder(x, lengths, given, truth), wanted, smoothing)

    def checked(self, log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """The loss, or NaN or infinity where an output is: k2 would not look at such a batch."""
        check = log_probs.sum()
        return self.loss(log_probs, lengths, batch) if torch.isfinite(check) else check

    def augmented(self, batch: Batch) -> Batch:
        """The batch after SpecAugment; with consistency two copies of it, masked apart but warped in time alike, so
        that their frames belong together."""
        chosen, mean = self.options.specaugment, self.model.mean
        if not self.options.consistency:
            return replace(batch, features=spec_augment(batch.features, batch.lengths, mean, chosen))
        both, apart = divided(chosen)
        warped = spec_augment(batch.features, batch.lengths, mean, both)
        copies = [spec_augment(warped, batch.lengths, mean, apart) for _ in range(2)]
        return replace(
            batch,
            ids=batch.ids * 2,
            features=torch.cat(copies),
            lengths=batch.lengths.repeat(2),
            targets=batch.targets * 2,
            texts=batch.texts * 2,
            spoken=batch.spoken * 2,
        )


def divided(chosen: SpecAugmentOptions) -> tuple[SpecAugmentOptions, SpecAugmentOptions]:
    """(the warp of time, all else)."""
    return SpecAugmentOptions(time_warp=chosen.time_warp), replace(chosen, time_warp=0)


def disagreement(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """How far the outputs [2 N, T, V] of both copies are apart, summed over frames: the mean of both
    Kullback-Leibler divergences, each towards the other copy as it stands (equation 5 of CR-CTC)."""
    first, second = log_probs.chunk(2)
    inside = frame_mask(lengths[: len(first)], log_probs.shape[1]).unsqueeze(2)

    def towards(target: Tensor, x: Tensor) -> Tensor:
        return (functional.kl_div(x, target.detach(), reduction="none", log_target=True) * inside).sum()

    return (towards(second, first) + towards(first, second)) / 2


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """A context in which matrix products are made in a precision of TrainOptions."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=kinds[precision])

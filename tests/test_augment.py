"""SpecAugment hides stretches of time and bands of frequency, anywhere in them."""

import torch

from egret.training.augment import spec_augment
from egret.training.options import SpecAugmentOptions

LENGTHS = torch.tensor([30, 20])
FILL = torch.full((8,), 7.0)


def hidden(options: SpecAugmentOptions, draws: int = 400) -> torch.Tensor:
    """How often each of 2 x 30 x 8 values was hidden."""
    torch.manual_seed(1)
    features = torch.zeros(2, 30, 8)
    return sum((spec_augment(features, LENGTHS, FILL, options) == 7).int() for _ in range(draws))  # type: ignore[return-value]


def test_every_frame_of_an_utterance_can_be_hidden_and_no_padding() -> None:
    counts = hidden(SpecAugmentOptions(time_masks=5, time_width=4))
    assert (counts[0] > 0).all() and (counts[1, :20] > 0).all() and (counts[1, 20:] == 0).all()


def test_every_mel_bin_can_be_hidden() -> None:
    assert (hidden(SpecAugmentOptions(frequency_masks=1, frequency_width=3)) > 0).all()


def test_masks_wider_than_the_features_hide_all_of_them_at_most() -> None:
    assert (hidden(SpecAugmentOptions(frequency_masks=1, frequency_width=50)) > 0).all()


def test_without_masks_nothing_changes() -> None:
    assert (hidden(SpecAugmentOptions(), draws=2) == 0).all()


def test_the_features_themselves_are_left_as_they_were() -> None:
    features = torch.zeros(2, 30, 8)
    spec_augment(features, LENGTHS, FILL, SpecAugmentOptions(frequency_masks=2))
    assert (features == 0).all()

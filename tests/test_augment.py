"""SpecAugment hides stretches of time and bands of frequency, anywhere in them."""

import torch

from egret.training.augment import frequency_warp, spec_augment, time_warp, warp
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
    counts = hidden(SpecAugmentOptions(frequency_masks=1, frequency_width=3))
    assert (counts[0] > 0).all() and (counts[1, :20] > 0).all() and (counts[1, 20:] == 0).all()


def test_masks_wider_than_the_features_hide_all_of_them_at_most() -> None:
    assert (hidden(SpecAugmentOptions(frequency_masks=1, frequency_width=50))[0] > 0).all()


def test_without_masks_nothing_changes() -> None:
    assert (hidden(SpecAugmentOptions(), draws=2) == 0).all()


def test_the_features_themselves_are_left_as_they_were() -> None:
    features = torch.zeros(2, 30, 8)
    spec_augment(features, LENGTHS, FILL, SpecAugmentOptions(frequency_masks=2))
    assert (features == 0).all()


def test_a_warp_reads_between_the_frames() -> None:
    x = torch.tensor([[0.0, 10.0], [4.0, 20.0], [8.0, 30.0]])
    assert warp(x, torch.tensor([0.0, 0.25, 1.5, 2.0])).tolist() == [[0, 10], [1, 12.5], [6, 25], [8, 30]]


def test_time_warp_keeps_both_ends_and_the_order_and_moves_no_frame_further_than_asked() -> None:
    torch.manual_seed(1)
    for frames in [1, 2, 3, 4, 30]:
        moves = []
        for _ in range(200):
            places = time_warp(frames, furthest=5)
            assert len(places) == frames and places[0] == 0 and places[-1] == frames - 1
            assert (places.diff() >= 0).all()
            moves.append(float((places - torch.arange(frames)).abs().max()))
        assert max(moves) <= 5.001
        assert frames < 30 or max(moves) > 4


def test_frequency_warp_stretches_and_squeezes_within_its_range() -> None:
    torch.manual_seed(1)
    factors = torch.stack([frequency_warp(41, 0.1)[20] for _ in range(200)]) / 20
    assert 0.9 <= factors.min() < 0.92 and 1.08 < factors.max() <= 1.1


def test_warps_of_a_batch_touch_each_utterance_within_its_length() -> None:
    torch.manual_seed(1)
    features = torch.arange(30.0)[:, None].expand(2, 30, 8) + torch.arange(8.0) * 100
    warped = spec_augment(features, LENGTHS, FILL, SpecAugmentOptions(time_warp=4, frequency_warp=0.2))
    assert (warped[1, 20:] == features[1, 20:]).all()
    assert (warped[1, :20] != features[1, :20]).any() and warped[1, :20].max() <= features[1, :20].max()

"""SpecAugment hides stretches of time and bands of frequency, anywhere in them."""

from collections import Counter

import pytest
import torch

from egret.base.errors import UsageError
from egret.base.options import as_plain
from egret.training.augment import (
    below,
    change_at_once,
    change_each,
    draw,
    frequency_warp,
    mask,
    spec_augment,
    time_warp,
    warp,
)
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


def one_after_the_other(features: torch.Tensor, fill: torch.Tensor, options: SpecAugmentOptions) -> torch.Tensor:
    """SpecAugment in its plainest form, with random numbers in the order in which they have always been drawn."""
    masked = features.clone()
    for row, frames in enumerate(LENGTHS.tolist()):
        own = masked[row, :frames]
        own[:] = warp(own, time_warp(frames, options.time_warp))
        own[:] = warp(own.T, frequency_warp(own.shape[1], options.frequency_warp)).T
        for _ in range(round(options.time_masks * frames / 100)):
            width = min(frames, below(options.time_width + 1))
            start = below(frames - width + 1)
            own[start : start + width] = fill
        for _ in range(options.frequency_masks):
            width = min(own.shape[1], below(options.frequency_width + 1))
            start = below(own.shape[1] - width + 1)
            own[:, start : start + width] = fill[start : start + width]
    return masked


def test_what_experiments_that_go_on_draw_has_not_changed() -> None:
    options = SpecAugmentOptions(
        time_warp=5, frequency_warp=0.1, time_masks=6, time_width=40, frequency_masks=2, frequency_width=3
    )
    features, fill = torch.randn(2, 30, 8), torch.randn(8)
    torch.manual_seed(3)
    before = one_after_the_other(features, fill, options)
    torch.manual_seed(3)
    assert torch.equal(spec_augment(features, LENGTHS, fill, options), before)


@pytest.mark.parametrize("preset", ["none", "ld", "ss", "asrt", "kospeech", "mindaudio"])
def test_a_gpus_way_comes_to_the_same_as_a_cpus(preset: str) -> None:
    options = SpecAugmentOptions(preset=preset, frequency_warp=0.1, time_masks=3)
    features, lengths, fill = torch.randn(8, 300, 80), torch.randint(1, 301, (8,)), torch.randn(8, 80)
    drawn = draw(lengths.tolist(), 300, 80, options)
    each = change_each(features, lengths, fill, drawn, options)
    assert torch.equal(each, change_at_once(features, lengths, fill, drawn, options))


# Masks


def test_a_fixed_number_of_time_masks_does_not_grow_with_the_utterance() -> None:
    options = SpecAugmentOptions(fixed_time_masks=3, time_masks=2)
    assert [len(own) for own in draw([100, 1000], 1000, 8, options).stretches] == [5, 23]


def widths(length: int, widest: int, part: float) -> set[int]:
    torch.manual_seed(1)
    drawn = [mask(length, widest, part, chance=1) for _ in range(2000)]
    assert all(0 <= own.start <= own.stop <= length for own in drawn)
    return {own.stop - own.start for own in drawn}


def test_a_mask_is_at_most_as_wide_as_said() -> None:
    assert widths(200, 10, 1.0) == set(range(11))


def test_a_mask_is_at_most_a_part_of_the_length() -> None:
    assert widths(20, 10, 0.2) == set(range(5))


def test_a_mask_without_a_width_is_bounded_by_its_part_alone() -> None:
    assert widths(100, 0, 0.29) == set(range(30))


def test_masks_without_any_bound_are_refused() -> None:
    with pytest.raises(UsageError, match="--specaugment.time-width 0"):
        SpecAugmentOptions(fixed_time_masks=1, time_width=0)


def test_a_chance_leaves_masks_out() -> None:
    torch.manual_seed(1)
    drawn = [mask(1000, 0, 0.9, chance=0.8) for _ in range(4000)]
    assert sum(own.start < own.stop for own in drawn) / 4000 == pytest.approx(0.8, abs=0.02)


def test_masks_show_the_mean_of_their_own_utterance_where_it_is_given() -> None:
    options = SpecAugmentOptions(fixed_time_masks=9, time_width=30)
    masked = spec_augment(torch.zeros(2, 30, 8), LENGTHS, torch.tensor([[1.0], [2.0]]).expand(2, 8), options)
    assert set(masked[0].unique().tolist()) == {0, 1} and set(masked[1].unique().tolist()) == {0, 2}


def test_masks_show_the_lowest_value_of_the_utterance_and_not_of_its_padding() -> None:
    options = SpecAugmentOptions(fixed_time_masks=9, time_width=30, fill="lowest")
    features = torch.rand(2, 30, 8) + torch.tensor([5.0, 7.0]).view(2, 1, 1)
    features[1, 20:] = -100
    masked = spec_augment(features, LENGTHS, FILL, options)
    assert masked[0].min() == features[0].min() and masked[1, :20].min() == features[1, :20].min()


# Presets


def test_the_policies_of_the_paper() -> None:
    """Park et al. 2019, table 1: W, F, m_F, T, p, m_T, with 80 mel bins."""
    table = {
        "lb": (80, 27, 1, 100, 1.0, 1),
        "ld": (80, 27, 2, 100, 1.0, 2),
        "sm": (40, 15, 2, 70, 0.2, 2),
        "ss": (40, 27, 2, 70, 0.2, 2),
    }
    found = {}
    for name in table:
        o = SpecAugmentOptions(preset=name)
        band = max(widths(80, o.frequency_width, o.frequency_part))
        found[name] = (o.time_warp, band, o.frequency_masks, o.time_width, o.time_part, o.fixed_time_masks)
    assert found == table


def test_asrt_hides_up_to_100_frames_and_half_of_the_bins() -> None:
    o = SpecAugmentOptions(preset="asrt")
    assert (o.fixed_time_masks, max(widths(500, o.time_width, o.time_part))) == (1, 100)
    assert (o.frequency_masks, max(widths(200, o.frequency_width, o.frequency_part))) == (1, 100)


def test_asrt_leaves_60_percent_alone_and_masks_10_percent_both_ways() -> None:
    torch.manual_seed(1)
    drawn = draw([500] * 8000, 500, 80, SpecAugmentOptions(preset="asrt"))
    found = Counter((len(stretches), len(bands)) for stretches, bands in zip(drawn.stretches, drawn.bands, strict=True))
    shares = [found[kind] / 8000 for kind in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    assert shares == pytest.approx([0.6, 0.15, 0.15, 0.1], abs=0.02)


def test_kospeech_hides_four_times_a_twentieth_of_the_utterance_and_twice_18_bins() -> None:
    o = SpecAugmentOptions(preset="kospeech")
    assert (o.fixed_time_masks, max(widths(400, o.time_width, o.time_part))) == (4, 20)
    assert (o.frequency_masks, max(widths(80, o.frequency_width, o.frequency_part))) == (2, 18)


def test_mindaudio_hides_twice_50_frames_and_twice_10_bins_with_a_chance_of_80_percent() -> None:
    o = SpecAugmentOptions(preset="mindaudio")
    assert (o.fixed_time_masks, o.time_width, o.time_part, o.mask_chance) == (2, 50, 1, 0.8)
    assert (o.frequency_masks, max(widths(80, o.frequency_width, o.frequency_part))) == (2, 10)


def test_widths_of_presets_scale_with_the_mel_bins() -> None:
    o = SpecAugmentOptions(preset="ld")
    assert max(widths(40, o.frequency_width, o.frequency_part)) == 13


def test_an_option_takes_the_place_of_the_presets_even_with_the_value_that_it_has_without_one() -> None:
    options = SpecAugmentOptions(preset="ld", time_warp=0, fixed_time_masks=5)
    assert (options.time_warp, options.fixed_time_masks, options.frequency_masks) == (0, 5, 2)


def test_options_hold_what_is_used_and_give_the_same_when_they_are_read_again() -> None:
    plain = as_plain(SpecAugmentOptions(preset="asrt", time_width=50))
    assert None not in plain.values() and as_plain(SpecAugmentOptions(**plain)) == plain


@pytest.mark.parametrize("chances", [[0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
def test_chances_that_are_not_four_or_do_not_add_up_are_refused(chances: list[float]) -> None:
    with pytest.raises(UsageError, match="--specaugment.kind-chances"):
        SpecAugmentOptions(kind_chances=chances)

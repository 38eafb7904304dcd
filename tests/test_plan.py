"""The batch plan: a pure function from table, options, seed and epoch to batches."""

from collections import Counter

import numpy as np
import pytest

from egret.base.errors import UsageError
from egret.training.options import BatchOptions
from egret.training.plan import Table, batches, copies


def table(count: int, parts: list[int] | None = None) -> Table:
    random = np.random.default_rng(0)
    seconds = random.uniform(1, 15, count).astype(np.float32)
    tokens = random.integers(1, 60, count)
    return Table.of([(f"u{row}", seconds[row], int(tokens[row]), row) for row in range(count)], parts)


def rows(planned: list[np.ndarray]) -> list[int]:
    return [int(row) for batch in planned for row in batch]


def drawn(parts: list[int], weights: list[float], epoch: int = 0) -> Counter[int]:
    """How often each row is in an epoch."""
    return Counter(rows(batches(table(len(parts), parts), BatchOptions(weights=weights), seed=1, epoch=epoch)))


class TestBatches:
    def test_every_utterance_is_in_exactly_one_batch(self) -> None:
        assert sorted(rows(batches(table(501), BatchOptions(), seed=1, epoch=0))) == list(range(501))

    def test_none_is_longer_than_allowed_with_its_padding(self) -> None:
        some = table(501)
        planned = batches(some, BatchOptions(max_duration=60), seed=1, epoch=0)
        assert max(some.lengths[batch].max() * len(batch) for batch in planned) <= 60

    def test_none_has_more_utterances_than_allowed(self) -> None:
        assert max(map(len, batches(table(100), BatchOptions(max_utterances=3), seed=1, epoch=0))) == 3

    def test_none_has_more_tokens_than_allowed_with_their_padding(self) -> None:
        some = table(501)
        planned = batches(some, BatchOptions(max_tokens=100), seed=1, epoch=0)
        assert max(some.tokens[batch].max() * len(batch) for batch in planned) <= 100

    def test_without_a_limit_of_tokens_there_is_none(self) -> None:
        some = table(501)
        planned = batches(some, BatchOptions(), seed=1, epoch=0)
        assert max(some.tokens[batch].sum() for batch in planned) > 200

    def test_an_utterance_longer_than_a_batch_stands_alone(self) -> None:
        assert all(len(batch) == 1 for batch in batches(table(20), BatchOptions(max_duration=0.5), seed=1, epoch=0))

    def test_they_hold_utterances_of_similar_length(self) -> None:
        some = table(2000)
        spread = [np.ptp(some.lengths[batch]) for batch in batches(some, BatchOptions(), seed=1, epoch=0)]
        assert np.mean(spread) < 0.25 * np.ptp(some.lengths)

    def test_they_come_in_no_order_of_length(self) -> None:
        some = table(2000)
        longest = [some.lengths[batch].max() for batch in batches(some, BatchOptions(), seed=1, epoch=0)]
        assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.5


class TestAPureFunction:
    def test_the_same_seed_and_epoch_give_the_same_plan(self) -> None:
        first, again = (rows(batches(table(200), BatchOptions(), seed=1, epoch=3)) for _ in range(2))
        assert first == again

    def test_random_numbers_drawn_elsewhere_change_nothing(self) -> None:
        first = rows(batches(table(200), BatchOptions(weights=[0.5]), seed=1, epoch=3))
        np.random.default_rng().random()
        np.random.seed(5)
        assert rows(batches(table(200), BatchOptions(weights=[0.5]), seed=1, epoch=3)) == first

    @pytest.mark.parametrize("other", [{"seed": 2, "epoch": 3}, {"seed": 1, "epoch": 4}])
    def test_another_seed_or_epoch_gives_another_plan(self, other: dict[str, int]) -> None:
        first = rows(batches(table(200), BatchOptions(), seed=1, epoch=3))
        assert rows(batches(table(200), BatchOptions(), **other)) != first


class TestSortedEpochs:
    def test_batches_come_from_short_to_long(self) -> None:
        some = table(500)
        planned = batches(some, BatchOptions(sorted_epochs=1), seed=1, epoch=0)
        longest = [some.lengths[batch].max() for batch in planned]
        assert longest == sorted(longest)

    def test_every_utterance_is_in_them_once(self) -> None:
        assert sorted(rows(batches(table(500), BatchOptions(sorted_epochs=2), seed=1, epoch=1))) == list(range(500))

    def test_epochs_after_them_are_as_ever(self) -> None:
        ever = rows(batches(table(500), BatchOptions(), seed=1, epoch=2))
        assert rows(batches(table(500), BatchOptions(sorted_epochs=2), seed=1, epoch=2)) == ever


class TestWeights:
    def test_a_weight_of_one_is_every_utterance_once(self) -> None:
        assert drawn([0] * 40 + [1] * 60, [1.0, 1.0]) == Counter(range(100))

    def test_two_and_a_half_is_all_twice_and_a_half_of_them_thrice(self) -> None:
        assert Counter(drawn([0] * 40, [2.5]).values()) == {2: 20, 3: 20}

    def test_a_half_is_half_of_the_part_and_all_of_the_other(self) -> None:
        found = drawn([0] * 40 + [1] * 60, [0.5, 1.0])
        assert (sum(row < 40 for row in found), sum(row >= 40 for row in found)) == (20, 60)

    def test_none_leaves_a_part_out(self) -> None:
        assert set(drawn([0] * 4 + [1] * 6, [0.0, 1.0])) == set(range(4, 10))

    def test_over_epochs_other_utterances_are_chosen(self) -> None:
        seen = Counter(row for epoch in range(30) for row in drawn([0] * 40, [0.5], epoch))
        assert sum(seen.values()) == 30 * 20 and len(seen) == 40

    def test_one_for_each_manifest_is_due(self) -> None:
        with pytest.raises(UsageError, match=r"--batch.weights: 1 for 2 manifests"):
            drawn([0, 1], [1.0])

    def test_an_epoch_without_utterances_is_refused(self) -> None:
        with pytest.raises(UsageError, match="no utterance is left"):
            drawn([0, 0], [0.0])


class TestCopies:
    def test_are_counted_over_the_whole_epoch(self) -> None:
        found = copies([np.array([4, 2]), np.array([2, 2, 7]), np.array([4])])
        assert [each.tolist() for each in found] == [[0, 0], [1, 2, 0], [1]]

    def test_of_no_batches_are_none(self) -> None:
        assert copies([]) == []

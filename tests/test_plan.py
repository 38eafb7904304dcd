"""The batch plan: a pure function from table, seed and epoch to batches."""

import numpy as np
import pytest

from egret.training.options import BatchOptions
from egret.training.plan import Table, plan


def table(count: int, seed: int = 0) -> Table:
    seconds = np.random.default_rng(seed).uniform(1, 15, count).astype(np.float32)
    return Table.of([(f"u{row}", length, 1, row) for row, length in enumerate(seconds)])


def rows(batches: list[np.ndarray]) -> list[int]:
    return [int(row) for batch in batches for row in batch]


def test_every_utterance_is_in_exactly_one_batch() -> None:
    assert sorted(rows(plan(table(501), BatchOptions(), seed=1, epoch=0))) == list(range(501))


def test_no_batch_is_longer_than_allowed_with_its_padding() -> None:
    some = table(501)
    for batch in plan(some, BatchOptions(max_duration=60), seed=1, epoch=0):
        assert some.seconds[batch].max() * len(batch) <= 60


def test_no_batch_has_more_utterances_than_allowed() -> None:
    assert max(map(len, plan(table(100), BatchOptions(max_utterances=3), seed=1, epoch=0))) == 3


def test_an_utterance_longer_than_a_batch_stands_alone() -> None:
    assert all(len(batch) == 1 for batch in plan(table(20), BatchOptions(max_duration=0.5), seed=1, epoch=0))


def test_the_same_seed_and_epoch_give_the_same_plan() -> None:
    first, again = (rows(plan(table(200), BatchOptions(), seed=1, epoch=3)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("other", [{"seed": 2, "epoch": 3}, {"seed": 1, "epoch": 4}])
def test_another_seed_or_epoch_gives_another_plan(other: dict[str, int]) -> None:
    assert rows(plan(table(200), BatchOptions(), **other)) != rows(plan(table(200), BatchOptions(), seed=1, epoch=3))


def test_ranks_share_the_batches_of_one_process() -> None:
    whole = plan(table(300), BatchOptions(), seed=1, epoch=0)
    shares = [plan(table(300), BatchOptions(), seed=1, epoch=0, world_size=3, rank=rank) for rank in range(3)]
    together = {tuple(batch) for share in shares for batch in share}
    assert together == {tuple(batch) for batch in whole}


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_every_rank_has_the_same_number_of_batches(count: int) -> None:
    sizes = {len(plan(table(count), BatchOptions(), 1, 0, world_size=4, rank=rank)) for rank in range(4)}
    assert len(sizes) == 1 and sizes != {0}


def test_batches_hold_utterances_of_similar_length() -> None:
    some = table(2000)
    spread = [np.ptp(some.seconds[batch]) for batch in plan(some, BatchOptions(), seed=1, epoch=0)]
    assert np.mean(spread) < 0.25 * np.ptp(some.seconds)

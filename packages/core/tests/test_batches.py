"""Batches depend on seed, epoch and position alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.batches import BatchLoader, EpochBatches, sample_seeds
from behaviorzoo.errors import UserError

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))


def shards(n, batch, world, **options) -> list[EpochBatches] | None:
    made = []
    for rank in range(world):
        batches = EpochBatches(n, min(batch, n), seed=4, **options)
        try:
            batches.shard(rank, world)
        except UserError:
            return None
        made.append(batches)
    return made


@given(SIZES)
def test_processes_share_an_epoch(sizes):
    n, batch, world, _ = sizes
    parts = shards(n, batch, world)
    if parts is None:
        return
    epochs = [[indices for indices, _ in part] for part in parts]
    assert len({len(epoch) for epoch in epochs}) == 1
    seen = np.concatenate([indices for epoch in epochs for indices in epoch])
    assert all(len(indices) == min(batch, n) for epoch in epochs for indices in epoch)
    # Only the fill-up of an order that cannot be divided may repeat a sample.
    assert len(seen) - len(np.unique(seen)) <= -n % world


@given(SIZES)
def test_global_batch_is_the_same_on_any_number_of_processes(sizes):
    n, batch, world, _ = sizes
    n = n * world * batch
    parts = shards(n, batch, world)
    alone = EpochBatches(n, batch * world, seed=4)
    for position, (indices, seeds) in enumerate(alone):
        split = [part.batch(0, position) for part in parts]
        np.testing.assert_array_equal(indices, np.concatenate([found for found, _ in split]))
        np.testing.assert_array_equal(seeds, np.concatenate([found for _, found in split]))


@given(SIZES)
def test_held_out_batches_cover_everything_once(sizes):
    n, batch, world, _ = sizes
    parts = shards(n, batch, world, shuffle=False, drop_last=False)
    seen = np.concatenate([indices for part in parts for indices, _ in part])
    np.testing.assert_array_equal(np.sort(seen), np.arange(n))
    assert len({len(part) for part in parts}) == 1


def test_original_number_of_batches_counts_for_the_schedule():
    batches = EpochBatches(23, 3, group=2)
    assert (batches.batches_per_epoch, len(batches)) == (7, 6)
    assert len(list(batches)) == 6


def test_epochs_differ_and_repeat():
    first, second = (list(EpochBatches(40, 8, seed=s)) for s in (1, 1))
    again = EpochBatches(40, 8, seed=1)
    list(again)
    assert again.epoch == 1
    next_epoch = list(again)
    other_seed = list(EpochBatches(40, 8, seed=2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for different in (next_epoch, other_seed):
        assert any((a[0] != b[0]).any() for a, b in zip(first, different, strict=True))
        assert not set(first[0][1]) & set(different[0][1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 15), st.integers(0, 3))
def test_resume_at_any_position(taken, prefetch):
    def loader():
        batches = EpochBatches(21, 4, seed=9, group=2)
        return BatchLoader(batches, lambda i, s: (i.tolist(), s.tolist()), prefetch=prefetch)

    def forever(source):
        while True:
            yield from source

    whole = forever(loader())
    expected = [next(whole) for _ in range(20)]
    stopped = loader()
    begun = forever(stopped)
    found = [next(begun) for _ in range(taken)]
    state = stopped.state_dict()
    begun.close()
    resumed = loader()
    resumed.load_state_dict(state)
    rest = forever(resumed)
    found += [next(rest) for _ in range(20 - taken)]
    assert found == expected


def test_set_epoch_keeps_a_position_inside_that_epoch():
    batches = EpochBatches(20, 4, seed=1)
    batches.load_state_dict({**batches.state_dict(), "epoch": 3, "position": 2})
    batches.set_epoch(3)
    assert (batches.epoch, batches.position) == (3, 2)
    batches.set_epoch(4)
    assert (batches.epoch, batches.position) == (4, 0)


def test_state_of_other_batches_is_refused():
    state = EpochBatches(20, 4).state_dict()
    with pytest.raises(UserError, match="batch_size 4 -> 5"):
        EpochBatches(20, 5).load_state_dict(state)


@pytest.mark.parametrize(
    ("n", "batch", "group", "message"),
    [
        (5, 8, 1, "5 samples cannot fill one batch of 8"),
        (0, 1, 1, "0 samples cannot fill one batch of 1"),
        (20, 8, 3, "2 batches per epoch cannot fill one group of 3"),
    ],
)
def test_too_few_samples(n, batch, group, message):
    with pytest.raises(UserError, match=message):
        EpochBatches(n, batch, group=group)


def test_too_few_samples_for_the_processes():
    with pytest.raises(UserError, match="on each of 3 process"):
        EpochBatches(10, 5).shard(0, 3)


def slow_mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


@given(st.integers(0, 2**40), st.integers(0, 10_000), st.lists(st.integers(0, 2**40), max_size=5))
def test_seeds_by_integer_arithmetic(seed, epoch, indices):
    expected = [
        slow_mix((slow_mix((slow_mix(seed) + epoch) % 2**64) + index) % 2**64) >> 1
        for index in indices
    ]
    found = sample_seeds(seed, epoch, np.array(indices, dtype=np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_seeds_are_distinct():
    seeds = [sample_seeds(s, e, np.arange(2000)) for s in range(3) for e in range(5)]
    assert len(np.unique(np.concatenate(seeds))) == 3 * 5 * 2000


def test_prefetch_runs_in_another_thread_and_passes_errors_on():
    threads = set()

    def fetch(indices, seeds):
        threads.add(threading.get_ident())
        if 7 in indices:
            raise ValueError("sample 7 is broken")
        return torch.from_numpy(indices)

    batches = EpochBatches(12, 2, shuffle=False)
    found = []
    with pytest.raises(ValueError, match="sample 7"):
        found.extend(batch.tolist() for batch in BatchLoader(batches, fetch, prefetch=2))
    assert found == [[0, 1], [2, 3], [4, 5]]
    assert threads
    assert threading.get_ident() not in threads

"""Batches whose content depends on seed, epoch and position alone.

No generator has a state to lose: the order of an epoch is drawn from ``(seed, epoch)``, and
every sample brings a seed of its own, made from ``(seed, epoch, index)``, for whatever is random
about it (augmentation, masks). Hence a run goes on after a kill as if nothing had happened,
and the same global batch holds the same samples, augmented and masked alike, on any number of
processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np

from behaviorzoo.errors import UserError

Batch = TypeVar("Batch")


class EpochBatches:
    """Index batches of one process, epoch after epoch.

    Global batch ``i`` is a slice of ``world_size * batch_size`` entries of the epoch's order;
    process ``rank`` takes the ``rank``-th slice of ``batch_size`` of it. All processes have the
    same number of batches. An order that cannot be divided among the processes is filled up from
    its own beginning.

    Args:
        n_samples: Samples in the data set.
        batch_size: Samples per batch and process.
        seed: The number behind order and sample seeds.
        shuffle: Draw a new order every epoch; without it the order is 0, 1, 2, ...
        drop_last: Leave out the last, incomplete batch. Kept, its size (maybe 0) can differ
            between processes, and nothing is filled up.
        group: Leave out batches at the end of an epoch that do not fill a group of this many
            (gradient accumulation).

    Attributes:
        epoch: The epoch that is next or under way.
        position: Batches of it that were handed out.

    Raises:
        UserError: Not one batch, or not one group of them, can be filled.
    """

    def __init__(
        self,
        n_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        group: int = 1,
    ):
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.group = group
        self.epoch = 0
        self.position = 0
        self.rank = 0
        self.world_size = 1
        self._order: tuple[int, np.ndarray] | None = None
        self._check()

    def shard(self, rank: int, world_size: int) -> None:
        """Serve process ``rank`` of ``world_size``."""
        self.rank, self.world_size = rank, world_size
        self._check()

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch before incomplete groups are left out."""
        if self.drop_last:
            return -(-self.n_samples // self.world_size) // self.batch_size
        return -(-self.n_samples // (self.world_size * self.batch_size))

    def __len__(self) -> int:
        """Batches that one epoch hands out."""
        return self.batches_per_epoch // self.group * self.group

    def batch(self, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample indices and seeds of one batch of this process, both int64 (batch,)."""
        order = self._order_of(epoch)
        first = (position * self.world_size + self.rank) * self.batch_size
        indices = order[first : first + self.batch_size]
        return indices, sample_seeds(self.seed, epoch, indices)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go on from ``position`` to the end of the epoch, then stand before the next one."""
        while self.position < len(self):
            self.position += 1
            yield self.batch(self.epoch, self.position - 1)
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Stand before ``epoch``; a position inside that very epoch is kept."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch comes from, and what it depends on."""
        epoch, position = self.epoch, self.position
        if position == len(self):
            epoch, position = epoch + 1, 0
        return {"epoch": epoch, "position": position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where :meth:`state_dict` was taken.

        Raises:
            UserError: The batches were of other data, another size or another number of processes.
        """
        changed = [
            f"{name} {state.get(name)} -> {value}"
            for name, value in self._identity().items()
            if state.get(name) != value
        ]
        if changed:
            raise UserError(
                f"cannot resume inside an epoch with other batches: {', '.join(changed)}"
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _identity(self) -> dict[str, int]:
        names = ("n_samples", "batch_size", "seed", "world_size", "group")
        return {name: getattr(self, name) for name in names}

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            order = np.arange(self.n_samples)
            if self.shuffle:
                order = np.random.default_rng([self.seed, epoch]).permutation(self.n_samples)
            if self.drop_last:
                order = np.resize(order, -(-self.n_samples // self.world_size) * self.world_size)
            self._order = (epoch, order)
        return self._order[1]

    def _check(self) -> None:
        self._order = None
        if self.batches_per_epoch == 0:
            raise UserError(
                f"{self.n_samples} samples cannot fill one batch of {self.batch_size} on each of "
                f"{self.world_size} process(es); use a smaller batch or more data"
            )
        if len(self) == 0:
            raise UserError(
                f"{self.batches_per_epoch} batches per epoch cannot fill one group of {self.group} "
                "for accumulation; accumulate fewer batches, or use smaller ones"
            )


class BatchLoader(Generic[Batch]):
    """Batches fetched from a data set in the order of :class:`EpochBatches`.

    Lightning saves and restores its position through ``state_dict`` and ``load_state_dict``.

    Args:
        batches: The order.
        fetch: Sample indices and seeds, both int64 (batch,) -> batch.
        prefetch: Batches that a background thread fetches ahead.
        pin_memory: Put tensors of a batch into page-locked memory (for copies to a GPU).

    Attributes:
        sampler: ``batches``, under the name by which Lightning tells it the epoch.
    """

    def __init__(
        self,
        batches: EpochBatches,
        fetch: Callable[[np.ndarray, np.ndarray], Batch],
        *,
        prefetch: int = 0,
        pin_memory: bool = False,
    ):
        self.sampler = batches
        self.fetch = fetch
        self.prefetch = prefetch
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        """Batches that one epoch hands out."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the sampler's position to the end of its epoch."""
        if self.prefetch == 0:
            for indices, seeds in self.sampler:
                yield self._load(indices, seeds)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            yield from self._ahead(pool)

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`EpochBatches.state_dict`; batches fetched ahead do not count."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`EpochBatches.load_state_dict`."""
        self.sampler.load_state_dict(state)

    def _ahead(self, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        sampler, waiting = self.sampler, deque[Future[Batch]]()
        upcoming = iter(range(sampler.position, len(sampler)))
        try:
            while sampler.position < len(sampler):
                while len(waiting) <= self.prefetch and (n := next(upcoming, None)) is not None:
                    waiting.append(pool.submit(self._load, *sampler.batch(sampler.epoch, n)))
                batch = waiting.popleft().result()
                sampler.position += 1
                yield batch
        finally:
            for future in waiting:
                future.cancel()
        sampler.set_epoch(sampler.epoch + 1)

    def _load(self, indices: np.ndarray, seeds: np.ndarray) -> Batch:
        batch = self.fetch(indices, seeds)
        return _pinned(batch) if self.pin_memory else batch


def sample_seeds(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """A seed for every sample of an epoch, well mixed, not negative.

    Args:
        seed: The run's seed.
        epoch: Epoch number.
        indices: int64 (n,) sample numbers.

    Returns:
        int64 (n,).
    """
    start = np.array([seed], dtype=np.uint64)
    mixed = _mix(_mix(start) + np.uint64(epoch)) + indices.astype(np.uint64)
    return (_mix(mixed) >> np.uint64(1)).astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014); arithmetic modulo 2**64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _pinned(batch: Any) -> Any:
    if isinstance(batch, tuple | list):
        return type(batch)(_pinned(item) for item in batch)
    if isinstance(batch, dict):
        return {key: _pinned(item) for key, item in batch.items()}
    return batch.pin_memory() if hasattr(batch, "pin_memory") else batch

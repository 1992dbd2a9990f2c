"""Batches of an epoch, the same ones on any number of processes and after any interruption.

The order of an epoch is drawn from seed and epoch, what is random about an item from seed, epoch
and index. Nothing else decides: a run that is stopped goes on with the very next batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from behaviorzoo.batches import sample_seeds
from behaviorzoo.errors import UserError
from sgear.data.dataset import BrokenClip, collate

Batch = dict[str, Any]

_TRIES = 100


class ItemSource(Protocol):
    """A data set whose items depend on index and seed alone."""

    def __len__(self) -> int: ...

    def item(self, index: int, seed: int | None) -> Any:
        """The item at an index, with what is random about it drawn from the seed."""
        ...


@dataclass(frozen=True)
class BatchPlan:
    """Which items make the batches of this process.

    Global batch i is the i-th slice of ``world_size * batch_size`` items of the epoch's order, and
    each process takes an equal share of it. As the original does, the order is filled up from its
    own beginning until all processes have the same number of items.

    Attributes:
        n_items: Items of the data set.
        batch_size: Per process.
        seed: Behind order and items.
        shuffle: A new order in every epoch.
        drop_last: Leave out an incomplete batch.
        rank: Number of this process.
        world_size: Number of processes.
    """

    n_items: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        per_process = -(-self.n_items // self.world_size)
        if self.drop_last:
            return per_process // self.batch_size
        return -(-per_process // self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> list[list[tuple[int, int]]]:
        """(index, seed) of the items of each batch, from batch ``start`` on."""
        order = np.arange(self.n_items)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n_items)
        order = np.resize(order, -(-self.n_items // self.world_size) * self.world_size)
        size = self.batch_size * self.world_size
        found = []
        for number in range(start, len(self)):
            share = np.split(order[number * size : (number + 1) * size], self.world_size)[self.rank]
            seeds = sample_seeds(self.seed, epoch, share)
            found.append(list(zip(share.tolist(), seeds.tolist(), strict=True)))
        return found


def check_plan(plan: BatchPlan, what: str) -> BatchPlan:
    """The plan, if it has a batch.

    Raises:
        UserError: Not one batch can be filled.
    """
    if len(plan) == 0:
        raise UserError(
            f"{what}: {plan.n_items} clips cannot fill one batch of {plan.batch_size} on each of "
            f"{plan.world_size} process(es); use a smaller batch or more data"
        )
    return plan


def load(
    source: ItemSource,
    plan: BatchPlan,
    epoch: int,
    start: int = 0,
    workers: int = 0,
    replace_broken: bool = False,
) -> Iterator[Batch]:
    """Batches of an epoch.

    Args:
        source: The data set.
        plan: Which items.
        epoch: Of which epoch.
        start: The first batch that is wanted.
        workers: Processes that load ahead; 0 loads here.
        replace_broken: Put the next clip in the place of one that cannot be read. All processes
            then have batches of the same size, as they need for training together.

    Yields:
        The batches; a mistake of the user that a worker meets is raised here, in one line.
    """
    batches = plan.batches(epoch, start)
    loader = DataLoader(
        _Items(source, replace_broken),
        batch_sampler=batches,  # type: ignore[arg-type]  # a list of batches is a sampler of them
        num_workers=min(workers, len(batches)),
        collate_fn=_collate,
        worker_init_fn=_quiet_worker,
        # The default would take a seed from torch's generator, and change what comes after it.
        generator=torch.Generator(),
    )
    # Workers begin now, not when the first batch is asked for.
    return _told_plainly(iter(loader))


def _told_plainly(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same, but a user's mistake met in a worker stays one line, without its traceback."""
    try:
        yield from batches
    except UserError as error:
        text = str(error).strip()
        if not text.startswith("Caught "):
            raise
        raise UserError(text.splitlines()[-1].partition(": ")[2]) from None


@dataclass(frozen=True)
class _Replaced:
    """An item in the place of broken ones."""

    item: Any
    broken: list[BrokenClip]


class _Items(torch.utils.data.Dataset):
    """Items by (index, seed)."""

    def __init__(self, source: ItemSource, replace_broken: bool):
        self.source = source
        self.replace_broken = replace_broken

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        item = self.source.item(index, seed)
        if not (self.replace_broken and isinstance(item, BrokenClip)):
            return item
        broken = [item]
        for step in range(1, min(_TRIES, len(self.source))):
            item = self.source.item((index + step) % len(self.source), seed)
            if not isinstance(item, BrokenClip):
                return _Replaced(item, broken)
            broken.append(item)
        raise UserError(
            f"{len(broken)} clips one after the other cannot be read, the last one because "
            f"{broken[-1].message}"
        )


def _collate(items: Sequence[Any]) -> Batch:
    replaced = [item for item in items if isinstance(item, _Replaced)]
    batch = collate([item.item if isinstance(item, _Replaced) else item for item in items])
    batch["broken"] = [*batch["broken"], *(clip for item in replaced for clip in item.broken)]
    return batch


def _quiet_worker(number: int) -> None:
    """Workers leave Ctrl-C to the process that they load for, and take one thread each."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors of nested containers on a device."""
    if isinstance(value, torch.Tensor):
        if device.type == "mps" and value.dtype == torch.float64:
            value = value.float()
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value


def n_clips(batch: Batch) -> int:
    """Clips that a batch holds."""
    return len(batch["idx"])


def names_of(batch: Batch, limit: int = 8) -> str:
    """Names of the clips of a batch, for messages."""
    uids: Sequence[Any] = batch["uid"]
    more = f" and {len(uids) - limit} more" if len(uids) > limit else ""
    return ", ".join(str(uid) for uid in uids[:limit]) + more

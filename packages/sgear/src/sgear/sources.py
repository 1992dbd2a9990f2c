"""What a training run draws its batches from: the training sets, with ``transductive`` more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from sgear.assembly import DataSets
from sgear.config import Config
from sgear.distributed import Processes
from sgear.loader import Batch, BatchPlan, check_plan, load

_TRANSDUCTIVE = 1_000_003
"""Added to the seed of evaluation sets that are trained on."""


@dataclass(frozen=True)
class Source:
    """A data set and its batches for this process.

    Attributes:
        data: The data set.
        plan: The batches.
        workers: Processes that load.
    """

    data: Any
    plan: BatchPlan
    workers: int

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from one on."""
        return load(self.data, self.plan, epoch, start, self.workers, replace_broken=True)


def sources_of(config: Config, data: DataSets, processes: Processes) -> list[Source]:
    """What one epoch goes through, one after the other.

    Raises:
        UserError: A set without a full batch.
    """
    assert data.train is not None
    settings = config.settings
    found = [_source(config, data.train, processes, "dataset_train", config.data_train.workers)]
    if settings.transductive:
        found += [
            _source(config, part, processes, f"dataset_eval{suffix}", config.data_eval.workers)
            for suffix, part in data.evals.items()
        ]
    return found


def _source(config: Config, data: Any, processes: Processes, key: str, workers: int) -> Source:
    settings, place = config.settings, processes.place
    train = key == "dataset_train"
    share = (config.data_train if train else config.data_eval).use_dist_sampler
    batch_size = settings.train.batch_size
    if settings.data_parallel and processes.device.type == "cuda":
        batch_size *= max(torch.cuda.device_count(), 1)
    plan = BatchPlan(
        len(data),
        batch_size,
        seed=settings.seed + (0 if train else _TRANSDUCTIVE),
        shuffle=settings.train.shuffle_data,
        drop_last=settings.train.use_mixup,  # a clip alone has nothing to be mixed with
        rank=place.rank if share else 0,
        world_size=place.world_size if share else 1,
    )
    return Source(data, check_plan(plan, key), workers)

"""The processes that train together: who started them, how they find and tell each other.

They are started by ``sgear launch`` (submitit), by ``torchrun``, or by ``srun``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from behaviorzoo.errors import UserError
from sgear.experiments import SYNC_FILE


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is.

    Attributes:
        rank: Among all.
        world_size: Their number.
        local_rank: Among those of this machine.
        start: Name of this start of them, other for every restart.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    start: str = ""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        place: Which one.
        device: Where it computes.
    """

    place: Place
    device: torch.device
    _messages: Any = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.place.rank == 0

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Largest of every number over all processes."""
        if self.place.world_size == 1:
            return list(numbers)
        ballot = torch.tensor(list(numbers), dtype=torch.int64)
        dist.all_reduce(ballot, op=dist.ReduceOp.MAX, group=self._messages)
        return [int(number) for number in ballot.tolist()]

    def sums(self, numbers: torch.Tensor) -> torch.Tensor:
        """Sum of every number over all processes, float64 on the CPU."""
        total = numbers.detach().double().cpu()
        if self.place.world_size > 1:
            dist.all_reduce(total, group=self._messages)
        return total

    def gather(self, value: Any, to_all: bool = False) -> list[Any]:
        """The value of every process by rank, for the first process or for all."""
        size = self.place.world_size
        if size == 1:
            return [value]
        found: list[Any] = [None] * size
        if to_all:
            dist.all_gather_object(found, value, group=self._messages)
        else:
            dist.gather_object(value, found if self.is_main else None, group=self._messages)
        return found

    def wait(self) -> None:
        """Until all are here."""
        self.largest([0])

    def tell(self, text: str) -> None:
        """Print from one process only, at once."""
        if self.is_main:
            print(text, flush=True)


def find_place() -> Place:
    """This process among its fellows, from what its starter left in the environment."""
    at = os.environ
    if "SUBMITIT_EXECUTOR" in at:
        import submitit

        job = submitit.JobEnvironment()
        start = f"{job.job_id}_{at.get('SLURM_RESTART_COUNT', '0')}"
        return Place(job.global_rank, job.num_tasks, job.local_rank, start)
    if "RANK" in at and "WORLD_SIZE" in at:
        start = at.get("TORCHELASTIC_RUN_ID", "")
        return Place(_number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK"), start)
    if "SLURM_STEP_NUM_TASKS" in at:  # a task of srun; a batch script alone is one process
        start = f"{at.get('SLURM_JOB_ID', '')}_{at.get('SLURM_RESTART_COUNT', '0')}"
        size = _number("SLURM_STEP_NUM_TASKS")
        return Place(_number("SLURM_PROCID"), size, _number("SLURM_LOCALID"), start)
    return Place()


@contextmanager
def processes(folder: Path, device: str = "auto", backend: str = "nccl") -> Iterator[Processes]:
    """Meet the other processes, and part from them at the end.

    Args:
        folder: Run folder; without an address in the environment they meet in a file there.
        device: ``auto``, or what torch calls it.
        backend: How they talk on GPUs.

    Raises:
        UserError: A device that is not there.
    """
    place = find_place()
    chosen = choose_device(device, place.local_rank)
    if place.world_size == 1:
        yield Processes(place, chosen)
        return
    backend = "gloo" if chosen.type != "cuda" else backend
    meeting = folder / (f"{SYNC_FILE}_{place.start}" if place.start else SYNC_FILE)
    where: dict[str, Any] = {}  # with an address torch finds the others by itself
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        folder.mkdir(parents=True, exist_ok=True)
        # Not as file://PATH: torch takes the %20 of a blank literally, and waits for ever.
        path, size = str(meeting.resolve()), place.world_size
        where["store"] = dist.FileStore(path, size)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group(backend, rank=place.rank, world_size=place.world_size, **where)
    try:
        # Votes and sums are small and wanted on the CPU: they never wait for a GPU.
        messages = dist.new_group(backend="gloo") if backend == "nccl" else None
        yield Processes(place, chosen, messages)
    finally:
        dist.destroy_process_group()
        if place.rank == 0:
            meeting.unlink(missing_ok=True)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a process.

    Raises:
        UserError: This machine does not have it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            if device.index is None:
                device = torch.device("cuda", local_rank % max(torch.cuda.device_count(), 1))
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"device={name}: this machine does not have it; device=auto takes what there is"
        ) from error
    return device


def wrapped(
    model: nn.Module, processes: Processes, *, sync_bn: bool = False, data_parallel: bool = False
) -> nn.Module:
    """The network as several processes or devices share it.

    Args:
        model: On its device.
        processes: Who trains together.
        sync_bn: Batch statistics over all of them.
        data_parallel: One process alone uses all GPUs.
    """
    device = processes.device
    if processes.place.world_size > 1:
        if sync_bn and device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # Some parameters never get a gradient (TCA's alpha), others depend on the settings.
        return nn.parallel.DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,
        )
    if data_parallel and device.type == "cuda" and torch.cuda.device_count() > 1:
        return nn.DataParallel(model)
    return model


def _number(name: str) -> int:
    text = os.environ.get(name, "0")
    if not text.isdigit():
        raise UserError(f"the environment variable {name} is {text!r}, expected a number")
    return int(text)

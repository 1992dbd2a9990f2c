"""Where to run, and how much to ask a scheduler for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from behaviorzoo.errors import UserError


@dataclass(frozen=True)
class LaunchConfig:
    """The ``launch.*`` keys, the same for every command.

    Raises:
        UserError: A number out of its range.
    """

    launcher: Literal["local", "slurm"] = field(
        default="local", metadata={"help": "local: on this machine; slurm: a job of its own"}
    )
    nodes: int = field(default=1, metadata={"help": "machines"})
    gpus_per_node: int = field(
        default=0, metadata={"help": "accelerators on each machine, one process for each"}
    )
    tasks_per_node: int | None = field(
        default=None,
        metadata={"help": "processes on each machine; null: one for each accelerator, or one"},
    )
    cpus_per_task: int | None = field(
        default=None, metadata={"help": "cores for each process; null: what the cluster gives"}
    )
    mem_gb: float | None = field(
        default=None, metadata={"help": "memory per machine; null: what the cluster gives"}
    )
    timeout_min: int = field(
        default=720,
        metadata={
            "help": "minutes for one stretch of the job; training saves and goes on in a next"
        },
    )
    partition: str | None = field(default=None, metadata={"help": "queue; null: the default one"})
    account: str | None = field(default=None, metadata={"help": "account that is charged"})
    qos: str | None = field(default=None, metadata={"help": "quality of service"})
    constraint: str | None = field(
        default=None, metadata={"help": "features the machines must have"}
    )
    name: str | None = field(default=None, metadata={"help": "job name; null: command and verb"})
    folder: str = field(
        default="slurm", metadata={"help": "folder of the logs, seen by all machines"}
    )
    array_parallelism: int = field(
        default=16, metadata={"help": "jobs of a sweep that run at a time"}
    )
    grace_s: int = field(
        default=120, metadata={"help": "seconds before the time is over in which training saves"}
    )
    max_crashes: int = field(
        default=3,
        metadata={
            "help": "times that a training whose process was killed goes on by itself; "
            "preemption and time-outs are not counted"
        },
    )
    setup: tuple[str, ...] = field(
        default=(), metadata={"help": "shell lines before the work, such as [module load cuda]"}
    )
    extra: dict[str, str | int | bool] = field(
        default_factory=dict,
        metadata={"help": "further sbatch options: launch.extra.reservation=week12"},
    )

    def __post_init__(self) -> None:
        at_least = {
            "nodes": 1,
            "gpus_per_node": 0,
            "tasks_per_node": 1,
            "cpus_per_task": 1,
            "timeout_min": 1,
            "array_parallelism": 1,
            "grace_s": 1,
            "max_crashes": 0,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"launch.{name} = {value} must be at least {least}")
        if self.mem_gb is not None and self.mem_gb <= 0:
            raise UserError(f"launch.mem_gb = {self.mem_gb} must be positive, or null")

    @property
    def tasks(self) -> int:
        """Processes on each machine."""
        return self.tasks_per_node or max(1, self.gpus_per_node)

    @property
    def warning_s(self) -> int:
        """Seconds before its end at which a stretch is warned: half of it at most."""
        return min(self.grace_s, 60 * self.timeout_min // 2)

    @property
    def processes(self) -> int:
        """Processes on all machines together."""
        return self.nodes * self.tasks

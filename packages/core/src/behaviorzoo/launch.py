"""Where the work of a command runs: here, or (later, on the same interface) on a cluster.

A verb hands :func:`launch` a function and its configuration. Both must be importable or plain
data, because a scheduler will have to send them to another machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from behaviorzoo.errors import UserError

C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True)
class LaunchConfig:
    """Where to run, and how much of it to ask for.

    Attributes:
        launcher: ``local`` runs in this process.
        nodes: Machines to ask a scheduler for.
        gpus_per_node: Accelerators on each of them, one process each.
        timeout_min: Minutes after which a scheduler ends the job.
        partition: Queue of the scheduler; ``None`` is its default.
    """

    launcher: Literal["local", "slurm"] = field(
        default="local", metadata={"help": "where to run: local is this process"}
    )
    nodes: int = field(default=1, metadata={"help": "machines to ask a scheduler for"})
    gpus_per_node: int = field(default=0, metadata={"help": "accelerators on each machine"})
    timeout_min: int | None = field(
        default=None, metadata={"help": "minutes after which a scheduler ends the job"}
    )
    partition: str | None = field(
        default=None, metadata={"help": "queue of the scheduler, null for its default"}
    )


def is_main_process() -> bool:
    """Whether this process speaks for all.

    Distributed training starts the command once more for every further device, and what the
    command prints is wanted once.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_PROCID"))


def tell(text: str) -> None:
    """Print ``text`` at once, from one process only where several train together."""
    if is_main_process():
        print(text, flush=True)


def launch(work: Callable[[C], R], config: C, settings: LaunchConfig) -> R | None:
    """Run ``work(config)`` where ``settings`` say.

    Args:
        work: A module-level function.
        config: Its only argument.
        settings: Where to run.

    Returns:
        The result of ``work`` when it ran here, ``None`` when a scheduler took it.

    Raises:
        UserError: The launcher cannot do what is asked.
    """
    if settings.launcher == "slurm":
        raise UserError(
            "launch=slurm is not available in this version; "
            "use launch=local and put the same command in a job script of yours (sbatch)"
        )
    asked = [name for name in _FOR_SCHEDULERS if getattr(settings, name) != _DEFAULTS[name]]
    if asked:
        keys = ", ".join(f"launch.{name}" for name in asked)
        raise UserError(
            f"{keys}: only a scheduler can give this, launch=local runs on this machine; "
            "leave it out (trainer.devices sets how many devices are used here)"
        )
    return work(config)


_FOR_SCHEDULERS = ("nodes", "gpus_per_node", "timeout_min", "partition")
_DEFAULTS = {name: getattr(LaunchConfig(), name) for name in _FOR_SCHEDULERS}

"""The folder of a run: what a fresh start may find there, and what a resume must."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only

from behaviorzoo.checkpoints import (
    CHECKPOINTS_FOLDER,
    CONFIG_FILE,
    clean_leftovers,
    find_checkpoints,
    read_config,
    read_metadata,
)
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.training.config import TrainerConfig

FINGERPRINT = "data_fingerprint"
# Keys that say where and how to run, not what to compute. Devices and precision are not among
# them: they decide which samples an update sees and how it is rounded.
MAY_CHANGE = (
    "trainer.accelerator",
    "trainer.compile",
    "trainer.log_every_n_steps",
    "trainer.max_epochs",
    "trainer.checkpoint_every_*",
    "trainer.keep_checkpoints",
    "trainer.progress",
    "trainer.max_time_minutes",
    "launch.*",
)


def find_start(
    run_dir: str | Path,
    config: Mapping[str, Any],
    resume: bool,
    may_change: Sequence[str] = (),
) -> Path | None:
    """Find the checkpoint to go on from; quick, to be asked before the data are read.

    Args:
        run_dir: The run folder.
        config: Resolved configuration of the run that is about to start.
        resume: Go on where a run was.
        may_change: Patterns of dotted keys that may differ from that run's, besides those of
            where and how to run.

    Returns:
        The newest complete checkpoint, or None for a start from scratch.

    Raises:
        UserError: There are checkpoints and ``resume`` is off, or their configuration is another.
    """
    found = find_checkpoints(Path(run_dir) / CHECKPOINTS_FOLDER)
    if not found:
        return None
    if not resume:
        raise UserError(
            f"{run_dir}: holds a run already ({found[-1].name}); add --resume to go on with it, "
            "or choose another folder"
        )
    allowed = (*MAY_CHANGE, *may_change)
    was, now = dict(_leaves(read_config(found[-1]))), dict(_leaves(_plain(config)))
    differing = [
        f"{key} {was.get(key, 'absent')!s} -> {now.get(key, 'absent')!s}"
        for key in {**was, **now}
        if was.get(key) != now.get(key) and not any(fnmatch(key, p) for p in allowed)
    ]
    if differing:
        raise UserError(
            f"{found[-1]}: cannot resume with another configuration: {'; '.join(differing)}. "
            "Set these back, or start a new run in another folder"
        )
    return found[-1]


def check_data(checkpoint: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than those of the checkpoint.

    Raises:
        UserError: The fingerprints of the data differ.
    """
    saved, given = read_metadata(checkpoint).get(FINGERPRINT), metadata.get(FINGERPRINT)
    if saved != given:
        raise UserError(
            f"{checkpoint}: cannot resume with other data: the fingerprint was {saved}, now it is "
            f"{given}. Use the data of the first start, or start a new run in another folder"
        )


def versions(method: str) -> dict[str, str]:
    """Versions of what a run was made with, for its metadata.

    Args:
        method: Import name of the method, also the end of its distribution's name.
    """
    return {
        method: version(f"behaviorzoo-{method.replace('_', '-')}"),
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def within_schedule(cfg: TrainerConfig, epochs: int) -> TrainerConfig:
    """The trainer settings with ``max_epochs`` no longer than the method's own schedule."""
    return replace(cfg, max_epochs=min(cfg.max_epochs or epochs, epochs))


@rank_zero_only
def clean_and_write(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Make the folder ready; one process does it, the others may come when it saves already."""
    clean_leftovers(run_dir / CHECKPOINTS_FOLDER)
    text = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)
    with atomic_path(run_dir / CONFIG_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(config: Mapping[str, Any]) -> Any:
    """The configuration as it comes back from a file: tuples become lists."""
    return yaml.safe_load(yaml.safe_dump(dict(config)))


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

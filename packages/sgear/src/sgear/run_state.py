"""``checkpoint.pth``: the authors' layout, and beside it what a run needs to go on exactly.

The authors store ``model``, ``optimizer``, ``lr_scheduler`` and ``epoch`` (finished ones). Those
keys are the same here, so that their code can read ours. Everything in the file is tensors and
plain containers, and it is read without running anything.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.weights import load_torch_file

CHECKPOINT = "checkpoint.pth"
BEST = "checkpoint_best.pth"

MAY_CHANGE = (
    *("expt_name", "run_id", "cwd", "device", "test_only", "pytorch.*", "moco.*", "dataset.*"),
    *("eval.*", "dataset_eval*", "data_eval.*", "data_train.workers", "dist_backend"),
    *("train.eval_freq", "train.store_best", "train.fn", "train.init_from_model", "pre_train_path"),
    *(f"train.train_one_epoch_fn.{key}" for key in ("print_*", "save_*", "_target_")),
    # Other files with the same clips and labels are the same data: the fingerprint decides.
    *(f"dataset_train*.{key}" for key in ("root", "annotation_*", "rulstm_annotation_dir")),
    *(f"dataset_train*.{key}" for key in ("*_path", "action_labels_fpath", "reader_fn*")),
    *(f"dataset_train*.{key}" for key in ("actions_from", "only_keep_videos")),
)
"""Patterns of keys that say where and how to run, not what to compute."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: Epochs that are finished.
        batch: Batches of the next one that are done.
        step: Batches so far.
        rows: Rows of ``metrics.csv`` so far.
        evaluated: Finished epochs at the last evaluation.
        best: Best value of the figure that counts, None before the first.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    evaluated: int = 0
    best: float | None = None


@dataclass(frozen=True)
class RunState:
    """A run at a moment.

    Attributes:
        model: Name -> tensor.
        optimizer: State dict.
        lr_scheduler: State dict.
        scaler: State dict of the gradient scaler, empty without.
        gradients: Name -> what has been accumulated for the next update, empty between two.
        progress: How far it is.
        meter: Sums since the last row of the log, of every process.
        config: Resolved settings.
        classes: Label type -> name -> number.
        num_classes: Label type -> number of classes.
        world_size: Processes.
        data: Fingerprint of the training data.
    """

    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    lr_scheduler: dict[str, Any]
    scaler: dict[str, Any]
    gradients: dict[str, torch.Tensor]
    progress: Progress
    meter: list[dict[str, Any]]
    config: dict[str, Any]
    classes: dict[str, dict[str, int]]
    num_classes: dict[str, int]
    world_size: int
    data: str


def write_state(path: Path, state: RunState, batches_per_epoch: int) -> None:
    """Write a checkpoint, completely or not at all.

    Raises:
        UserError: The disk refuses.
    """
    progress = state.progress
    epoch: float = progress.epoch
    if progress.batch:
        epoch += progress.batch / batches_per_epoch
    content = {
        "model": state.model,
        "optimizer": state.optimizer,
        "lr_scheduler": state.lr_scheduler,
        "epoch": epoch,
        "scaler": state.scaler,
        "gradients": state.gradients,
        "progress": asdict(progress),
        "meter": state.meter,
        "config": state.config,
        "classes": state.classes,
        "num_classes": state.num_classes,
        "world_size": state.world_size,
        "data_fingerprint": state.data,
    }
    buffer = io.BytesIO()  # a full disk is then an OSError and not an error of torch's
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_state(path: Path) -> RunState | None:
    """Read a checkpoint of ours; None for one that only has the authors' keys.

    Raises:
        UserError: Damaged, or not a checkpoint.
    """
    content = load_torch_file(path)
    if "model" not in content:
        raise UserError(f"{path}: no weights under 'model'; is it a checkpoint of S-GEAR?")
    if "progress" not in content:
        return None
    try:
        return RunState(
            model=content["model"],
            optimizer=content["optimizer"],
            lr_scheduler=content["lr_scheduler"],
            scaler=content["scaler"],
            gradients=content["gradients"],
            progress=Progress(**content["progress"]),
            meter=content["meter"],
            config=content["config"],
            classes=content["classes"],
            num_classes=content["num_classes"],
            world_size=content["world_size"],
            data=content["data_fingerprint"],
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged, {error} is missing") from error


def check_same_run(
    path: Path, state: RunState, config: Mapping[str, Any], world_size: int, data: str
) -> None:
    """Refuse to go on with other settings, data or processes than those of the checkpoint.

    Raises:
        UserError: They differ; it names the keys.
    """
    was, now = dict(_leaves(state.config)), dict(_leaves(config))
    differing = [
        f"{key} {was.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in {**was, **now}
        if was.get(key) != now.get(key) and not any(fnmatch(key, p) for p in MAY_CHANGE)
    ]
    if differing:
        shown = "; ".join(differing[:6])
        more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
        raise UserError(
            f"{path}: cannot go on with other settings: {shown}{more}. Set them back, or start "
            "in another folder"
        )
    if state.world_size != world_size:
        raise UserError(
            f"{path}: cannot go on with {world_size} processes, it was {state.world_size}: the "
            "batches would be others"
        )
    if state.data != data:
        raise UserError(
            f"{path}: cannot go on with other data: the fingerprint was {state.data}, now it is "
            f"{data}"
        )


def _leaves(tree: Any, prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""Outputs of a trained network per class, computed here: no stored file in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from behaviorzoo.errors import UserError
from sgear.prototypes.files import find_file
from sgear.prototypes.visual import CAPACITY, EmbeddingStore
from sgear.trained_run import TrainedRun, open_run

EMBEDDING = "future_agg"
"""The network's output that stands for a clip."""


@dataclass(frozen=True)
class Collected:
    """Outputs of a network.

    Attributes:
        stored: Class id -> (K, C).
        names: Class names.
        language: File of language encodings that the run names, where it is there.
        about: Origin.
        notes: What the user should know.
    """

    stored: dict[int, Tensor]
    names: list[str]
    language: Path | None
    about: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def collect(
    folder: str | Path,
    words: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    capacity: int = CAPACITY,
    key: str = "dataset_train",
    progress: bool = True,
) -> Collected:
    """Run a network over the first clips of each class.

    Args:
        folder: Run folder, of a network trained for recognition.
        words: Settings that differ.
        checkpoint: Other weights than the folder's.
        capacity: Clips per class.
        key: Data set. Clips of the training set by default: prototypes are parameters, and those
            of evaluated clips would tell the network of them.
        progress: Show a bar.

    Raises:
        UserError: No such run or data, or not one clip that can be read.
    """
    if capacity < 1:
        raise UserError(f"--capacity {capacity}: at least 1 clip per class")
    trained = open_run(folder, words, checkpoint=checkpoint)
    dataset = trained.dataset(key)
    kind = dataset.label_types[0]
    labels = dataset.table[f"{kind}_class"].to_numpy(dtype=np.int64)
    store = EmbeddingStore(dataset.num_classes[kind], capacity)
    rows, broken = first_of_each(labels, capacity), 0
    if not len(rows):
        raise UserError(f"{folder}, {key}: no clip has a {kind} label")
    bar = tqdm(total=len(rows), desc="prototypes", unit="clip", disable=not progress)
    with bar:
        for batch, outputs in trained.outputs(dataset, rows):
            broken += len(batch["broken"])
            if outputs:
                store.add(outputs[EMBEDDING], batch["target"][kind])
            bar.update(len(batch["idx"]) + len(batch["broken"]))
    if store.width == 0:
        raise UserError(f"{folder}, {key}: not one of {len(rows)} clips can be read")
    numbers = {code: name for name, code in dataset.classes.get(kind, {}).items()}
    names = [numbers.get(code, str(code)).strip() for code in range(dataset.num_classes[kind])]
    notes = [f"{broken} of {len(rows)} clips cannot be read"] if broken else []
    about = {"checkpoint": trained.checkpoint.path.name, "set": key, "capacity": capacity}
    return Collected(store.stored(), names, _language(trained), about, notes)


def first_of_each(labels: np.ndarray, number: int) -> np.ndarray:
    """Rows of the first ``number`` items of each class, ascending; -1 is no class."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    new = np.flatnonzero(np.r_[True, np.diff(ordered) != 0]) if len(order) else order
    place = np.arange(len(order)) - np.repeat(new, np.diff(np.r_[new, len(order)]))
    return np.sort(order[(place < number) & (ordered >= 0)])


def _language(trained: TrainedRun) -> Path | None:
    """The run's file of language encodings."""
    named = next(iter(trained.config.train_sets.values())).embeddings_path
    if not named:
        return None
    try:
        return find_file(Path(trained.config.settings.cwd) / named)
    except UserError:
        return None

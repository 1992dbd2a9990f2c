"""Uncertainty of sequences: how far from the rim of the ball their embeddings lie.

A sequence that the network is sure of lies near the rim (radius 1), one that could be many things
near the origin: ``1 - radius`` is its uncertainty (section 3 of the paper). The authors' tools
part a data set at the median and dump the mapped projections of both branches.

Letters: N sequences, D features.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from hysp.data.prepared import Description, refuse_existing, write_prepared
from hysp.data.splits import Halves, uncertainty_halves
from hysp.hyperbolic import exp_map

if TYPE_CHECKING:
    from hysp.data.dataset import SkeletonData

Layout = Literal["ours", "authors"]
HALVES = ("low", "high")
_POSITIONS = "train_position.npy"


@torch.no_grad()
def mapped(features: Tensor, c: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points of the ball and their radii.

    Args:
        features: (N, D) tangent vectors at the origin.
        c: The curvature is -c.

    Returns:
        Points (N, D) and radii (N,) in [0, 1), both float64; a radius is measured in parts of
        the ball's.
    """
    points = exp_map(features, c)
    return points, points.norm(dim=1) * math.sqrt(c)


def write_uncertainty(path: str | Path, uncertainty: np.ndarray) -> Path:
    """Write the authors' file: a pickled dictionary, number of the sample -> uncertainty."""
    content = {index: float(value) for index, value in enumerate(uncertainty)}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        pickle.dump(content, handle, protocol=2)
    return Path(path)


def write_halves(
    data: SkeletonData, uncertainty: np.ndarray, out: str | Path, layout: Layout = "ours"
) -> Halves:
    """Write the samples below the median uncertainty, and the others, as two data sets.

    Any number of samples works; the authors' writer fails on an odd one.

    Args:
        data: The samples.
        uncertainty: (N,).
        out: Folder for ``low`` and ``high``.
        layout: ``ours``: two folders as of ``hysp prepare``. ``authors``: arrays
            ``train_position.npy`` with ``train_label.pkl`` (labels alone), in a folder
            ``uncertainty`` by whose name their loader knows that there are no names.

    Returns:
        The median, and which samples are on its sides.

    Raises:
        UserError: There are such data already, or they cannot be written.
    """
    check_halves(out, layout)
    halves = uncertainty_halves(uncertainty)
    for name, rows in zip(HALVES, (halves.low, halves.high), strict=True):
        part = data.select(rows)
        if layout == "authors":
            _write_authors(part, _authors_folder(out, name))
            continue
        table = part.table.assign(uncertainty=[f"{value:.9g}" for value in uncertainty[rows]])
        description = Description(
            "uncertainty", part.skeleton, part.tasks, settings={"median": halves.median},
            state={key: value for key, value in part.state_dict().items() if key == "scale"},
        )  # fmt: skip
        write_prepared(Path(out) / name, part.x, table, pd.DataFrame(), description)
    return halves


def check_halves(out: str | Path, layout: Layout = "ours") -> None:
    """Refuse a place where :func:`write_halves` would write over something; to be asked first.

    Raises:
        UserError: There are such data already.
    """
    for name in HALVES:
        if layout == "ours":
            refuse_existing(Path(out) / name)
        elif (there := _authors_folder(out, name) / _POSITIONS).exists():
            raise UserError(f"{there}: is there already; choose another folder, or delete it")


def _authors_folder(out: str | Path, name: str) -> Path:
    return Path(out) / "uncertainty" / name


def _write_authors(part: SkeletonData, folder: Path) -> None:
    with atomic_path(folder / _POSITIONS) as temporary:
        np.save(temporary, np.ascontiguousarray(part.x, dtype=np.float32))
    labels = np.zeros(len(part), dtype=np.int64) if part.labels is None else part.labels
    path = folder / "train_label.pkl"
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        pickle.dump(labels, handle, protocol=4)

"""Which recordings, individuals and key points are used, and in which order.

Legend: T frames, I individuals, K key points, D coordinates.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.missing import handle_missing
from behaviorzoo.poses.config import PoseConfig
from behaviorzoo.recordings import find_recordings, load_recording

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger("behaviorzoo")

PAD = "-"
"""Name of a key point that no file has: it is always missing (fills up groups of unequal size)."""


@dataclass(frozen=True)
class Selection:
    """What is taken from every recording.

    Attributes:
        keypoints: Names in order; ``PAD`` for a point that is always missing.
        individuals: Names of the rows. A recording with other names but equally many
            individuals is taken in file order.
        dimensions: Coordinates D.
    """

    keypoints: tuple[str, ...]
    individuals: tuple[str, ...]
    dimensions: int


def recording_files(config: PoseConfig, split: str) -> list[Path]:
    """Files of a split: ``data.path`` for training, ``data.test_path`` (or the path) for test.

    Raises:
        UserError: Nothing found, or nothing left after ``data.recordings`` and ``data.exclude``.
    """
    path = config.test_path if split == "test" and config.test_path else config.path
    if not path:
        raise UserError("data.path is empty: give recordings (.nc files of `behaviorzoo import`)")
    files = find_recordings(path)
    names = [file.stem for file in files]
    for key in ("recordings", "exclude"):
        for pattern in getattr(config, key):
            if not fnmatch.filter(names, pattern):
                raise UserError(
                    f"data.{key}: no recording {pattern!r} in {path}; {suggest(pattern, names)}"
                )
    chosen = [
        file
        for file in files
        if (not config.recordings or _matches(file.stem, config.recordings))
        and not _matches(file.stem, config.exclude)
    ]
    if not chosen:
        raise UserError(
            f"{path}: all {len(files)} recordings are left out by data.recordings, data.exclude"
        )
    return chosen


def choose(config: PoseConfig, file: Path, state: Mapping[str, Any]) -> Selection:
    """The selection that the first recording (or the training run) determines.

    Args:
        config: The wishes.
        file: The first recording.
        state: State of the training run, empty when training.

    Raises:
        UserError: A name that the recording does not have.
    """
    if state:
        return Selection(
            tuple(state["keypoints"]), tuple(state["individuals"]), int(state["dimensions"])
        )
    ds = load_recording(file)
    present = _names(ds, "keypoints")
    wanted = config.wanted_keypoints() or list(present)
    missing = [name for name in wanted if name != PAD and name not in present]
    if missing:
        raise UserError(f"{file}: no key point {missing[0]!r}; {suggest(missing[0], present)}")
    individuals = tuple(config.individuals) or _names(ds, "individuals")
    if config.max_individuals is not None:
        count = config.max_individuals
        extra = tuple(f"individual_{n + 1}" for n in range(len(individuals), count))
        individuals = (*individuals[:count], *extra)
    return Selection(tuple(wanted), individuals, ds.sizes["space"])


def read_positions(
    file: Path, selection: Selection, config: PoseConfig
) -> tuple[xr.Dataset, np.ndarray]:
    """A recording and its chosen positions, missing points as NaN.

    Returns:
        The recording, and float32 (T, I, K, D).

    Raises:
        UserError: Names or dimensions differ from the other recordings; names the file.
    """
    ds = load_recording(file)
    _check_axes(ds, file, selection, config)
    if config.min_confidence and "confidence" in ds:
        ds = ds.assign(position=ds["position"].where(ds["confidence"] >= config.min_confidence))
    if config.missing == "interpolate":
        ds = handle_missing(ds, "interpolate", config.max_gap)
    whole = ds["position"].transpose("time", "individuals", "keypoints", "space").to_numpy()
    rows = _rows(ds, file, selection, config)
    columns = [_index(_names(ds, "keypoints"), name) for name in selection.keypoints]
    # One more row and column of missing points stand for what the recording does not have.
    T, I, K, D = whole.shape  # noqa: E741
    padded = np.full((T, I + 1, K + 1, D), np.nan, np.float32)
    padded[:, :I, :K] = whole
    chosen = padded[:, rows][:, :, columns]
    # A point is missing as a whole.
    chosen[np.isnan(chosen).any(-1)] = np.nan
    return ds, chosen


def check_seen(file: Path, positions: np.ndarray, selection: Selection, config: PoseConfig) -> None:
    """Refuse a recording in which a chosen key point is never seen.

    Raises:
        UserError: Names the file, the key points, the share missing and what to do.
    """
    never = [
        name
        for column, name in enumerate(selection.keypoints)
        if name != PAD and np.isnan(positions[:, :, column]).all()
    ]
    if never and not config.allow_unseen:
        kept = [name for name in selection.keypoints if name not in (*never, PAD)]
        raise UserError(
            f"{file}: key point {', '.join(never)} is never seen (100 % of {len(positions)} frames "
            f"missing in every individual); leave it out with data.keypoints="
            f"[{','.join(kept)}], leave the file out with data.exclude=[{file.stem}], or accept "
            "it with data.allow_unseen=true"
        )


def check_complete(file: Path, positions: np.ndarray, selection: Selection, why: str) -> None:
    """Refuse missing points.

    Args:
        file: The recording.
        positions: (T, I, K, D).
        selection: Names of the axes.
        why: Who cannot take missing points, and what to do.

    Raises:
        UserError: Names the file, the worst point and its share.
    """
    share = np.isnan(positions[..., 0]).mean(0)  # (I, K)
    if not share.any():
        return
    worst = np.unravel_index(int(share.argmax()), share.shape)
    raise UserError(
        f"{file}: key point {selection.keypoints[worst[1]]} of "
        f"{selection.individuals[worst[0]]} is missing in {share[worst]:.1%} of the frames "
        f"({share.mean():.1%} of all points); {why}"
    )


def _check_axes(ds: xr.Dataset, file: Path, selection: Selection, config: PoseConfig) -> None:
    if ds.sizes["space"] != selection.dimensions:
        raise UserError(
            f"{file}: {ds.sizes['space']} coordinates per point, the others have "
            f"{selection.dimensions}"
        )
    present = _names(ds, "keypoints")
    lacking = [n for n in selection.keypoints if n != PAD and n not in present]
    if lacking:
        raise UserError(
            f"{file}: no key point {', '.join(lacking)} (it has {', '.join(present)}); choose "
            "those that all recordings have with data.keypoints=[...]"
        )
    if not config.wanted_keypoints():
        extra = [name for name in present if name not in selection.keypoints]
        if extra:
            raise UserError(
                f"{file}: key points {', '.join(extra)} are not in the other recordings; choose "
                f"data.keypoints=[{','.join(selection.keypoints)}]"
            )


def _rows(ds: xr.Dataset, file: Path, selection: Selection, config: PoseConfig) -> list[int]:
    """Row of the recording for each individual, -1 = there is none."""
    present, wanted = _names(ds, "individuals"), selection.individuals
    if config.individuals or set(wanted) <= set(present):
        absent = [name for name in wanted if name not in present]
        if absent and config.max_individuals is None:
            raise UserError(f"{file}: no individual {absent[0]!r}; {suggest(absent[0], present)}")
        if config.individuals or len(present) == len(wanted):
            return [_index(present, name) for name in wanted]
    if config.max_individuals is not None:
        return _most_seen(ds, len(wanted))
    if len(present) != len(wanted):
        raise UserError(
            f"{file}: {len(present)} individuals ({', '.join(present)}), the others have "
            f"{len(wanted)} ({', '.join(wanted)}); choose data.individuals=[...] by name, or "
            "data.max_individuals=N (fewer are missing rows, of more the most seen are taken)"
        )
    log.info("%s: individuals %s stand for %s", file, ", ".join(present), ", ".join(wanted))
    return list(range(len(wanted)))


def _most_seen(ds: xr.Dataset, count: int) -> list[int]:
    """Rows of the individuals that are seen most, in file order; -1 fills up."""
    position = ds["position"].transpose("individuals", ...).to_numpy()
    seen = np.count_nonzero(~np.isnan(position).reshape(len(position), -1), axis=1)
    # A stable sort of the negative counts: the earlier of equally seen individuals comes first.
    chosen = sorted(np.argsort(-seen, kind="stable")[:count].tolist())
    return chosen + [-1] * (count - len(chosen))


def _names(ds: xr.Dataset, axis: str) -> tuple[str, ...]:
    return tuple(ds[axis].to_numpy().astype(str).tolist())


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

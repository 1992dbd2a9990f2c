"""Whole recordings in memory, and the state that makes other files be treated alike.

Legend: T frames, I individuals, K key points, A anchors, D coordinates, C values of a stored point.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.poses.config import PoseConfig
from behaviorzoo.poses.features import PoseFeatures
from behaviorzoo.poses.selection import (
    PAD,
    Selection,
    check_complete,
    check_seen,
    read_positions,
)

log = logging.getLogger("behaviorzoo")

ConfigT = TypeVar("ConfigT", bound=PoseConfig)


class StoredRecording(NamedTuple):
    """One recording as it is kept in memory.

    Attributes:
        name: Name of the recording.
        first_frame: The source's number of the first frame.
        fps: Frames per second.
        frames: float32 (T, I, K + A, C), see :mod:`behaviorzoo.poses.features`.
        observed: Share of the chosen points that is seen in each frame, (T,).
    """

    name: str
    first_frame: int
    fps: float
    frames: np.ndarray
    observed: np.ndarray


def read_recording(
    file: Path, features: PoseFeatures, *, gaps_refused: str = ""
) -> StoredRecording:
    """Read one recording and check that it can be used.

    Args:
        file: The recording.
        features: What is taken and how it is normalised.
        gaps_refused: Why the network cannot take missing points, and what to do; empty = it can.

    Raises:
        UserError: Names the file, the key point, the share missing and what to do.
    """
    selection, config = features.selection, features.config
    ds, positions = read_positions(file, selection, config)
    check_seen(file, positions, selection, config)
    if config.missing == "error":
        check_complete(file, positions, selection, "data.missing=error: choose keep or interpolate")
    elif gaps_refused:
        check_complete(file, positions, selection, gaps_refused)
    _check_axis(file, positions, features)
    fps = float(ds.attrs["fps"])
    real = [name != PAD for name in selection.keypoints]
    return StoredRecording(
        file.stem,
        int(ds["time"].to_numpy()[0]),
        fps,
        features.store(positions, fps),
        (~np.isnan(positions[:, :, real, 0])).mean((1, 2)),
    )


def fitted_state(features: PoseFeatures, recordings: Sequence[StoredRecording]) -> dict[str, Any]:
    """Plain values with which other recordings are treated as the training recordings were."""
    assert features.statistics is not None
    selection = features.selection
    return {
        "keypoints": list(selection.keypoints),
        "individuals": list(selection.individuals),
        "dimensions": selection.dimensions,
        "fps": recordings[0].fps,
        "statistics": features.statistics.to_dict(),
    }


def as_trained(config: ConfigT, state: Mapping[str, Any]) -> ConfigT:
    """The configuration with the key points of the training run."""
    if not state or getattr(config, "groups", None):
        return config
    return replace(config, keypoints=[name for name in state["keypoints"] if name != PAD])


def frame_rate_notes(recordings: Sequence[StoredRecording], state: Mapping[str, Any]) -> list[str]:
    """A note where recordings run at another frame rate than the training recordings."""
    odd = {r.name: r.fps for r in recordings if abs(r.fps - state["fps"]) > 1e-6 * state["fps"]}
    if not odd:
        return []
    listed = ", ".join(f"{name} {fps:g}" for name, fps in list(odd.items())[:5])
    note = (
        f"frame rates differ: {listed}{', ...' if len(odd) > 5 else ''} against {state['fps']:g} "
        "frames/s; a window of equally many frames spans another time there"
    )
    log.warning(note)
    return [note]


def observed_windows(
    observed: Sequence[np.ndarray], ids: np.ndarray, window: int, least: float
) -> tuple[np.ndarray, list[str]]:
    """Which windows have enough observed points to learn from, and a note on the others.

    Args:
        observed: Share of observed points in each frame (T,), for each sequence.
        ids: int64 (n, 2): number of the sequence, first frame in it.
        window: Frames of a window.
        least: Smallest share of observed points; a window without any is never used.

    Returns:
        Boolean (n,), and at most one sentence.
    """
    share = np.zeros(len(ids))
    for number, shares in enumerate(observed):
        total = np.concatenate([[0.0], np.cumsum(shares)])
        mine = ids[:, 0] == number
        starts = ids[mine, 1]
        share[mine] = (total[starts + window] - total[starts]) / window
    # Half a point in the window tells "nothing observed" from rounding of the running sums.
    usable = share >= max(least - 1e-9, 1e-6)
    dropped = int((~usable).sum())
    if not dropped or not usable.any():
        return usable, []
    note = (
        f"{dropped} of {len(ids)} windows have fewer than {max(least, 0):.0%} of "
        "their points observed (or none at all) and are not used for training"
    )
    log.warning(note)
    return usable, [note]


def check_between(config: PoseConfig, selection: Selection) -> None:
    """Refuse distances between individuals where there is only one.

    Raises:
        UserError: See above.
    """
    if config.distances_between and len(selection.individuals) < 2:
        raise UserError(
            "data.distances_between needs two or more individuals, the recordings have "
            f"{len(selection.individuals)}; use data.distances_within"
        )


def _check_axis(file: Path, positions: np.ndarray, features: PoseFeatures) -> None:
    """The body axis must be seen at least once in every individual that is seen."""
    config, selection = features.config, features.selection
    if config.normalisation != "egocentric":
        return
    seen = ~np.isnan(positions[..., 0])  # (T, I, K)
    for name in config.axis:
        if name not in selection.keypoints:
            hint = suggest(name, selection.keypoints)
            raise UserError(f"{file}: data.axis names {name!r}, not among the key points; {hint}")
        column = selection.keypoints.index(name)
        for row, individual in enumerate(selection.individuals):
            needed = seen[:, row].any() and config.reference in (None, individual)
            if needed and not seen[:, row, column].any():
                raise UserError(
                    f"{file}: {name} of {individual} is never seen (100 % of {len(positions)} "
                    "frames missing), so its body axis is unknown; choose other key points for "
                    f"data.axis, or leave the file out with data.exclude=[{file.stem}]"
                )

"""Labelled synthetic behaviour with structure at three timescales.

A hierarchical semi-Markov process: an activity chooses among actions, an action among
movements, and only the movement decides how the animal moves.

    task      lasts (frames)  classes
    movement  10 to 40        8, or 10 with several individuals (approach, flee)
    action    100 to 300      6
    activity  600 to 1500     4

The two tables below are balanced on purpose. Each movement serves three actions and each
action serves two activities, with equal weight. So a single frame, even a perfectly recognised
movement, leaves three actions and all four activities open, while two different actions seen
near each other settle the activity. The coarse tasks are about composition over time; and an
average over a long time says little about which movement is going on now.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from behaviorzoo.errors import UserError
from behaviorzoo.labels import from_dense, write_labels
from behaviorzoo.recordings import make_recording, save_recording
from behaviorzoo.synthetic_motion import KEYPOINTS, MOVEMENTS, SKELETON, lost_points, simulate

__all__ = ["ACTIONS", "ACTIVITIES", "DURATIONS", "SKELETON", "make_behaviour", "write_behaviour"]

ACTIONS: dict[str, tuple[str, ...]] = {
    "rest": ("still", "groom", "sniff", "turn"),
    "clean": ("groom", "still", "rear", "dig"),
    "search": ("walk", "sniff", "rear", "dig"),
    "survey": ("still", "rear", "walk", "run"),
    "burrow": ("dig", "turn", "groom", "run"),
    "patrol": ("walk", "run", "turn", "sniff"),
}
ACTIVITIES: dict[str, tuple[str, ...]] = {
    "idle": ("rest", "clean", "survey"),
    "explore": ("survey", "patrol", "search"),
    "forage": ("search", "burrow", "rest"),
    "nest": ("burrow", "clean", "patrol"),
}
DURATIONS: dict[str, tuple[int, int]] = {
    "movement": (10, 40),
    "action": (100, 300),
    "activity": (600, 1500),
}
# With company, every second bout of these is directed at the other individual.
DIRECTED = {"walk": "approach", "run": "flee"}


def make_behaviour(
    n_recordings: int,
    n_frames: int,
    *,
    seed: int,
    dimensions: int = 2,
    individuals: int = 1,
    missing: float = 0.0,
    fps: float = 30.0,
) -> list[tuple[xr.Dataset, pd.DataFrame]]:
    """Generate recordings of articulated animals and their labels.

    The activity is shared by all individuals of a recording; actions and movements are each
    one's own, and the label table holds those of the first individual.

    Args:
        n_recordings: Number of recordings.
        n_frames: Frames per recording.
        seed: Decides everything; recording i is the same however many are made.
        dimensions: 2 (seen from above) or 3.
        individuals: Animals per recording; two or more approach and flee from each other.
        missing: Share of the points that is lost, in bursts per key point, 0 to below 1.
        fps: Frames per second.

    Returns:
        For each recording the dataset (pixels; 12 key points) and its label table with the
        tasks ``movement``, ``action`` and ``activity``.

    Raises:
        UserError: A number out of its range.

    Example:
        >>> ds, labels = make_behaviour(1, 500, seed=0)[0]
        >>> ds.attrs["name"], dict(ds.sizes)
        ('synthetic_000', {'time': 500, 'space': 2, 'keypoints': 12, 'individuals': 1})
        >>> sorted(labels["task"].unique())
        ['action', 'activity', 'movement']
    """
    _check("recordings", n_recordings, n_recordings >= 1, "1 or more")
    _check("frames", n_frames, n_frames >= 1, "1 or more")
    _check("seed", seed, seed >= 0, "0 or more")
    _check("dimensions", dimensions, dimensions in (2, 3), "2 or 3")
    _check("individuals", individuals, individuals >= 1, "1 or more")
    _check("missing", missing, 0 <= missing < 1, "a share from 0 to below 1")
    _check("fps", fps, 0 < fps < float("inf"), "positive")
    return [
        _one_recording(
            f"synthetic_{index:03d}",
            n_frames,
            np.random.default_rng([seed, index]),
            dimensions=dimensions,
            individuals=individuals,
            missing=missing,
            fps=fps,
        )
        for index in range(n_recordings)
    ]


def write_behaviour(
    folder: str | Path,
    n_recordings: int,
    n_frames: int,
    *,
    seed: int,
    dimensions: int = 2,
    individuals: int = 1,
    missing: float = 0.0,
    fps: float = 30.0,
) -> tuple[list[Path], Path]:
    """Generate recordings and write ``FOLDER/recordings/*.nc`` and ``FOLDER/labels.csv``.

    Args:
        folder: Target folder.
        n_recordings: See :func:`make_behaviour`, also for all further arguments.
        n_frames: Frames per recording.
        seed: Decides everything.
        dimensions: 2 or 3.
        individuals: Animals per recording.
        missing: Share of lost points.
        fps: Frames per second.

    Returns:
        The recording files and the label table.

    Raises:
        UserError: A number out of its range, or a file cannot be written.
    """
    behaviour = make_behaviour(
        n_recordings,
        n_frames,
        seed=seed,
        dimensions=dimensions,
        individuals=individuals,
        missing=missing,
        fps=fps,
    )
    folder = Path(folder)
    paths = []
    for ds, _ in behaviour:
        paths.append(folder / "recordings" / f"{ds.attrs['name']}.nc")
        save_recording(ds, paths[-1])
    table = folder / "labels.csv"
    write_labels(pd.concat([labels for _, labels in behaviour], ignore_index=True), table)
    return paths, table


def _one_recording(
    name: str,
    n_frames: int,
    rng: np.random.Generator,
    *,
    dimensions: int,
    individuals: int,
    missing: float,
    fps: float,
) -> tuple[xr.Dataset, pd.DataFrame]:
    activity = _activities(n_frames, rng)
    actions, movements = [], []
    for _ in range(individuals):
        actions.append(_nested(activity, list(ACTIVITIES), ACTIVITIES, "action", rng))
        movement = _nested(actions[-1], list(ACTIONS), ACTIONS, "movement", rng)
        movements.append(_directed(movement, rng) if individuals > 1 else movement)
    code = {name: i for i, name in enumerate(MOVEMENTS)}
    codes = np.array([[code[name] for name in movement] for movement in movements])
    position = simulate(codes.T, fps=fps, dimensions=dimensions, rng=rng)
    lost = lost_points((n_frames, len(KEYPOINTS), individuals), missing, rng)
    position = np.where(lost[:, None], np.float32(np.nan), position)
    ds = make_recording(
        position,
        keypoints=KEYPOINTS,
        individuals=[f"animal_{i + 1}" for i in range(individuals)],
        fps=fps,
        name=name,
        source="synthetic",
        space_unit="pixels",
    )
    tasks = {"movement": movements[0], "action": actions[0], "activity": activity}
    tables = [from_dense(values, name, task) for task, values in tasks.items()]
    return ds, pd.concat(tables, ignore_index=True)


def _activities(n_frames: int, rng: np.random.Generator) -> list[str]:
    """Activity of each frame: rounds with each activity once, in random order.

    Rounds keep the classes balanced even in few short recordings.
    """
    values: list[str] = []
    last = ""
    while len(values) < n_frames:
        order = rng.permutation(list(ACTIVITIES)).tolist()
        if order[0] == last:
            order.append(order.pop(0))
        for name in order:
            values += [name] * _duration("activity", rng)
        last = order[-1]
    # The recording starts in the middle of things, not at the start of an activity.
    offset = int(rng.integers(0, len(values) - n_frames + 1))
    return values[offset : offset + n_frames]


def _nested(
    parents: list[str],
    names: list[str],
    table: dict[str, tuple[str, ...]],
    task: str,
    rng: np.random.Generator,
) -> list[str]:
    """The process one level below ``parents``: it is drawn anew where the parent changes."""
    code = {name: i for i, name in enumerate(names)}
    codes = np.array([code[parent] for parent in parents])
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(parents)]
    values: list[str] = []
    for start, stop in pairwise(edges):
        options = table[parents[start]]
        bout: list[str] = []
        while len(bout) < stop - start:
            last = bout[-1] if bout else (values[-1] if values else "")
            choices = [option for option in options if option != last]
            length = _duration(task, rng)
            # A rest too short for a bout of its own goes to the one before it.
            if stop - start - len(bout) - length < DURATIONS[task][0]:
                length = stop - start - len(bout)
            bout += [choices[int(rng.integers(len(choices)))]] * length
        values += bout
    return values


def _directed(movement: list[str], rng: np.random.Generator) -> list[str]:
    """Turn every bout of walking and running, with probability one half, into a social one."""
    values, social, last = [], False, ""
    for name in movement:
        if name != last:
            social, last = bool(rng.integers(2)), name
        values.append(DIRECTED.get(name, name) if social else name)
    return values


def _duration(task: str, rng: np.random.Generator) -> int:
    low, high = DURATIONS[task]
    return int(rng.integers(low, high + 1))


def _check(name: str, value: object, valid: bool, expected: str) -> None:
    if not valid:
        raise UserError(f"synthetic behaviour: {name} is {value}, expected {expected}")

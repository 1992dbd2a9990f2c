"""From the quadrupeds' simulator files to ``robot_dataset.npy``: filtering and terrain labels.

The terrain is a grid of cells, 30 along x by 5 along y. A robot walks along x, so a slope or
stairs are climbed in the first half of a cell and descended in the second: labels have two
rows for each cell.

Letters: R robots, T frames.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bams.data.config import Compat
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import load_dictionary, required, save_dictionary

log = logging.getLogger("bams")

ROBOTS = {"anymal_b": 0.0, "anymal_c_rough": 1.0, "a1": 2.0}
NAMES = {
    "robot_names": ["anymal_b", "anymal_c"],
    "terrain_names": [
        "flat",
        "pyramid_slope",
        "inverted_pyramid_slope",
        "pyramid_stairs",
        "inverted_pyramid_stairs",
    ],
    "terrain_names_2": ["flat", "slope_up", "slope_down", "stairs_up", "stairs_down"],
}
TRAJECTORIES = ("base_pos", "base_lin_vel", "base_ang_vel", "dof_pos", "dof_vel", "reward")
GRID = (30, 5)
LAST_CELL = (29, 1)
"""The cell whose far end no robot may pass."""
FALL, RESPAWN, BEYOND = -4.0, 1.0, 12.0
"""Height below which a robot fell off; largest step along x; how far the last cell may be left."""
STEEP = 0.21
"""A slope up to this counts as flat."""

FLAT, UP, DOWN, STAIRS_UP, STAIRS_DOWN = range(5)


class Ground(NamedTuple):
    """What is under a robot: in the two halves of a cell, or in every frame.

    Attributes:
        terrain_type: Class of the whole cell (``terrain_names``), uint8.
        terrain_type_2: What the robot climbs or descends (``terrain_names_2``), uint8.
        terrain_slope: Signed parameter of the slope or stairs.
        terrain_difficulty: Difficulty in [0, 1].
        terrain_rough: Whether the ground is rough.
    """

    terrain_type: np.ndarray
    terrain_type_2: np.ndarray
    terrain_slope: np.ndarray
    terrain_difficulty: np.ndarray
    terrain_rough: np.ndarray


def prepare_quadrupeds(files: Sequence[Path], out: str | Path, compat: Compat = "paper") -> Path:
    """Write ``robot_dataset.npy`` from the recordings of the simulator.

    Args:
        files: Recordings, one dictionary of arrays each. The order is that of the trajectories.
        out: Target.
        compat: See :func:`ground_under`.

    Raises:
        UserError: No file, one that is no such recording, or no robot left in any.
    """
    if not files:
        raise UserError("no simulator recording (*.npy) was given")
    parts = [labelled(load_dictionary(path), path, compat) for path in files]
    if not sum(len(part["body_mass"]) for part in parts):
        raise UserError(
            f"{files[0]} and {len(files) - 1} more: every robot fell, was put back or left the "
            "terrain; nothing is left"
        )
    frames = {part["reward"].shape[1] for part in parts}
    if len(frames) > 1:
        raise UserError(f"the recordings have {sorted(frames)} frames; all must have the same")
    keys = [key for key in parts[0] if key != "names"]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in keys}
    return save_dictionary(out, {**joined, "names": parts[0]["names"]})


def labelled(
    recording: Mapping[str, Any], where: str | Path, compat: Compat = "paper"
) -> dict[str, Any]:
    """The usable robots of one recording, with labels; the last frame is dropped.

    Args:
        recording: ``task``, ``command_vel``, ``body_mass`` (R,), ``dof_names``, ``terrain_map``
            {(row, column): {terrain_type, terrain_param, difficulty, origins}}, arrays (R, F, T)
            and ``reward`` (R, T).
        where: File for messages.
        compat: See :func:`ground_under`.

    Returns:
        The arrays of ``robot_dataset.npy``, with T - 1 frames.

    Raises:
        UserError: A part is missing, unknown or of another shape.
    """
    task = required(recording, "task", where)
    if task not in ROBOTS:
        raise UserError(f"{where}: task {task!r} is unknown, expected {', '.join(ROBOTS)}")
    terrain = required(recording, "terrain_map", where)
    # In the last frame the simulator has begun to put its robots back.
    whole = {name: np.asarray(required(recording, name, where))[..., :-1] for name in TRAJECTORIES}
    usable = usable_robots(whole["base_pos"], _origin(terrain, LAST_CELL, where)[0])
    kept = {name: array[usable] for name, array in whole.items()}
    count = int(usable.sum())
    ground = ground_under(kept["base_pos"], terrain, where, compat)
    speed = np.broadcast_to(
        np.asarray(required(recording, "command_vel", where), float), (len(usable),)
    )
    return {
        **kept,
        "body_mass": np.asarray(required(recording, "body_mass", where))[usable],
        "robot_type": np.full(count, ROBOTS[task]),
        "command_vel": speed[usable],
        **ground._asdict(),
        "names": {"dof_names": list(required(recording, "dof_names", where)), **NAMES},
    }


def usable_robots(position: np.ndarray, last_x: float) -> np.ndarray:
    """Robots that never fell off, were never put back, and stayed on the terrain.

    Args:
        position: (R, 3, T).
        last_x: Origin of the last cell along x.

    Returns:
        Boolean (R,).
    """
    x, z = position[:, 0], position[:, 2]
    fell = (z < FALL).any(-1)
    put_back = (np.abs(np.diff(x, axis=-1)) > RESPAWN).any(-1)
    left = (x > last_x + BEYOND).any(-1)
    return np.logical_not(fell | put_back | left)


def ground_under(
    position: np.ndarray, terrain: Mapping[Any, Any], where: str | Path, compat: Compat = "paper"
) -> Ground:
    """Labels of the ground in every frame.

    Args:
        position: (R, 3, T).
        terrain: Cells by (row, column).
        where: File for messages.
        compat: A frame outside the grid has the label of the nearest cell (reported);
            ``upstream``: before the first cell, that of the last.

    Returns:
        Arrays (R, T).
    """
    origin, next_one = (_origin(terrain, cell, where)[:2] for cell in ((0, 0), (1, 1)))
    width = next_one - origin
    # Truncation towards zero, as in the original: up to a cell before the first counts as first.
    row = np.trunc((position[:, 0] - origin[0]) / (width[0] / 2)).astype(np.int64)
    column = np.trunc((position[:, 1] - origin[1]) / width[1]).astype(np.int64)
    labels = terrain_labels(terrain, where)
    size = np.array(labels.terrain_type.shape)[:, None, None]
    place = np.stack([row, column])
    # upstream: a place before the first cell counts from the other end, as numpy's indices do.
    nearest = place if compat == "upstream" else np.maximum(place, 0)
    nearest = np.where(nearest < 0, nearest + size, nearest)
    if compat == "paper":
        nearest = np.minimum(nearest, size - 1)
        _report_outside(place != nearest, where)
    elif ((nearest < 0) | (nearest >= size)).any():
        raise UserError(f"{where}: a usable robot is outside the terrain; take compat=paper")
    row, column = nearest
    return Ground(*(label[row, column] for label in labels))


def terrain_labels(terrain: Mapping[Any, Any], where: str | Path) -> Ground:
    """Labels of the half cells, arrays (60, 5); cells that the map lacks get slope up, level."""
    shape = (2 * GRID[0], GRID[1])
    labels = Ground(
        np.ones(shape, np.uint8),
        np.ones(shape, np.uint8),
        np.zeros(shape),
        np.full(shape, 0.1),
        np.zeros(shape, bool),
    )
    for (row, column), cell in terrain.items():
        if not (0 <= row < GRID[0] and 0 <= column < GRID[1]):
            raise UserError(f"{where}: terrain cell {(row, column)} is outside the grid {GRID}")
        halves = slice(2 * row, 2 * row + 2)
        for label, values in zip(
            labels, half_cells(cell, f"{where}: cell {row, column}"), strict=True
        ):
            label[halves, column] = values
    return labels


def half_cells(cell: Mapping[str, Any], where: str) -> Ground:
    """Labels of the two halves of a terrain cell, (2,) or one value for both.

    Raises:
        UserError: An unknown kind of terrain, or a slope without its parameter.
    """
    kind = required(cell, "terrain_type", where)
    name = str(kind).removesuffix("+noise")
    noisy = name != kind
    difficulty = np.asarray(cell.get("difficulty", np.nan))

    def ground(
        whole: int, halves: tuple[int, int], slope: float, level: Any, rough: bool
    ) -> Ground:
        return Ground(*map(np.array, (whole, halves, (slope, -slope), level, rough)))

    if name == "flat":
        return ground(FLAT, (FLAT, FLAT), 0.0, 0.2 if noisy else 0.1, noisy)
    if kind == "discrete_obstacles":
        return ground(FLAT, (FLAT, FLAT), 0.0, difficulty, True)
    known = {
        "pyramid_slope_up": (UP, (UP, DOWN), 1.0),
        "pyramid_slope_down": (DOWN, (DOWN, UP), -1.0),
        "pyramid_stairs_up": (STAIRS_UP, (STAIRS_UP, STAIRS_DOWN), 1.0),
        "pyramid_stairs_down": (STAIRS_DOWN, (STAIRS_DOWN, STAIRS_UP), -1.0),
    }
    stairs = "stairs" in name
    if name not in known or (noisy and stairs):
        raise UserError(f"{where}: unknown terrain {kind!r}")
    if cell.get("terrain_param") is None:
        raise UserError(f"{where}: terrain {kind!r} has no terrain_param")
    whole, halves, sign = known[name]
    parameter = float(cell["terrain_param"])
    # A way down is as steep as its parameter is large, whatever its sign.
    steepness = abs(parameter) if sign < 0 else parameter
    slope = sign * steepness
    if not stairs and steepness <= STEEP:
        whole, halves = FLAT, (FLAT, FLAT)
    return ground(whole, halves, slope, difficulty, noisy)


def _report_outside(outside: np.ndarray, where: str | Path) -> None:
    """Say how many frames (2, R, T) lie outside the grid along x or along y."""
    count = int(outside.any(0).sum())
    if count:
        log.warning(
            "%s: %d of %d frames are outside the terrain; they have the label of the nearest cell",
            where,
            count,
            outside[0].size,
        )


def _origin(terrain: Mapping[Any, Any], cell: tuple[int, int], where: str | Path) -> np.ndarray:
    if not isinstance(terrain, Mapping) or cell not in terrain:
        raise UserError(f"{where}: the terrain map has no cell {cell}")
    return np.asarray(required(terrain[cell], "origins", f"{where}: cell {cell}"), np.float64)

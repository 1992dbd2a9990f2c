"""Simulated quadrupeds: reading both axis orders, and preparing the simulator's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bams.data import DataConfig, build_training_data, open_sequences
from bams.data.quadrupeds import quadruped_annotations, time_major
from bams.data.simulator import ground_under, half_cells, labelled, terrain_labels, usable_robots
from behaviorzoo.errors import UserError
from behaviorzoo.mabe import save_dictionary

NAMES = {"robot_names": ["anymal_b", "anymal_c"], "dof_names": [f"j{n}" for n in range(12)]}


def robots(trajectories: int = 4, frames: int = 30) -> dict[str, Any]:
    """robot_dataset.npy with feature-major arrays (S, F, T), as its authors write it."""
    rng = np.random.default_rng(0)
    size = (trajectories, frames)
    return {
        "dof_pos": rng.normal(size=(trajectories, 12, frames)).astype(np.float32),
        "dof_vel": rng.normal(size=(trajectories, 12, frames)).astype(np.float32) * 3,
        "body_mass": rng.random(trajectories),
        "robot_type": np.arange(trajectories) % 2 * 1.0,
        "command_vel": rng.random(trajectories),
        "terrain_type": rng.integers(0, 5, size).astype(np.uint8),
        "terrain_slope": rng.random(size),
        "terrain_difficulty": rng.random(size),
        "names": NAMES,
    }


def test_states_are_joint_positions_and_actions_joint_velocities(tmp_path):
    content = robots()
    save_dictionary(tmp_path / "robot_dataset.npy", content)
    data = build_training_data(DataConfig(dataset="quadrupeds", path=str(tmp_path)))
    assert data.names == ["anymal_b_0000", "anymal_c_0001", "anymal_b_0002", "anymal_c_0003"]
    assert (len(data), data.length, data.n_inputs, data.n_targets) == (4, 30, 24, 12)
    both = np.concatenate([content["dof_pos"], content["dof_vel"]], 1).swapaxes(1, 2)
    scaled = both / np.abs(both).max((0, 1))
    np.testing.assert_allclose(data.inputs, scaled, rtol=1e-6)
    np.testing.assert_array_equal(
        data.bins, data.scaling.bins(content["dof_vel"].swapaxes(1, 2).copy())
    )
    assert not data.ignored.any()
    assert data.scaling.input_names[12] == "velocity of j0"
    again = np.concatenate(
        [
            sequence.inputs
            for sequence in open_sequences(
                DataConfig(dataset="quadrupeds", path=str(tmp_path)), "paper", data.scaling
            )
        ]
    )
    np.testing.assert_array_equal(again, data.inputs)


def test_both_axis_orders_are_the_same_data(tmp_path):
    content = robots()
    files = []
    for name in ("features_first", "time_first"):
        files.append(tmp_path / f"{name}.npy")
        save_dictionary(files[-1], content)
        content = {
            key: np.ascontiguousarray(value.swapaxes(1, 2)) if key[:4] == "dof_" else value
            for key, value in content.items()
        }
    one, two = (
        build_training_data(DataConfig(dataset="quadrupeds", path=str(file))) for file in files
    )
    assert one.fingerprint() == two.fingerprint()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 12, 40), (2, 40, 12)),
        ((2, 40, 12), (2, 40, 12)),
        ((2, 3, 40), (2, 40, 3)),
        ((2, 12, 12), (2, 12, 12)),
        ((2, 12, 5), (2, 12, 5)),  # twelve frames of five values
    ],
)
def test_which_axis_is_time(shape, expected):
    assert time_major({"a": np.zeros(shape)}, "a", "x").shape == expected


def test_labels_have_the_form_of_the_authors(tmp_path):
    content = robots()
    path = save_dictionary(tmp_path / "robot_dataset.npy", content)
    annotations, utils = quadruped_annotations(path)
    assert utils["classification_tags"] == ["robot_type", "terrain_type"]
    assert set(utils["regression_tags"]) == set(annotations) - {"robot_type", "terrain_type"}
    assert utils["sequence_level_dict"] == {
        "robot_type": True,
        "linear_velocity": True,
        "terrain_type": False,
        "terrain_slope": False,
        "terrain_difficulty": False,
    }
    np.testing.assert_array_equal(annotations["robot_type"], [0, 1, 0, 1])
    assert annotations["robot_type"].dtype == np.int64
    np.testing.assert_array_equal(annotations["linear_velocity"], content["command_vel"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dof_vel": None}, "no key 'dof_vel'; choose one of: body_mass"),
        ({"dof_vel": np.zeros((4, 12))}, r"dof_vel has the shape \(4, 12\), expected"),
        ({"dof_vel": np.zeros((4, 12, 31))}, r"dof_pos \(4, 30, 12\) and dof_vel \(4, 31, 12\)"),
    ],
)
def test_wrong_files_are_named(tmp_path, change, match):
    content = {key: value for key, value in {**robots(), **change}.items() if value is not None}
    save_dictionary(tmp_path / "robot_dataset.npy", content)
    with pytest.raises(UserError, match=match):
        build_training_data(DataConfig(dataset="quadrupeds", path=str(tmp_path)))


# -- the simulator's files ----------------------------------------------------------------------


def cell(kind: str, parameter: float | None = None, difficulty: float = 0.75) -> dict[str, Any]:
    return {"terrain_type": kind, "terrain_param": parameter, "difficulty": difficulty}


@pytest.mark.parametrize(
    ("kind", "parameter", "expected"),
    [
        # type, type_2 of both halves, slope of both halves, difficulty, rough
        ("flat", None, (0, (0, 0), (0, 0), 0.1, False)),
        ("flat+noise", None, (0, (0, 0), (0, 0), 0.2, True)),
        ("discrete_obstacles", 0.2, (0, (0, 0), (0, 0), 0.75, True)),
        ("pyramid_slope_up", 0.2, (0, (0, 0), (0.2, -0.2), 0.75, False)),
        ("pyramid_slope_up", 0.21, (0, (0, 0), (0.21, -0.21), 0.75, False)),
        ("pyramid_slope_up", 0.3, (1, (1, 2), (0.3, -0.3), 0.75, False)),
        ("pyramid_slope_up+noise", 0.3, (1, (1, 2), (0.3, -0.3), 0.75, True)),
        ("pyramid_slope_down", -0.2, (0, (0, 0), (-0.2, 0.2), 0.75, False)),
        ("pyramid_slope_down", -0.36, (2, (2, 1), (-0.36, 0.36), 0.75, False)),
        ("pyramid_slope_down+noise", -0.36, (2, (2, 1), (-0.36, 0.36), 0.75, True)),
        ("pyramid_stairs_up", 0.14, (3, (3, 4), (0.14, -0.14), 0.75, False)),
        ("pyramid_stairs_down", -0.14, (4, (4, 3), (-0.14, 0.14), 0.75, False)),
    ],
)
def test_labels_of_every_terrain(kind, parameter, expected):
    found = half_cells(cell(kind, parameter), "x")
    whole, halves, slope, difficulty, rough = expected
    assert found.terrain_type == whole
    assert tuple(found.terrain_type_2.tolist()) == halves
    np.testing.assert_allclose(found.terrain_slope, slope)
    assert (found.terrain_difficulty, found.terrain_rough) == (difficulty, rough)


@pytest.mark.parametrize("kind", ["waves", "pyramid_stairs_up+noise", "discrete_obstacles+noise"])
def test_unknown_terrain_is_refused(kind):
    with pytest.raises(UserError, match=f"x: unknown terrain '{kind}'".replace("+", r"\+")):
        half_cells(cell(kind, 0.2), "x")


def test_cells_that_the_map_lacks():
    labels = terrain_labels({}, "x")
    assert [label.shape for label in labels] == [(60, 5)] * 5
    assert [label[7, 3].item() for label in labels] == [1, 1, 0, 0.1, False]


def terrain() -> dict[tuple[int, int], dict[str, Any]]:
    """A map in which column c of row r is flat or stairs, by turns."""
    return {
        (row, column): {
            **cell("flat" if (row + column) % 2 else "pyramid_stairs_up", 0.14),
            "origins": np.array([6.0 + 12 * row, 6.0 + 12 * column, 0]),
        }
        for row in range(30)
        for column in range(5)
    }


def path_of(x: list[float], y: float = 20.0, z: float = 0.3) -> np.ndarray:
    return np.array([x, [y] * len(x), [z] * len(x)])


def test_which_robots_are_kept():
    steps = [10.0, 10.5, 11.0, 11.5]
    fell, back, far = path_of(steps), path_of([10, 10.5, 8, 8.5]), path_of([365, 366.1, 366.2, 366])
    fell[2, 2] = -4.01
    position = np.stack([path_of(steps), fell, back, far, path_of([365.0, 365.9, 366.0, 366.0])])
    assert usable_robots(position, 354.0).tolist() == [True, False, False, False, True]


def recording(position: np.ndarray) -> dict[str, Any]:
    robots, _, frames = position.shape
    rng = np.random.default_rng(0)
    return {
        "task": "anymal_c_rough",
        "command_vel": 0.8,
        "body_mass": np.arange(robots) * 1.0,
        "dof_names": NAMES["dof_names"],
        "terrain_map": terrain(),
        "base_pos": position.astype(np.float32),
        "reward": rng.random((robots, frames)),
        **{
            name: rng.normal(size=(robots, size, frames))
            for name, size in (("base_lin_vel", 3), ("base_ang_vel", 3))
        },
        **{name: rng.normal(size=(robots, 12, frames)) for name in ("dof_pos", "dof_vel")},
    }


def test_frames_get_the_label_of_their_half_cell():
    x = [7.0, 11.9, 12.1, 17.9, 18.1, 99.0]
    position = np.stack([path_of(np.linspace(10, 11, 6).tolist()), path_of(x)])
    position[0, 2, 1] = -9
    found = labelled(recording(np.concatenate([position[:1], position[1:]])), "x")
    assert len(found["body_mass"]) == 0  # the first fell, the second jumps by more than 1
    slow = np.stack([path_of((11.5 + np.arange(14) * 0.9).tolist())])
    found = labelled(recording(slow), "x")
    assert found["base_pos"].shape == (1, 3, 13)
    place = (slow[0, 0, :-1] - 6) / 6
    row, column = place.astype(int), int((20 - 6) / 12)
    stairs = ((row // 2 + column) % 2) == 0
    assert stairs.any()
    assert not stairs.all()
    np.testing.assert_array_equal(found["terrain_type"][0], np.where(stairs, 3, 0))
    second_half = row % 2 == 1
    expected = np.where(stairs, np.where(second_half, 4, 3), 0)
    np.testing.assert_array_equal(found["terrain_type_2"][0], expected)
    assert found["robot_type"].tolist() == [1.0]
    assert found["command_vel"].tolist() == [0.8]


def test_the_last_frame_does_not_count():
    position = np.stack([path_of([10.0, 10.5, 11.0, 300.0])])
    assert labelled(recording(position), "x")["reward"].shape == (1, 3)


def test_outside_the_grid_is_the_nearest_cell_or_as_the_original(caplog):
    position = np.stack([path_of([6.0, 7.0], y=-9.0)])
    grid = terrain()
    nearest = ground_under(position, grid, "x")
    assert nearest.terrain_type.tolist() == [[3, 3]]  # cell (0, 0)
    assert "2 of 2 frames are outside the terrain" in caplog.text
    wrapped = ground_under(position, grid, "x", "upstream")
    expected = terrain_labels(grid, "x").terrain_type[0, -1]
    assert wrapped.terrain_type.tolist() == [[expected, expected]]
    far = np.stack([path_of([6.0, 7.0], y=90.0)])
    with pytest.raises(UserError, match="is outside the terrain; take compat=paper"):
        ground_under(far, grid, "x", "upstream")
    assert ground_under(far, grid, "x").terrain_type.shape == (1, 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"task": "spot"}, "task 'spot' is unknown, expected anymal_b"),
        ({"base_pos": None}, "no key 'base_pos'"),
        ({"terrain_map": {}}, r"the terrain map has no cell \(29, 1\)"),
    ],
)
def test_wrong_recordings_are_named(change, match):
    content = {**recording(np.stack([path_of([10.0, 10.5, 11.0])])), **change}
    with pytest.raises(UserError, match=match):
        labelled({k: v for k, v in content.items() if v is not None}, Path("run.npy"))

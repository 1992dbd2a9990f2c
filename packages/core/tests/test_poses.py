"""From recordings to numbers: choice, normalisation, scalars, features, stored state."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from behaviorzoo.errors import UserError
from behaviorzoo.poses.config import PoseConfig
from behaviorzoo.poses.features import PoseFeatures
from behaviorzoo.poses.normalise import (
    Statistics,
    align,
    anchor_points,
    fit_center_scale,
    nan_median,
    spread,
    window_centred,
)
from behaviorzoo.poses.scalars import between, expand_pairs, moments, typical, within
from behaviorzoo.poses.selection import PAD, choose, read_positions, recording_files
from behaviorzoo.poses.stored import (
    as_trained,
    check_between,
    fitted_state,
    frame_rate_notes,
    observed_windows,
    read_recording,
)
from behaviorzoo.recordings import make_recording, save_recording

POINTS = ["nose", "ear", "tail"]


def walk(seed: int, frames: int = 40, animals: int = 2, missing: float = 0.1) -> np.ndarray:
    """Positions (T, space, K, I)."""
    rng = np.random.default_rng(seed)
    centre = 50 + np.cumsum(rng.normal(size=(frames, 2, 1, animals)), axis=0)
    position = centre + 3 * rng.normal(size=(frames, 2, len(POINTS), animals))
    return np.where(rng.random((frames, 1, len(POINTS), animals)) < missing, np.nan, position)


def write(folder: Path, name: str, position: np.ndarray, **changes) -> Path:
    given = {
        "keypoints": POINTS,
        "individuals": [f"rat{n + 1}" for n in range(position.shape[3])],
        "fps": 25.0,
        "name": name,
        **changes,
    }
    folder.mkdir(exist_ok=True)
    save_recording(make_recording(position, **given), folder / f"{name}.nc")
    return folder / f"{name}.nc"


@pytest.fixture
def two(tmp_path):
    for seed in (1, 2):
        write(tmp_path, f"r{seed}", walk(seed), first_frame=100 * seed)
    return str(tmp_path)


def prepared(config: PoseConfig, file: Path) -> tuple[PoseFeatures, np.ndarray]:
    """Fitted features and the stored frames of one recording."""
    features = PoseFeatures(config, choose(config, file, {}))
    frames = read_recording(file, features).frames
    return replace(features, statistics=features.fit([frames], 10)), frames


# -- choice -------------------------------------------------------------------------------------


def test_files_by_name_and_pattern(two):
    names = [file.stem for file in recording_files(PoseConfig(path=two), "train")]
    assert names == ["r1", "r2"]
    chosen = recording_files(PoseConfig(path=two, recordings=["r?"], exclude=["*2"]), "train")
    assert [file.stem for file in chosen] == ["r1"]
    other = PoseConfig(path=two, test_path=f"{two}/r2.nc")
    assert [file.stem for file in recording_files(other, "test")] == ["r2"]
    with pytest.raises(UserError, match=r"data\.exclude: no recording 'x'"):
        recording_files(PoseConfig(path=two, exclude=["x"]), "train")
    with pytest.raises(UserError, match=r"data\.path is empty"):
        recording_files(PoseConfig(), "train")


def test_key_points_and_individuals_by_name(two):
    config = PoseConfig(path=two, keypoints=["tail", "nose"], individuals=["rat2"])
    file = recording_files(config, "train")[0]
    _, positions = read_positions(file, choose(config, file, {}), config)
    expected = walk(1).transpose(0, 3, 2, 1)[:, 1:, [2, 0]]
    np.testing.assert_allclose(positions, expected, rtol=1e-6)
    with pytest.raises(UserError, match="no key point 'nos'; did you mean 'nose'"):
        choose(replace(config, keypoints=["nos"]), file, {})


def test_a_point_that_no_file_has_is_missing_throughout(two):
    config = PoseConfig(path=two, keypoints=["nose", PAD])
    file = recording_files(config, "train")[0]
    _, positions = read_positions(file, choose(config, file, {}), config)
    assert np.isnan(positions[:, :, 1]).all()


# -- normalisation ------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_nan_median_equals_numpys(axis):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 6, 3))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[0, 0] = np.nan
    expected = np.apply_along_axis(
        lambda v: np.median(v[~np.isnan(v)]) if (~np.isnan(v)).any() else np.nan, axis, values
    )
    np.testing.assert_allclose(nan_median(values, axis), expected)


def test_aligned_bodies_lie_at_the_origin_and_face_along_x():
    rng = np.random.default_rng(1)
    positions = rng.normal(size=(5, 2, 3, 2)).astype(np.float32)
    anchors = torch.from_numpy(anchor_points(positions, "egocentric", [2, 0]))
    velocities = torch.ones(5, 2, 3, 2)
    aligned, turned = align(torch.from_numpy(positions), velocities, anchors)
    middle = (aligned[:, :, 0] + aligned[:, :, 2]) / 2
    torch.testing.assert_close(middle, torch.zeros_like(middle), atol=1e-5, rtol=0)
    forward = aligned[:, :, 0] - aligned[:, :, 2]
    assert (forward[..., 0] > 0).all()
    torch.testing.assert_close(forward[..., 1], torch.zeros(5, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.norm(dim=-1), velocities.norm(dim=-1))


def test_gaps_of_an_anchor_are_bridged():
    positions = np.zeros((5, 1, 1, 2), np.float32)
    positions[:, 0, 0, 0] = [0, np.nan, np.nan, 6, np.nan]
    anchors = anchor_points(positions, "centroid")
    assert anchors[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 6]
    assert anchor_points(positions, "arena").shape == (5, 1, 0, 2)


def test_windows_are_centred_on_their_median():
    positions = torch.tensor([[1.0, 1], [2, 5], [9, 3]]).view(1, 3, 1, 1, 2)
    assert window_centred(positions).view(3, 2).tolist() == [[-1, -2], [0, 2], [7, 0]]


def test_center_and_scale_of_each_normalisation():
    positions = np.random.default_rng(2).normal(size=(50, 1, 2, 2)) * [3, 1] + [10, 20]
    points = positions.reshape(-1, 2)
    fit = lambda name: fit_center_scale(name, [positions], [positions - 10], 10)  # noqa: E731
    np.testing.assert_array_equal(fit("none"), [[0, 0], [1, 1]])
    np.testing.assert_allclose(fit("zscore"), [points.mean(0), points.std(0)])
    rms = np.sqrt(((points - 10) ** 2).mean())
    np.testing.assert_allclose(fit("centroid"), [[0, 0], [rms, rms]])
    assert spread([np.zeros((3, 1, 1, 2))]) == 1


# -- scalars ------------------------------------------------------------------------------------


def test_stars_stand_for_every_key_point_once():
    names = ["a", "b", "c"]
    assert expand_pairs([["*", "*"]], names, ordered=False) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert len(expand_pairs([["*", "*"]], names, ordered=True)) == 9
    assert expand_pairs([["a", "*"], ["b", "a"]], names, ordered=False) == [("a", "b"), ("a", "c")]
    assert expand_pairs([["b", "b"]], names, ordered=True) == [("b", "b")]


def test_distances_equal_loops():
    rng = np.random.default_rng(3)
    positions = rng.normal(size=(4, 3, 2, 2))
    positions[0, 1] = np.nan
    positions[1, 1:, 0] = np.nan
    x = torch.from_numpy(positions)
    pairs = [(0, 1), (1, 1)]
    for t in range(4):
        for i in range(3):
            for n, (a, b) in enumerate(pairs):
                own = np.linalg.norm(positions[t, i, a] - positions[t, i, b])
                np.testing.assert_allclose(within(x, pairs)[t, i, n], own)
                others = [
                    np.linalg.norm(positions[t, i, a] - positions[t, j, b])
                    for j in range(3)
                    if j != i
                ]
                seen = [d for d in others if not np.isnan(d)]
                nearest = min(seen) if seen else np.nan
                np.testing.assert_allclose(between(x, pairs)[t, i, n], nearest)


def test_moments_and_typical_values_leave_out_what_is_missing():
    values = np.array([[1.0, np.nan, 5], [3, np.nan, 5], [np.nan, np.nan, 5]])
    mean, deviation = moments(values)
    assert (mean.tolist(), deviation.tolist()) == ([2, 0, 5], [1, 1, 1])
    assert typical(np.array([[0.0, 2], [0, np.nan], [0, 4]])).tolist() == [1, 3]


# -- features -----------------------------------------------------------------------------------


def test_vectors_and_scalars_of_a_recording(two):
    config = PoseConfig(
        path=two,
        features=["positions", "velocities", "distances", "speeds"],
        distances_within=[["nose", "tail"]],
        distances_between=[["nose", "*"]],
        velocity_frames=2,
    )
    features, frames = prepared(config, Path(two) / "r1.nc")
    assert features.n_scalars == 1 + 3 + 3
    assert features.scalar_names()[:2] == ("nose to tail", "nose to other's nose")
    x, fitted = torch.from_numpy(frames), features.statistics
    assert fitted is not None
    position = walk(1).transpose(0, 3, 2, 1)
    vectors = features.vectors(x).numpy()
    np.testing.assert_allclose(
        vectors[..., :2], (position - fitted.center) / fitted.scale, atol=1e-5
    )
    velocity = np.full_like(position, np.nan)
    velocity[2:] = (position[2:] - position[:-2]) * 25 / 2
    velocity[:2] = velocity[2]
    np.testing.assert_allclose(vectors[..., 2:], velocity / fitted.velocity_scale, atol=1e-4)
    scalars = features.scalars(x).numpy()
    nose_tail = np.linalg.norm(position[:, :, 0] - position[:, :, 2], axis=-1)
    expected = (nose_tail - np.nanmean(nose_tail)) / np.nanstd(nose_tail)
    np.testing.assert_allclose(scalars[..., 0], expected, atol=1e-4)
    speed = np.linalg.norm(velocity[:, :, 1], axis=-1)
    expected = (speed - np.nanmean(speed)) / np.nanstd(speed)
    np.testing.assert_allclose(scalars[..., 5], expected, atol=1e-3)


def test_only_what_is_asked_for_is_made(two):
    features, frames = prepared(
        PoseConfig(path=two, features=["speeds"], clip=1.0), Path(two) / "r1.nc"
    )
    x = torch.from_numpy(frames)
    assert features.vectors(x).shape == (40, 2, 3, 0)
    clipped = features.clipped(features.scalars(x))
    assert clipped.shape == (40, 2, 3)
    assert clipped.nan_to_num().abs().max() == 1
    assert torch.equal(clipped.isnan(), features.scalars(x).isnan())


# -- recordings and their state -----------------------------------------------------------------


def test_state_makes_other_recordings_be_treated_alike(two):
    config = PoseConfig(path=two, features=["positions"])
    features, frames = prepared(config, Path(two) / "r1.nc")
    recording = read_recording(Path(two) / "r1.nc", features)
    assert (recording.name, recording.first_frame, recording.fps) == ("r1", 100, 25)
    np.testing.assert_allclose(
        recording.observed, (~np.isnan(walk(1)[:, 0])).mean((1, 2)), atol=1e-12
    )
    state = json.loads(json.dumps(fitted_state(features, [recording])))
    again = as_trained(PoseConfig(path=two), state)
    assert again.keypoints == POINTS
    selection = choose(again, Path(two) / "r2.nc", state)
    other = PoseFeatures(again, selection, Statistics(**state["statistics"]))
    x = torch.from_numpy(frames)
    assert torch.equal(other.vectors(x).nan_to_num(), features.vectors(x).nan_to_num())


def test_gaps_can_be_refused(two):
    file = Path(two) / "r1.nc"
    config = PoseConfig(path=two)
    features = PoseFeatures(config, choose(config, file, {}))
    with pytest.raises(UserError, match=r"r1\.nc: key point .* of the frames .*; it cannot"):
        read_recording(file, features, gaps_refused="it cannot take them")
    with pytest.raises(UserError, match=r"data\.missing=error"):
        read_recording(file, replace(features, config=replace(config, missing="error")))


def test_windows_without_enough_to_see():
    observed = [np.array([0.0, 0, 0, 1, 1, 1]), np.ones(3)]
    ids = np.array([[0, 0], [0, 1], [0, 3], [1, 0]])
    usable, notes = observed_windows(observed, ids, 3, 0.0)
    assert usable.tolist() == [False, True, True, True]
    assert "1 of 4 windows have fewer than 0% of their points observed (or none" in notes[0]
    usable, _ = observed_windows(observed, ids, 3, 1.0)
    assert usable.tolist() == [False, False, True, True]
    assert observed_windows(observed, ids[3:], 3, 1.0)[1] == []


def test_other_frame_rates_and_single_animals_are_told(two):
    write(Path(two), "fast", walk(5), fps=50.0)
    config = PoseConfig(path=two)
    file = Path(two) / "fast.nc"
    selection = choose(config, file, {})
    recording = read_recording(file, PoseFeatures(config, selection))
    assert frame_rate_notes([recording], {"fps": 50.0}) == []
    assert "fast 50 against 25 frames/s" in frame_rate_notes([recording], {"fps": 25.0})[0]
    alone = replace(selection, individuals=("rat1",))
    with pytest.raises(UserError, match="needs two or more individuals, the recordings have 1"):
        check_between(replace(config, distances_between=[["nose", "nose"]]), alone)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"missing": "kep"}, r"data\.missing=kep: did you mean 'keep'"),
        ({"normalisation": "area"}, r"data\.normalisation=area: did you mean 'arena'"),
        ({"features": ["speed"]}, r"data\.features=speed: did you mean 'speeds'"),
        ({"features": []}, r"data\.features is empty"),
        ({"min_confidence": 1.5}, r"data\.min_confidence=1\.5 must lie between 0 and 1"),
        ({"max_gap": 0}, r"data\.max_gap=0 must be at least 1"),
        ({"clip": 0.0}, r"data\.clip=0 must be positive"),
        ({"missing": "interpolate"}, r"needs data\.max_gap in frames"),
        ({"normalisation": "egocentric"}, r"needs data\.axis=\[rear, front\]"),
        ({"distances_within": [["a"]]}, r"pairs of two key points, got \['a'\]"),
        ({"features": ["distances"]}, r"name the pairs in data\.distances_within"),
    ],
)
def test_wrong_settings_are_told(changes, match):
    assert re.search(match, "; ".join(PoseConfig(**changes).pose_problems()))


def test_right_settings_have_no_problems():
    assert PoseConfig().pose_problems() == []

"""The synthetic behaviour: reproducible, fast, and honest about its three timescales."""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from behaviorzoo import synthetic_command
from behaviorzoo.errors import UserError
from behaviorzoo.labels import dense_labels, read_labels
from behaviorzoo.recordings import load_recording, validate_recording
from behaviorzoo.synthetic import (
    ACTIONS,
    ACTIVITIES,
    DURATIONS,
    SKELETON,
    make_behaviour,
    write_behaviour,
)
from behaviorzoo.synthetic_motion import KEYPOINTS, MOVEMENTS


def codes_of(labels: pd.DataFrame, ds, task: str, classes: list[str]) -> np.ndarray:
    return dense_labels(labels, ds.attrs["name"], task, 0, ds.sizes["time"], classes)[0]


def accuracy_of_best_guess(evidence: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy of whoever knows the evidence exactly and the joint distribution too."""
    table = np.zeros((evidence.max() + 1, truth.max() + 1))
    np.add.at(table, (evidence, truth), 1)
    return float(table.max(axis=1).sum() / len(truth))


def composition(codes: np.ndarray, n_classes: int, width: int) -> np.ndarray:
    """Share of each class in the window centred on each frame."""
    one_hot = np.eye(n_classes)[codes]
    kernel = np.ones(width) / width
    return np.stack([np.convolve(column, kernel, mode="same") for column in one_hot.T], axis=1)


@pytest.mark.parametrize(("dimensions", "individuals"), [(2, 1), (3, 2), (2, 3)])
def test_recordings_follow_the_convention(dimensions, individuals):
    for ds, labels in make_behaviour(
        2, 300, seed=3, dimensions=dimensions, individuals=individuals, missing=0.1, fps=25
    ):
        validate_recording(ds, "synthetic")
        assert ds["position"].shape == (300, dimensions, 12, individuals)
        assert ds["position"].dtype == np.float32
        assert ds.attrs["fps"] == 25
        assert set(labels["task"]) == {"movement", "action", "activity"}
        for task in DURATIONS:
            codes, _ = dense_labels(labels, ds.attrs["name"], task, 0, 300)
            assert (codes >= 0).all()


def test_same_seed_same_behaviour_and_recordings_do_not_depend_on_their_number():
    few, many = (
        make_behaviour(1, 400, seed=5, missing=0.2),
        make_behaviour(3, 400, seed=5, missing=0.2),
    )
    assert few[0][0].identical(many[0][0])
    pd.testing.assert_frame_equal(few[0][1], many[0][1])
    assert not many[0][0]["position"].equals(many[1][0]["position"])
    assert not few[0][0]["position"].equals(make_behaviour(1, 400, seed=6)[0][0]["position"])


def test_labels_are_nested_and_last_as_long_as_documented():
    labels = make_behaviour(1, 8000, seed=1)[0][1]
    ds = make_behaviour(1, 8000, seed=1)[0][0]
    for child, parent, table in (
        ("action", "activity", ACTIVITIES),
        ("movement", "action", ACTIONS),
    ):
        names = [labels.loc[labels["task"] == task] for task in (child, parent)]
        for row in names[0].itertuples():
            holds = (names[1]["start"] <= row.start) & (names[1]["stop"] >= row.stop)
            owner = names[1].loc[holds.to_numpy(dtype=bool)]
            assert len(owner) == 1, "a bout never crosses the border of its parent"
            assert row.label in table[owner["label"].iloc[0]]
    for task, (low, high) in DURATIONS.items():
        rows = labels.loc[labels["task"] == task]
        # The recording may begin or end within a bout.
        lengths = (rows["stop"] - rows["start"]).to_numpy()[1:-1]
        assert lengths.min() >= low
        assert lengths.max() < high + low
    assert codes_of(labels, ds, "activity", list(ACTIVITIES)).max() == 3


def test_with_company_animals_approach_and_flee():
    ds, labels = make_behaviour(1, 12000, seed=2, individuals=2)[0]
    codes = codes_of(labels, ds, "movement", list(MOVEMENTS))
    names = np.array(list(MOVEMENTS))[codes]
    assert set(names) == set(MOVEMENTS)
    centre = ds["position"].sel(keypoints="body_center").to_numpy()
    distance = np.linalg.norm(centre[..., 0] - centre[..., 1], axis=1)
    change = np.diff(distance)
    assert change[names[1:] == "approach"].mean() < -0.3
    assert change[names[1:] == "flee"].mean() > 0.3
    alone = make_behaviour(1, 3000, seed=2)[0][1]
    assert not {"approach", "flee"} & set(alone["label"])


def test_movements_differ_in_their_dynamics():
    ds, labels = make_behaviour(1, 12000, seed=4, dimensions=3)[0]
    names = np.array(list(MOVEMENTS))[codes_of(labels, ds, "movement", list(MOVEMENTS))]
    position = ds["position"].isel(individuals=0)
    centre = position.sel(keypoints="body_center").to_numpy()[:, :2]
    speed = np.r_[0, np.linalg.norm(np.diff(centre, axis=0), axis=1)]
    height = position.sel(keypoints="nose", space="z").to_numpy()
    assert speed[names == "run"].mean() > 1.5 * speed[names == "walk"].mean()
    assert speed[names == "walk"].mean() > 1.5 * speed[names == "still"].mean()
    assert height[names == "rear"].mean() > 1.5 * height[names == "still"].mean()
    nose = (
        position.sel(keypoints="nose").to_numpy()[:, :2]
        - position.sel(keypoints="neck").to_numpy()[:, :2]
    )
    wobble = np.r_[0, np.linalg.norm(np.diff(nose, axis=0), axis=1)]
    assert wobble[names == "sniff"].mean() > 1.5 * wobble[names == "still"].mean()


def test_animals_stay_in_the_arena_and_move_smoothly():
    ds, _ = make_behaviour(1, 6000, seed=8, individuals=2)[0]
    centre = ds["position"].sel(keypoints="body_center").to_numpy()
    assert centre[:, 0].min() > -10
    assert centre[:, 0].max() < 810
    assert centre[:, 1].min() > -10
    assert centre[:, 1].max() < 610
    # The fastest animal covers 3.2 x 1.25 body lengths a second: 8 pixels a frame at 30 fps.
    assert np.linalg.norm(np.diff(centre, axis=0), axis=1).max() < 14


def test_coarse_labels_are_about_composition_over_time_not_about_one_frame():
    movement, action, activity = [], [], []
    for ds, labels in make_behaviour(6, 10000, seed=11):
        movement.append(codes_of(labels, ds, "movement", list(MOVEMENTS)))
        action.append(codes_of(labels, ds, "action", list(ACTIONS)))
        activity.append(codes_of(labels, ds, "activity", list(ACTIVITIES)))
    fine, middle, coarse = map(np.concatenate, (movement, action, activity))
    # Whoever recognises the movement perfectly still cannot tell the coarser labels ...
    assert accuracy_of_best_guess(fine, middle) < 0.55
    assert accuracy_of_best_guess(fine, coarse) < 0.45
    assert accuracy_of_best_guess(middle, coarse) < 0.70

    def fit(width: int, truth: list[np.ndarray]) -> float:
        shares = [composition(codes, len(MOVEMENTS), width)[::25] for codes in movement]
        train, test = np.concatenate(shares[:4]), np.concatenate(shares[4:])
        thinned = [codes[::25] for codes in truth]
        model = LogisticRegression(max_iter=500).fit(train, np.concatenate(thinned[:4]))
        return float(model.score(test, np.concatenate(thinned[4:])))

    # ... but the composition over time tells them, each at its own timescale,
    assert fit(121, action) > fit(1, action) + 0.2
    assert fit(601, activity) > fit(1, activity) + 0.2
    assert fit(121, action) > fit(1201, action) + 0.1
    # ... and a long average does not tell the movement of now.
    assert fit(601, movement) < 0.35


def test_a_single_pose_does_not_give_the_activity_away():
    poses, truth = [], []
    for ds, labels in make_behaviour(6, 6000, seed=12):
        position = ds["position"].isel(individuals=0).to_numpy()
        centred = position - position[:, :, [KEYPOINTS.index("body_center")]]
        poses.append(centred.reshape(len(centred), -1)[::10] / 60)
        truth.append(codes_of(labels, ds, "activity", list(ACTIVITIES))[::10])
    model = LogisticRegression(max_iter=300).fit(
        np.concatenate(poses[:4]), np.concatenate(truth[:4])
    )
    assert model.score(np.concatenate(poses[4:]), np.concatenate(truth[4:])) < 0.45


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_missing_points_have_the_asked_share_and_come_in_bursts(share):
    ds, _ = make_behaviour(1, 20000, seed=9, missing=share)[0]
    lost = np.isnan(ds["position"].to_numpy())
    assert (lost.all(axis=1) == lost.any(axis=1)).all(), "x and y are lost together"
    lost = lost[:, 0, :, 0]
    assert abs(lost.mean() - share) < 0.06 * min(1, 4 * share)
    # In bursts: after a lost frame the next is lost far more often than the share says.
    following = lost[1:][lost[:-1]].mean()
    assert following > share + 0.6 * (1 - share)
    assert (
        lost[:, KEYPOINTS.index("tail_tip")].mean() > lost[:, KEYPOINTS.index("body_center")].mean()
    )


def test_without_loss_nothing_is_missing_and_the_skeleton_names_real_points():
    ds, _ = make_behaviour(1, 200, seed=0)[0]
    assert not np.isnan(ds["position"].to_numpy()).any()
    assert {name for edge in SKELETON for name in edge} == set(KEYPOINTS)


def test_ten_thousand_frames_take_well_under_a_second():
    make_behaviour(1, 100, seed=0)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        make_behaviour(1, 10000, seed=0, missing=0.1)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"n_recordings": 0}, "recordings is 0"),
        ({"n_frames": 0}, "frames is 0"),
        ({"dimensions": 4}, "dimensions is 4"),
        ({"individuals": 0}, "individuals is 0"),
        ({"missing": 1.0}, "missing is 1.0"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, word):
    settings = {"n_recordings": 1, "n_frames": 10, "seed": 0} | settings
    with pytest.raises(UserError, match=word):
        make_behaviour(settings.pop("n_recordings"), settings.pop("n_frames"), **settings)


def test_written_files_read_back_the_same(tmp_path):
    paths, table = write_behaviour(tmp_path, 2, 300, seed=7, individuals=2, missing=0.2)
    made = make_behaviour(2, 300, seed=7, individuals=2, missing=0.2)
    assert [path.name for path in paths] == ["synthetic_000.nc", "synthetic_001.nc"]
    for path, (ds, labels) in zip(paths, made, strict=True):
        xr_equal = load_recording(path)
        np.testing.assert_array_equal(xr_equal["position"], ds["position"])
        rows = read_labels(table)
        rows = rows.loc[rows["recording"] == path.stem].reset_index(drop=True)
        assert rows["label"].tolist() == labels["label"].tolist()
        assert rows["start"].tolist() == labels["start"].tolist()


def test_the_verb_writes_a_data_set(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    synthetic_command.add_arguments(parser)
    words = ["--out", str(tmp_path), "--recordings", "2", "--frames", "200", "--dimensions", "3"]
    synthetic_command.run(parser.parse_args([*words, "--missing", "0.1", "--seed", "3"]))
    assert len(list((tmp_path / "recordings").glob("*.nc"))) == 2
    assert (tmp_path / "labels.csv").exists()
    assert "2 recordings of 200 frames" in capsys.readouterr().out

"""Hand-made features: right values, no missing ones, nothing from the labels or the training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.cli import main
from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.handcrafted import default_windows, hand_features, write_hand_features
from behaviorzoo.recordings import make_recording, save_recording
from behaviorzoo.rolling import rolling_mean_std


def recording(frames=60, keypoints=3, individuals=2, seed=0, lost=0.2, name="r", fps=30.0, **extra):
    rng = np.random.default_rng(seed)
    position = rng.normal(size=(frames, 2, keypoints, individuals)).cumsum(axis=0) * 5
    gone = rng.random((frames, 1, keypoints, individuals)) < lost
    position = np.where(gone, np.nan, position)
    return make_recording(
        position,
        keypoints=[f"k{i}" for i in range(keypoints)],
        individuals=[f"m{i}" for i in range(individuals)],
        fps=fps,
        name=name,
        **extra,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60), st.floats(0, 1))
def test_rolling_statistics_equal_those_of_each_window(seed, n, window, lost):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3)) * [1, 100, 1e-3] + [0, 1e4, 5]
    values[rng.random(values.shape) < lost] = np.nan
    mean, std = rolling_mean_std(values, window)
    for frame in range(n):
        part = values[max(0, frame - (window - 1) // 2) : frame + window // 2 + 1]
        for column in range(3):
            seen = part[~np.isnan(part[:, column]), column]
            if len(seen):
                assert mean[frame, column] == pytest.approx(seen.mean(), rel=1e-9)
                spread = np.nanmax(np.abs(values[:, column] - np.nanmean(values[:, column])))
                assert std[frame, column] == pytest.approx(seen.std(), abs=1e-5 * spread + 1e-12)
            else:
                assert np.isnan(mean[frame, column])
                assert np.isnan(std[frame, column])


def test_rolling_agrees_with_pandas_and_keeps_the_precision():
    values = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    mean, std = rolling_mean_std(values, 61)
    table = pd.DataFrame(values).rolling(61, center=True, min_periods=1)
    np.testing.assert_allclose(mean, table.mean(), atol=1e-5)
    np.testing.assert_allclose(std, table.std(ddof=0), atol=1e-5)
    assert mean.dtype == std.dtype == np.float32
    with pytest.raises(ValueError, match="window of 0"):
        rolling_mean_std(values, 0)


def test_a_constant_column_has_no_deviation():
    _, std = rolling_mean_std(np.full((100, 1), 0.1), 7)
    assert (std == 0).all()


def test_windows_are_half_a_second_two_and_six():
    assert default_windows(30.0) == (15, 61, 181)
    assert default_windows(1.0) == (1, 3, 7)


def test_values_of_the_frame_features_by_hand():
    ds = recording(lost=0.0)
    features, names = hand_features(ds, windows=[5])
    column = {name: features[:, i] for i, name in enumerate(names)}
    position = ds["position"].values.astype(float)  # (T, S, K, N)
    between = np.linalg.norm(position[:, :, 0, 1] - position[:, :, 2, 1], axis=1)
    np.testing.assert_allclose(column["m1 k0-k2 distance"], between, rtol=1e-4)
    steps = np.linalg.norm(np.diff(position[:, :, 1, 0], axis=0), axis=1) * 30
    np.testing.assert_allclose(column["m0 k1 speed"][1:], np.log1p(steps), rtol=1e-4)
    assert column["m0 k1 speed"][0] == 0
    pair = np.linalg.norm(position[:, :, 2, 0] - position[:, :, 1, 1], axis=1)
    np.testing.assert_allclose(column["m0-m1 k2-k1 distance"], pair, rtol=1e-4)
    crossed = np.linalg.norm(position[:, :, :, None, 0] - position[:, :, None, :, 1], axis=1).min(
        axis=(1, 2)
    )
    np.testing.assert_allclose(column["m0-m1 nearest distance"], crossed, rtol=1e-4)
    centroid = np.linalg.norm(position[..., 0].mean(axis=2) - position[..., 1].mean(axis=2), axis=1)
    np.testing.assert_allclose(column["m0-m1 distance"], centroid, rtol=1e-4)
    np.testing.assert_allclose(
        column["m0-m1 approach"][1:], np.diff(centroid) * 30, rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(
        column["m0-m1 distance, mean of 5"][10], centroid[8:13].mean(), rtol=1e-4
    )
    assert features.dtype == np.float32
    assert len(names) == len(set(names)) == features.shape[1]


def test_missing_points_are_features_and_no_value_is_missing():
    ds = recording(lost=0.4)
    ds["position"][:, :, 2, 0] = np.nan  # never seen at all
    features, names = hand_features(ds)
    assert np.isfinite(features).all()
    column = {name: features[:, i] for i, name in enumerate(names)}
    lost = np.isnan(ds["position"].values).any(axis=1)  # (T, K, N)
    np.testing.assert_array_equal(column["m0 k0 missing"], lost[:, 0, 0])
    np.testing.assert_allclose(column["m1 missing share"], lost[:, :, 1].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(column["m1 absent"], lost[:, :, 1].all(axis=1))
    assert (column["m0 k2 speed"] == 0).all()
    distance = column["m0 k0-k1 distance"]
    gone = lost[:, 0, 0] | lost[:, 1, 0]
    np.testing.assert_allclose(distance[gone], np.median(distance[~gone]))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(-1e3, 1e3), st.floats(0, 6.3))
def test_features_do_not_change_when_the_arena_is_moved_or_turned(seed, offset, angle):
    ds = recording(seed=seed)
    turned = ds.copy(deep=True)
    c, s = np.cos(angle), np.sin(angle)
    x, y = ds["position"].values[:, 0].copy(), ds["position"].values[:, 1].copy()
    turned["position"][:, 0], turned["position"][:, 1] = c * x - s * y + offset, s * x + c * y
    np.testing.assert_allclose(hand_features(turned)[0], hand_features(ds)[0], rtol=2e-2, atol=0.2)


@pytest.mark.parametrize(("keypoints", "individuals"), [(1, 1), (2, 3), (12, 2), (26, 1)])
def test_any_number_of_points_and_individuals(keypoints, individuals):
    features, names = hand_features(recording(40, keypoints, individuals))
    assert features.shape == (40, len(names))
    assert np.isfinite(features).all()
    assert len(names) < 120 * keypoints * individuals


def test_command_writes_an_embedding_file_in_source_frames(tmp_path, capsys):
    for number in (1, 2):
        ds = recording(50, name=f"day_{number}", seed=number, first_frame=155 * number)
        save_recording(ds, tmp_path / f"day_{number}.nc")
    assert main(["features", str(tmp_path), "--out", str(tmp_path / "out" / "hand.nc")]) == 0
    assert "2 recordings" in capsys.readouterr().out
    with open_embeddings(tmp_path / "out" / "hand.nc") as read:
        assert read.levels == ["hand"]
        assert read.span("day_2") == (310, 50)
        assert read.features("hand") == len(read.attrs["feature_names"])


def test_recordings_that_differ_are_refused(tmp_path):
    save_recording(recording(name="a"), tmp_path / "a.nc")
    save_recording(recording(name="b", keypoints=4), tmp_path / "b.nc")
    with pytest.raises(UserError, match=r"b\.nc: its features differ from those of a\.nc"):
        write_hand_features(tmp_path, tmp_path / "hand" / "hand.nc")
    assert not (tmp_path / "hand" / "hand.nc").exists()


def test_command_names_mistakes(tmp_path, capsys):
    assert main(["features", str(tmp_path / "none"), "--out", str(tmp_path / "h.nc")]) == 2
    assert main(["features", "x", "--out", "h.nc", "--windows", "0"]) == 2
    assert "at least 1 frame" in capsys.readouterr().err

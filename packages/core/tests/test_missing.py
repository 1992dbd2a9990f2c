"""Missing points: counted exactly, filled only where asked."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.missing import REPORT_COLUMNS, handle_missing, missing_report, observed_points
from behaviorzoo.recordings import load_recording, make_recording, save_recording


def recording(observed: np.ndarray, first_frame: int = 0, seed: int = 0):
    """A recording whose points are missing where ``observed`` (T, K, I) is false."""
    rng = np.random.default_rng(seed)
    n_frames, n_keypoints, n_individuals = observed.shape
    position = rng.normal(size=(n_frames, 2, n_keypoints, n_individuals)).astype(np.float32)
    # One NaN coordinate is enough to make a point missing: drop x, y or both.
    which = rng.integers(1, 4, size=observed.shape)
    position[:, 0][~observed & (which & 1 > 0)] = np.nan
    position[:, 1][~observed & (which & 2 > 0)] = np.nan
    return make_recording(
        position,
        keypoints=[f"k{k}" for k in range(n_keypoints)],
        individuals=[f"i{i}" for i in range(n_individuals)],
        fps=30,
        name="r",
        first_frame=first_frame,
        confidence=np.ones(observed.shape),
    )


masks = st.builds(
    lambda seed, shape, share: np.random.default_rng(seed).uniform(size=shape) > share,
    st.integers(0, 2**16),
    st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 2)),
    st.floats(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(observed=masks, first_frame=st.integers(0, 500))
def test_the_report_counts_like_a_loop_over_frames(observed: np.ndarray, first_frame: int):
    ds = recording(observed, first_frame)
    np.testing.assert_array_equal(observed_points(ds), observed)
    report = missing_report(ds)
    assert tuple(report.columns) == REPORT_COLUMNS
    n_frames, n_keypoints, n_individuals = observed.shape
    assert len(report) == n_keypoints * n_individuals
    for row in report.itertuples():
        seen = observed[:, int(row.keypoint[1:]), int(row.individual[1:])]
        gap = longest = 0
        for value in seen:
            gap = 0 if value else gap + 1
            longest = max(longest, gap)
        where = [frame + first_frame for frame in range(n_frames) if seen[frame]]
        assert (row.recording, row.frames) == ("r", n_frames)
        assert row.missing == n_frames - len(where)
        assert row.share == pytest.approx(row.missing / n_frames)
        assert row.longest_gap == longest
        assert pd.isna(row.first_seen) if not where else row.first_seen == where[0]
        assert pd.isna(row.last_seen) if not where else row.last_seen == where[-1]


@settings(max_examples=60, deadline=None)
@given(observed=masks, max_gap=st.integers(1, 8))
def test_interpolation_closes_short_inner_gaps_only(observed: np.ndarray, max_gap: int):
    ds = recording(observed)
    out = handle_missing(ds, "interpolate", max_gap)
    before, after = ds["position"].to_numpy(), out["position"].to_numpy()
    _n_frames, n_keypoints, n_individuals = observed.shape
    for k in range(n_keypoints):
        for i in range(n_individuals):
            seen = np.flatnonzero(observed[:, k, i])
            expected = before[:, :, k, i].astype(np.float64)
            for left, right in itertools.pairwise(seen):
                if 1 < right - left <= max_gap + 1:
                    inner = np.arange(left + 1, right)
                    for s in range(2):
                        expected[inner, s] = np.interp(
                            inner, [left, right], before[[left, right], s, k, i]
                        )
            np.testing.assert_allclose(after[:, :, k, i], expected, atol=1e-6)
            filled = np.isfinite(expected).all(1) & ~observed[:, k, i]
            assert np.isnan(out["confidence"].to_numpy()[filled, k, i]).all()
            assert (out["confidence"].to_numpy()[~filled, k, i] == 1).all()
    np.testing.assert_array_equal(ds["position"].to_numpy(), before)


@settings(max_examples=30, deadline=None)
@given(observed=masks)
def test_no_policy_writes_a_zero_for_a_missing_point(observed: np.ndarray):
    ds = recording(observed)
    for policy, max_gap in (("keep", None), ("mask", None), ("interpolate", 5)):
        out = handle_missing(ds, policy, max_gap)
        assert not (out["position"].to_numpy() == 0).any()
        assert out.attrs["missing_policy"] == policy


def test_mask_keeps_the_nan_and_says_which_points_were_seen(tmp_path):
    observed = np.random.default_rng(1).uniform(size=(30, 2, 2)) > 0.4
    ds = recording(observed)
    out = handle_missing(ds, "mask")
    np.testing.assert_array_equal(out["observed"].to_numpy(), observed)
    np.testing.assert_array_equal(out["position"].to_numpy(), ds["position"].to_numpy())
    save_recording(out, tmp_path / "r.nc")
    back = load_recording(tmp_path / "r.nc")
    assert back["observed"].dtype == bool
    np.testing.assert_array_equal(back["observed"].to_numpy(), observed)
    assert "observed" not in ds


@pytest.mark.parametrize(
    ("policy", "max_gap", "message"),
    [
        ("interpolat", None, "did you mean 'interpolate'"),
        ("zeros", None, "choose one of: interpolate, keep, mask"),
        ("interpolate", None, "needs a max gap of at least 1 frame, got None"),
        ("interpolate", 0, "at least 1 frame, got 0"),
        ("keep", 5, "no meaning for the missing policy 'keep'"),
    ],
)
def test_a_wrong_policy_is_refused(policy, max_gap, message):
    with pytest.raises(UserError, match=message):
        handle_missing(recording(np.ones((3, 1, 1), bool)), policy, max_gap)

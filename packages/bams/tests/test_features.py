"""Differences, angles, and the features of a mouse and of plain values, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bams.data.keypoints import keypoint_features, state_action_features
from bams.data.maths import change, polar, rotated, wrap
from bams.data.mouse import KEYPOINTS, TARGETS, input_names, missing_frames, mouse_features


def slow_change(v: list[float], h: int = 1) -> list[float]:
    """As the specification says, with the last difference where a sequence is too short."""
    out = [v[t] - v[t - h] if t >= h else None for t in range(len(v))]
    source = min(h + 1, len(v) - 1)
    return [(0 if len(v) <= h else out[source]) if x is None else x for x in out]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(1, [2, 1, 2, 3, 4]), (2, [5, 5, 3, 5, 7]), (4, [10] * 5), (5, [0] * 5)],
)
def test_change_takes_the_value_after_next_at_the_start(frames, expected):
    assert change(np.array([0, 1, 3, 6, 10]), frames).tolist() == expected


@given(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=7), elements=st.floats(-9, 9)),
    st.integers(1, 4),
)
def test_change_equals_the_loop_along_any_axis(values, frames):
    for axis in range(values.ndim):
        expected = np.apply_along_axis(lambda v: np.array(slow_change(v, frames)), axis, values)
        np.testing.assert_allclose(change(values, frames, axis), expected)


def test_change_keeps_missing_values_missing():
    found = change(np.array([1.0, 2, np.nan, 4, 5]))
    np.testing.assert_array_equal(np.isnan(found), [True, False, True, True, False])


@given(st.floats(-100, 100))
def test_wrap_gives_the_same_angle_in_half_open_pi(angle):
    found = float(wrap(np.array(angle)))
    assert -math.pi <= found < math.pi
    assert math.isclose(math.cos(found), math.cos(angle), abs_tol=1e-9)
    assert math.isclose(math.sin(found), math.sin(angle), abs_tol=1e-9)


def test_wrap_sends_pi_to_minus_pi():
    assert wrap(np.array(math.pi)) == -math.pi


def test_polar_and_rotation():
    r, theta = polar(np.array([3.0, 0]), np.array([4.0, -2]))
    np.testing.assert_allclose(r, [5, 2])
    np.testing.assert_allclose(theta, [math.atan2(4, 3), -math.pi / 2])
    x, y = rotated(np.array([1.0]), np.array([0.0]), np.array([math.pi / 2]))
    np.testing.assert_allclose([x[0], y[0]], [0, 1], atol=1e-12)


# -- mice ---------------------------------------------------------------------------------------


def mice(rng: np.random.Generator, rows: int = 3, frames: int = 12) -> np.ndarray:
    """Wandering mice in pixels (S, L, 12, 2); one of them stands still for a while."""
    centre = 300 + np.cumsum(rng.normal(size=(rows, frames, 1, 2)) * 4, axis=1)
    centre[0, 4:8] = centre[0, 4:5]
    body = rng.normal(size=(rows, 1, 12, 2)) * 30
    wiggle = rng.normal(size=(rows, frames, 12, 2)) * 3
    wiggle[0, 4:8] = wiggle[0, 4:5]
    return centre + body + wiggle


def slow_mouse(points: np.ndarray, compat: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of one mouse (L, 12, 2), frame by frame."""
    L = len(points)
    k = [[complex(*points[t, j]) for t in range(L)] for j in range(12)]

    def series(f):
        return [f(t) for t in range(L)]

    def angle(z):
        return math.atan2(z.imag, z.real)

    def d(v):
        return slow_change(v)

    def dw(v):
        return [(x + math.pi) % (2 * math.pi) - math.pi for x in d(v)]

    def velocity(xs, ys):
        r, th = [], []
        for vx, vy in zip(d(xs), d(ys), strict=True):
            speed = math.hypot(vx, vy)
            moving = speed >= 3e-3
            r.append(speed if moving else 0.0)
            th.append(math.atan2(vy, vx) if moving else 0.0)
        return r, th

    nose, neck, lf, rf, center = k[0], k[3], k[4], k[5], k[6]
    th_h = series(lambda t: angle(nose[t] - neck[t]))
    r_lf, th_lf = (series(lambda t, f=f: f(lf[t] - neck[t])) for f in (abs, angle))
    r_rf, th_rf = (series(lambda t, f=f: f(rf[t] - neck[t])) for f in (abs, angle))
    th_f = [(b - a + math.pi) % (2 * math.pi) - math.pi for a, b in zip(th_lf, th_rf, strict=True)]
    r_s, th_s = (series(lambda t, f=f: f(center[t] - neck[t])) for f in (abs, angle))
    th_b = series(lambda t: angle(center[t] - k[9][t]))
    turned = [
        [(k[j][t] - center[t]) * complex(math.cos(th_b[t]), -math.sin(th_b[t])) for t in range(L)]
        for j in range(7, 12)
    ]
    lh, rh, base, middle, tip = turned
    r_lh, th_lh = [abs(z) for z in lh], [angle(z) for z in lh]
    r_rh, th_rh = [abs(z) for z in rh], [angle(z) for z in rh]
    r_ct = [abs(z) for z in base]
    th_t1 = [angle(b - a) for a, b in zip(base, middle, strict=True)]
    th_t2 = [angle(b - a) for a, b in zip(middle, tip, strict=True)]
    hx, hy = [z.real for z in neck], [z.imag for z in neck]
    r_hv, th_hv = velocity(hx, hx if compat == "upstream" else hy)
    r_bv, th_bv = velocity([z.real for z in center], [z.imag for z in center])
    dr_rf = d(r_lf) if compat == "upstream" else d(r_rf)
    missing = [any(points[t, j, 0] == 0 for j in range(12)) for t in range(L)]
    flag = [float(missing[t] or (t > 0 and missing[t - 1])) for t in range(L)]

    def cs(a):
        return [[math.cos(x) for x in a], [math.sin(x) for x in a]]

    columns = [
        hx, hy, *cs(th_h), r_lf, *cs(th_lf), r_rf, *cs(th_rf), *cs(th_f),
        [z.real for z in center], [z.imag for z in center], *cs(th_b),
        r_lh, *cs(th_lh), r_rh, *cs(th_rh), r_ct, *cs(th_t1), *cs(th_t2), r_s, *cs(th_s),
        r_hv, *cs(th_hv), *cs(dw(th_hv)), *cs(dw(th_h)), d(r_lf), *cs(dw(th_lf)),
        dr_rf, *cs(dw(th_rf)), *cs(dw(th_f)), r_bv, *cs(th_bv), *cs(dw(th_bv)), *cs(dw(th_b)),
        d(r_lh), *cs(dw(th_lh)), d(r_rh), *cs(dw(th_rh)), *cs(dw(th_t1)), *cs(dw(th_t2)),
        d(r_ct), d(r_s), *cs(dw(th_s)), flag,
    ]  # fmt: skip
    targets = [r_hv, th_hv, dw(th_hv), dw(th_h), r_bv, th_bv, dw(th_bv), dw(th_b), d(r_s)]
    return np.array(columns).T, np.array(targets).T


@pytest.mark.parametrize("compat", ["paper", "upstream"])
def test_mouse_features_equal_frame_by_frame_arithmetic(compat):
    points = mice(np.random.default_rng(0))
    points[1, 5, 3] = 0  # a missing neck
    found = mouse_features(points, compat)
    assert found.inputs.shape == (3, 12, 67)
    for row, one in enumerate(points):
        inputs, targets = slow_mouse(one, compat)
        np.testing.assert_allclose(found.inputs[row], inputs, atol=1e-9)
        np.testing.assert_allclose(found.targets[row], targets, atol=1e-9)
    assert found.ignored.tolist() == (found.inputs[..., 66] == 1).tolist()


def test_modes_differ_in_head_velocity_and_right_forepaw_only():
    points = mice(np.random.default_rng(1))
    paper, upstream = (mouse_features(points, mode) for mode in ("paper", "upstream"))
    differing = (~np.isclose(paper.inputs, upstream.inputs)).any((0, 1))
    assert np.flatnonzero(differing).tolist() == [30, 31, 32, 33, 34, 40]
    differing = (~np.isclose(paper.targets, upstream.targets)).any((0, 1))
    assert np.flatnonzero(differing).tolist() == [0, 1, 2]
    directions = np.unique(np.round(upstream.targets[..., 1], 6))
    assert set(directions) <= set(np.round([-0.75 * math.pi, 0, 0.25 * math.pi], 6))


def test_a_still_mouse_has_no_direction():
    still = np.repeat(mice(np.random.default_rng(2), 1, 1), 5, axis=1)
    found = mouse_features(still + np.linspace(0, 1e-3, 5)[:, None, None])
    assert (found.targets[..., [0, 1, 4, 5]] == 0).all()


def test_missing_points_ignore_their_frame_and_the_next():
    points = np.ones((1, 6, 12, 2), np.int32)
    points[0, 2, 7, 0] = 0
    points[0, 4, 7, 1] = 0  # y is not looked at
    assert missing_frames(points).tolist() == [[False, False, True, True, False, False]]


def test_names_tell_the_columns():
    names = input_names()
    assert len(names) == 67 == len(set(names))
    assert names[:5] == ("head x", "head y", "cos head angle", "sin head angle", names[4])
    assert (names[30], names[45], names[66]) == ("head speed", "body speed", "a point is missing")
    assert len(TARGETS) == 9
    assert len(KEYPOINTS) == 12


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_sequences_are_finite(frames):
    found = mouse_features(mice(np.random.default_rng(3), 2, frames))
    assert np.isfinite(found.inputs).all()
    assert np.isfinite(found.targets).all()


# -- plain values -------------------------------------------------------------------------------


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6),
        elements=st.one_of(st.just(np.nan), st.floats(-99, 99, width=32)),
    )
)
def test_keypoint_features_equal_a_loop(values):
    found = keypoint_features(values)
    S, L, D = values.shape
    filled = [[[0 if math.isnan(v) else v for v in row] for row in one] for one in values.tolist()]
    for s in range(S):
        for j in range(D):
            changes = slow_change([filled[s][t][j] for t in range(L)])
            np.testing.assert_allclose(found.targets[s, :, j], changes, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found.inputs[s, :, D + j], found.targets[s, :, j])
            np.testing.assert_allclose(found.inputs[s, :, j], [row[j] for row in filled[s]])
    np.testing.assert_array_equal(found.ignored, np.isnan(values).any(-1))
    assert found.inputs.dtype == np.float32


def test_whole_numbers_become_float64_and_an_absent_animal_is_ignored_throughout():
    assert keypoint_features(np.ones((1, 4, 2), np.int64)).targets.dtype == np.float64
    absent = keypoint_features(np.full((1, 4, 2), np.nan))
    assert absent.ignored.all()
    assert (absent.inputs == 0).all()


def test_given_actions_stand_behind_the_states():
    states, actions = np.ones((2, 3, 4)), np.full((2, 3, 1), 7.0)
    found = state_action_features(states, actions)
    assert found.inputs[0, 0].tolist() == [1, 1, 1, 1, 7]
    assert not found.ignored.any()
    np.testing.assert_array_equal(found.targets, actions)

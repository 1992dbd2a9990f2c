"""Fifty frames: every step against a plain loop over samples, persons and frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.data.frames50 import (
    central_frames,
    clips_of,
    motion_clips,
    padded,
    position_clips,
    resize,
    to_camera,
)


def sample(seed: int, frames: int, second_from: int | None = None) -> np.ndarray:
    """(3, frames, 25, 2) of a walking cloud of joints; the second person comes later, or never."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 1, 25, 2)) + np.linspace(0, 1, frames)[None, :, None, None] + 2
    x = x + 0.05 * rng.normal(size=(3, frames, 25, 2))
    x[:, : frames if second_from is None else second_from, :, 1] = 0
    return x


def plain_resize(x: np.ndarray, length: int, frames: int) -> np.ndarray:
    """One sample (C, F, V, M), frame by frame."""
    out = np.zeros((x.shape[0], frames, *x.shape[2:]))
    for i in range(frames):
        at = min(max((i + 0.5) * length / frames - 0.5, 0), length - 1)
        low = int(at)
        high = min(low + 1, length - 1)
        out[:, i] = x[:, low] * (1 - (at - low)) + x[:, high] * (at - low)
    return out


def plain_position(x: np.ndarray, frames: int) -> np.ndarray:
    """The original's steps 1 to 4 for one raw sample (3, F, 25, 2)."""
    length = sum(bool(x[:, t, 0, 0].any()) for t in range(x.shape[1]))
    x = x - x[:, :, 20:21]
    x = plain_resize(x, length, frames)
    out = x.copy()
    for m in range(2):
        lines = [x[:, t, 8, m] - x[:, t, 4, m] for t in range(frames)]
        sign = -1 if sum(line[2] for line in lines) >= 0 else 1
        for t, (vx, _, vz) in enumerate(lines):
            angle = sign * math.acos(vx / (math.hypot(vx, vz) + 1e-4))
            c, s = math.cos(angle), math.sin(angle)
            turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
            out[:, t, :, m] = turn @ x[:, t, :, m]
    return out


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    frames=st.sampled_from([1, 7, 50]),
    seed=st.integers(0, 99),
)
def test_positions_equal_a_plain_loop(lengths, frames, seed):
    samples = [sample(seed + n, length, length // 2) for n, length in enumerate(lengths)]
    raw, found = padded(samples)
    assert found.tolist() == lengths
    expected = np.stack([plain_position(x, frames) for x in raw])
    np.testing.assert_allclose(position_clips(raw, frames), expected, rtol=1e-5, atol=1e-5)
    clips, reasons = clips_of(samples, "upstream", frames)
    np.testing.assert_array_equal(clips, position_clips(raw, frames))
    assert clips.dtype == np.float32
    assert reasons == [None] * len(samples)


def test_a_clip_does_not_depend_on_its_batch():
    samples = [sample(n, 20 + 13 * n, 5) for n in range(5)]
    for compat in ("paper", "upstream"):
        together, _ = clips_of(samples, compat)
        for n, one in enumerate(samples):
            np.testing.assert_array_equal(clips_of([one], compat)[0][0], together[n])


def test_an_empty_frame_cuts_the_tail_of_the_original():
    x = sample(1, 20)
    x[:, 5:8] = 0
    raw = x[None].astype(np.float32)
    np.testing.assert_allclose(position_clips(raw)[0], plain_position(x, 50), rtol=1e-5, atol=1e-5)
    last = (x - x[:, :, 20:21])[:, 16]  # 17 frames are not empty: frame 16 is taken for the last
    turned = to_camera(np.float32(last[None, :, None]), "upstream")[0, :, 0]
    assert np.abs(position_clips(raw)[0, :, -1, :, 0] - turned[..., 0]).max() < 0.2


def test_motion_ends_in_minus_the_last_pose():
    x = sample(2, 8)[None].astype(np.float32)
    raw = np.concatenate([x, np.zeros_like(x)], axis=2)
    motion = motion_clips(raw, 8)
    np.testing.assert_array_equal(motion[:, :, :7], x[:, :, 1:] - x[:, :, :-1])
    np.testing.assert_array_equal(motion[:, :, 7], -x[:, :, 7])


def test_nobody():
    empty = np.zeros((3, 9, 25, 2))
    second_only = sample(3, 9)[..., ::-1]
    for compat, reasons in (
        ("upstream", ["person 0 is in no frame"] * 2),
        ("paper", ["nobody in any frame", None]),
    ):
        clips, found = clips_of([empty, second_only], compat)
        assert found == reasons
        assert not clips[0].any()
    with pytest.raises(UserError, match=r"sample 1 .* has no frame with person 0"):
        position_clips(np.stack([sample(0, 9), empty]).astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), frames=st.integers(1, 70))
def test_shoulders_face_the_camera_in_every_frame(seed, frames):
    x, _ = clips_of([sample(seed, frames, 0)])
    line = x[:, :, :, 8] - x[:, :, :, 4]
    assert (line[:, 0] >= -1e-6).all()
    np.testing.assert_allclose(line[:, 2], 0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), compat=st.sampled_from(["paper", "upstream"]))
def test_turning_keeps_distances_and_heights(seed, compat):
    x = np.random.default_rng(seed).normal(size=(2, 3, 6, 25, 2)).astype(np.float32)
    turned = to_camera(x, compat)
    np.testing.assert_array_equal(turned[:, 1], x[:, 1])
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


def test_gaps_and_late_comers():
    """paper: a lost frame is bridged, the empty start is cut, and a late person is no ghost."""
    x = sample(4, 30, 0)
    whole, _ = clips_of([x])
    broken = x.copy()
    broken[:, 12, :, 0] = 0
    bridged, _ = clips_of([broken])
    assert np.abs(bridged - whole).max() < 0.5
    assert bridged[0, :, :, :, 0].any(axis=(0, 2)).all()
    shifted, _ = clips_of([np.concatenate([np.zeros((3, 9, 25, 2)), x], axis=1)])
    np.testing.assert_array_equal(shifted, whole)
    late, _ = clips_of([sample(4, 30, 15)])
    there = late[0, :, :, :, 1].any(axis=(0, 2))
    assert there.tolist() == [False] * 25 + [True] * 25
    shoulders = late[0, :, there, 8, 1] - late[0, :, there, 4, 1]
    assert np.linalg.norm(shoulders, axis=1).min() > 0.5  # upstream shrinks them in the first


def test_an_absent_person_stays_zero():
    for compat in ("paper", "upstream"):
        clips, _ = clips_of([sample(5, 17)], compat)
        assert not clips[..., 1].any()


def test_resize_keeps_clips_of_the_right_length():
    x = np.random.default_rng(0).normal(size=(2, 3, 12, 4, 1)).astype(np.float32)
    np.testing.assert_array_equal(resize(x, np.array([12, 12]), 12), x)
    np.testing.assert_array_equal(resize(x, np.array([1, 1]), 5), np.repeat(x[:, :, :1], 5, axis=2))


def test_the_middle_of_long_recordings():
    x = np.arange(7)[None, :, None, None]
    assert central_frames(x, 4)[0, :, 0, 0].tolist() == [1, 2, 3, 4]
    assert central_frames(x, 9) is not None
    assert central_frames(x, 9).shape == x.shape

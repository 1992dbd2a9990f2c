from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.windows import (
    overlap_counts,
    pad_frames,
    sliding_windows,
    stitch_mean,
    widen,
    window_count,
    window_starts,
)

sizes = st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(1, 9))


def slow_windows(x: np.ndarray, length: int, stride: int) -> list[np.ndarray]:
    windows, start = [], 0
    while start + length <= len(x):
        windows.append(x[start : start + length])
        start += stride
    return windows


@given(sizes)
def test_windows_equal_a_loop(size: tuple[int, int, int]) -> None:
    n_frames, length, stride = size
    x = np.random.default_rng(0).normal(size=(n_frames, 2, 3))
    slow = slow_windows(x, length, stride)
    fast = sliding_windows(x, length, stride)
    assert fast.shape == (len(slow), length, 2, 3)
    assert window_count(n_frames, length, stride) == len(slow)
    for window, start, expected in zip(
        fast, window_starts(n_frames, length, stride), slow, strict=True
    ):
        np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(window, x[start : start + length])


def test_windows_are_views_that_cannot_be_written() -> None:
    x = np.arange(40.0).reshape(20, 2)
    windows = sliding_windows(x, 5, 3)
    assert np.shares_memory(windows, x)
    with pytest.raises(ValueError, match="read-only"):
        windows[0, 0, 0] = 1.0


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (3, 0)])
def test_impossible_windows_are_refused(length: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"got {length} and {stride}"):
        window_count(10, length, stride)


def test_padding_modes() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    edge = pad_frames(x, 2, 1)
    assert edge.dtype == np.float32
    assert edge.tolist() == [[1, 2], [1, 2], [1, 2], [3, 4], [3, 4]]
    assert pad_frames(x, 1, 0, "zeros").tolist() == [[0, 0], [1, 2], [3, 4]]
    assert np.isnan(pad_frames(x, 0, 2, "missing")[2:]).all()
    assert pad_frames(x, 0, 0) is x


@pytest.mark.parametrize(
    ("x", "before", "mode", "message"),
    [
        (np.zeros((0, 2)), 1, "edge", "0 frames"),
        (np.zeros((3, 2)), -1, "edge", "negative"),
        (np.zeros((3, 2)), 1, "wrap", "unknown padding 'wrap'"),
    ],
)
def test_padding_errors(x: np.ndarray, before: int, mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad_frames(x, before, 0, mode)  # type: ignore[arg-type]


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(0, 15), st.integers(1, 5), st.integers(1, 3)
)
def test_stitching_equals_a_loop_over_frames(
    parts: int, span: int, extra: int, stride: int, features: int
) -> None:
    length = parts * span
    n_frames = length + extra
    starts = window_starts(n_frames, length, stride)
    values = np.random.default_rng(1).normal(size=(len(starts), parts, features))
    stitched = stitch_mean(values, starts, span, n_frames)
    counts = overlap_counts(n_frames, length, starts)
    for frame in range(n_frames):
        inside = [
            values[w, (frame - start) // span]
            for w, start in enumerate(starts)
            if start <= frame < start + length
        ]
        assert counts[frame] == len(inside)
        if inside:
            np.testing.assert_allclose(stitched[frame], np.mean(inside, axis=0), atol=1e-12)
        else:
            assert np.isnan(stitched[frame]).all()


def test_stitching_constant_windows_gives_the_constant() -> None:
    starts = window_starts(50, 12, 5)
    stitched = stitch_mean(np.full((len(starts), 4, 2), 3.0), starts, 3, 50)
    covered = overlap_counts(50, 12, starts) > 0
    assert (stitched[covered] == 3.0).all()
    assert covered.sum() == 47  # the last start is 35: frames 47-49 are in no whole window


@pytest.mark.parametrize("starts", [[0, 0], [0], [0, 3], [-1, 0]])
def test_stitching_refuses_wrong_starts(starts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"starts|inside"):
        stitch_mean(np.zeros((2, 4, 1)), np.array(starts), 2, 10)


def test_widening_a_single_part() -> None:
    first = np.zeros((6, 1))
    first[2] = 5.0
    assert widen(first, 3)[:, 0].tolist() == [0, 0, 5, 5, 5, 0]
    assert widen(first, 1).tolist() == first.tolist()
    assert widen(first, 20)[:, 0].tolist() == [0, 0, 5, 5, 5, 5]

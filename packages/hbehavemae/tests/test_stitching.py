from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.windows import window_count
from hbehavemae.stitching import (
    MiddleTokens,
    OverlapMean,
    WindowRun,
    averaging_padding,
    fast_padding,
    window_runs,
)


def naive_mean(tokens: np.ndarray, n: int, length: int, stride: int) -> np.ndarray:
    """Repeat every token over its frames, then loop over windows, as the original does."""
    repeated = np.repeat(tokens.astype(np.float64), length // tokens.shape[1], axis=1)
    total = np.zeros((n + 2 * (length - 1), tokens.shape[2]))
    counts = np.zeros((len(total), 1))
    for w in range(len(repeated)):
        total[w * stride : w * stride + length] += repeated[w]
        counts[w * stride : w * stride + length] += 1
    return (total / np.maximum(counts, 1))[length - 1 : length - 1 + n]


@settings(deadline=None)
@given(
    n=st.integers(1, 25),
    parts=st.integers(1, 5),
    span=st.integers(1, 4),
    stride=st.integers(1, 7),
    batch=st.integers(1, 9),
)
def test_overlap_mean_equals_repeating(
    n: int, parts: int, span: int, stride: int, batch: int
) -> None:
    length = parts * span
    stride = min(stride, length)
    windows = window_count(n + 2 * (length - 1), length, stride)
    tokens = np.random.default_rng(n).normal(size=(windows, parts, 3)).astype(np.float32)
    mean = OverlapMean(n, length, parts, 3, stride=stride)
    for run in window_runs(windows, stride, batch):
        numbers = [(run.first + b * run.step) // stride for b in range(run.windows)]
        mean.add(run, torch.from_numpy(tokens[numbers]))
    expected = naive_mean(tokens, n, length, stride)
    result = mean.result()
    assert result.dtype == np.float32
    assert result.shape == (n, 3)
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_relative_error_at_the_paper_window() -> None:
    n, length, parts = 150, 400, 200
    tokens = np.random.default_rng(0).normal(size=(n + length - 1, parts, 4)) + 1
    mean = OverlapMean(n, length, parts, 4)
    for run in window_runs(len(tokens), 1, 16):
        index = np.arange(run.windows) * run.step + run.first
        mean.add(run, torch.from_numpy(tokens[index].astype(np.float32)))
    expected = naive_mean(tokens.astype(np.float32), n, length, 1)
    assert np.max(np.abs(mean.result() - expected) / np.abs(expected)) < 1e-6


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 20))
def test_runs_hold_every_window_once(windows: int, stride: int, batch: int) -> None:
    seen: list[int] = []
    for run in window_runs(windows, stride, batch):
        assert 1 <= run.windows <= batch
        seen += [run.first + b * run.step for b in range(run.windows)]
    assert seen == [w * stride for w in range(windows)]


@pytest.mark.parametrize("stride", [0, 11])
def test_stride_must_leave_no_frame_alone(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride {stride} must lie between 1 and .* 10 frames"):
        averaging_padding(10, stride)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5))
def test_fast_mode_takes_the_middle_token(n: int, parts: int, span: int) -> None:
    length = parts * span
    padding = fast_padding(n, length)
    windows = window_count(n + padding.front + padding.behind, length, padding.stride)
    # The value of a token says its window and its place.
    tokens = (100 * torch.arange(windows)[:, None] + torch.arange(parts)[None])[..., None].float()
    middle = MiddleTokens(n, length, parts, 1)
    for run in window_runs(windows, padding.stride, 4):
        numbers = [(run.first + b * run.step) // padding.stride for b in range(run.windows)]
        middle.add(run, tokens[numbers])
    result = middle.result()[:, 0]
    assert len(result) == n
    for frame, value in enumerate(result):
        window, part = divmod(int(value), 100)
        assert window == frame // padding.stride
        # The frame lies in the window; the first frame of its pair lies in the token.
        inside = frame + padding.front - window * padding.stride
        assert 0 <= inside < length
        first = inside - frame % padding.stride
        assert part * span <= first < (part + 1) * span


@pytest.mark.parametrize(
    ("n", "length", "expected"), [(10, 8, (3, 3, 2)), (11, 8, (3, 5, 2)), (11, 9, (4, 4, 1))]
)
def test_fast_padding_of_even_and_odd_lengths(
    n: int, length: int, expected: tuple[int, int, int]
) -> None:
    assert fast_padding(n, length) == expected


def test_wide_batches_and_single_windows_agree() -> None:
    tokens = torch.randn(30, 3, 2)
    one, many = OverlapMean(19, 12, 3, 2), OverlapMean(19, 12, 3, 2)
    many.add(WindowRun(0, 1, 30), tokens)  # more windows than tokens: the other loop
    for w in range(30):
        one.add(WindowRun(w, 1, 1), tokens[w : w + 1])
    np.testing.assert_allclose(one.result(), many.result(), atol=1e-6)

"""Windows over many sequences in one tensor, against plain slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.sequence_windows import (
    check_some_window,
    gather_windows,
    note_short_sequences,
    window_index,
)


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    window=st.integers(1, 20),
    stride=st.integers(1, 9),
)
def test_window_index_equals_a_plain_loop(lengths, window, stride):
    expected = [
        [number, start]
        for number, length in enumerate(lengths)
        for start in range(0, length - window + 1, stride)
    ]
    assert window_index(lengths, window, stride).tolist() == expected


@pytest.mark.parametrize("shape", [(30,), (30, 4), (30, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_gathered_windows_are_copied_slices(shape, dtype):
    frames = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    starts = torch.tensor([25, 0, 3, 3])
    windows = gather_windows(frames, starts, 5)
    assert windows.dtype == dtype
    for window, start in zip(windows, starts.tolist(), strict=True):
        assert torch.equal(window, frames[start : start + 5])
    before = frames.clone()
    windows.zero_()
    assert torch.equal(frames, before)


def test_short_sequences_are_named_unless_none_or_all_are(caplog):
    (note,) = note_short_sequences(["a", "b", "c"], [9, 3, 4], 5)
    assert note == (
        "2 of 3 sequences are shorter than the window of 5 frames and are not used for training: "
        "b (3 frames), c (4 frames)"
    )
    assert note in caplog.text
    assert note_short_sequences(["a"], [9], 5) == []
    assert note_short_sequences(["a"], [3], 5) == []
    many = note_short_sequences([str(n) for n in range(9)], [1] * 8 + [5], 5)
    assert many[0].endswith("4 (1 frames), ...")


def test_no_window_says_why():
    with pytest.raises(UserError, match="no sequence to train on"):
        check_some_window([], [], 5)
    with pytest.raises(UserError, match=r"b: 4 frames, the longest of 2 .* window of 5 frames"):
        check_some_window(["a", "b"], [3, 4], 5)
    with pytest.raises(UserError, match=r"none of 2 windows .* lower data\.min_observed"):
        check_some_window(["a"], [6], 5, np.zeros(2, bool))
    check_some_window(["a"], [6], 5, np.array([False, True]))

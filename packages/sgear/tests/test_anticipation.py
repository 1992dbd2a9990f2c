"""Clips before actions: their times, and which actions have none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from sgear.data.anticipation import convert_to_anticipation, without_anticipation
from sgear.data.config import AnticipationConfig


def actions(starts, lengths) -> pd.DataFrame:
    starts = np.asarray(starts, dtype=np.float64)
    return pd.DataFrame(
        {"uid": np.arange(1, len(starts) + 1), "start": starts, "end": starts + lengths}
    )


@given(
    st.lists(st.integers(0, 4000), min_size=1), st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 15)
)
def test_a_clip_ends_tau_a_before_the_start_of_the_action(centiseconds, tau_a, tau_o):
    table = actions([0, *np.array(centiseconds) / 100, 50], 1.0)
    clips, dropped = convert_to_anticipation(table, AnticipationConfig(tau_a, tau_o))
    starts = dict(zip(table["uid"], table["start"], strict=True))
    for row in clips.itertuples():
        assert row.end == starts[row.uid] - tau_a
        assert row.start == row.end - tau_o
        assert (row.orig_start, row.orig_end) == (starts[row.uid], starts[row.uid] + 1.0)
    # what is dropped ends before the first frame
    assert all(start - tau_a < 1 / 30 for start in dropped["start"])
    assert sorted([*clips["uid"], *dropped["uid"]]) == table["uid"].tolist()


def test_recognition_sees_the_action_itself():
    clips, dropped = convert_to_anticipation(
        actions([3.0, 9.0], [2.0, 0.5]), AnticipationConfig(tau_a=-999)
    )
    assert clips["start"].tolist() == [3.0, 9.0]
    assert clips["end"].tolist() == [5.0, 9.5]
    assert dropped.empty


def test_a_negative_tau_ends_inside_the_action():
    clips, _ = convert_to_anticipation(actions([3.0], 4.0), AnticipationConfig(-1.0, 5.0))
    assert (clips["start"][0], clips["end"][0]) == (-1.0, 4.0)


@pytest.mark.parametrize(
    ("style", "kept"),
    [("correct", [2, 3, 4]), ("full_context_in", [4]), ("action_banks", [3, 4])],
)
def test_drop_styles(style, kept):
    table = actions([1.0, 1.0 + 1 / 30, 3.0, 3.6], 1.0)
    clips, dropped = convert_to_anticipation(table, AnticipationConfig(1.0, 2.5, style))
    assert clips["uid"].tolist() == kept
    assert clips.index.tolist() == list(range(len(kept)))
    assert sorted([*kept, *dropped["uid"]]) == [1, 2, 3, 4]


def test_future_clips():
    config = AnticipationConfig(2.0, 5.0, future_clip_ratios=[1.0, 0.5, -999.0])
    clips, _ = convert_to_anticipation(actions([10.0], 1.0), config)
    row = clips.iloc[0]
    assert (row["future_0_start"], row["future_0_end"]) == (10.0, 15.0)
    assert (row["future_1_start"], row["future_1_end"]) == (9.0, 14.0)
    assert (row["future_2_start"], row["future_2_end"]) == (row["start"], row["end"])


def test_no_action_with_enough_video_is_an_error():
    with pytest.raises(UserError, match="none of 2 actions has enough video before it"):
        convert_to_anticipation(actions([0.1, 0.2], 1.0), AnticipationConfig(1.0, 2.5))


def test_half_precision_stays_half_precision():
    """50 Salads' times are float16 in the original, and so is what is computed of them."""
    table = actions([300.2], 1.0).astype({"start": np.float16, "end": np.float16})
    clips, _ = convert_to_anticipation(table, AnticipationConfig(1.0, 2.5))
    assert clips["end"][0] == np.float16(300.25) - np.float16(1.0)
    assert clips["end"].dtype == np.float16


def test_without_conversion_the_segments_stay():
    clips = without_anticipation(actions([3.0], 2.0))
    assert clips[["start", "end"]].to_numpy().tolist() == [[3.0, 5.0]]
    assert clips[["orig_start", "orig_end"]].to_numpy().tolist() == [[3.0, 5.0]]

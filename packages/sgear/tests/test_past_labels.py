"""The action at a time, against a look through all rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgear.data.past_labels import IntervalTable, labels_at

# Whole seconds, so that starts, ends and times meet exactly.
rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 30), st.integers(0, 10)),
    min_size=1,
    max_size=25,
)


def table_of(rows) -> pd.DataFrame:
    return pd.DataFrame(
        [(video, float(start), float(start + length)) for video, start, length in rows],
        columns=["video_path", "orig_start", "orig_end"],
    )


def slow_row(table: pd.DataFrame, video: str, t: float, compat: str) -> int:
    """The rule as it is written, row by row."""
    best, best_cost = -1, np.inf
    for row, (name, start, end) in enumerate(table.itertuples(index=False)):
        if name == video and start <= t <= end:
            centre = (end - start) / 2 if compat == "upstream" else (end + start) / 2
            if abs(t - centre) < best_cost:
                best, best_cost = row, abs(t - centre)
    return best


@settings(max_examples=200)
@given(rows, st.lists(st.integers(-4, 90), max_size=20), st.sampled_from(["upstream", "corrected"]))
def test_rows_at_times(rows, halves, compat):
    table, times = table_of(rows), np.array(halves, dtype=np.float64) / 2
    intervals = IntervalTable(table, compat)
    for video in ("a", "b", "c", "never annotated"):
        wanted = [slow_row(table, video, t, compat) for t in times]
        assert intervals.rows_at(video, times).tolist() == wanted


def test_the_two_rules_differ_where_actions_overlap():
    """At 98 s a long action with its centre far away against a short one around it."""
    table = table_of([("a", 97, 1), ("a", 90, 30)])
    t = np.array([98.0])
    assert IntervalTable(table, "upstream").rows_at("a", t) == [1]
    assert IntervalTable(table, "corrected").rows_at("a", t) == [0]


def test_both_ends_belong_to_the_action():
    intervals = IntervalTable(table_of([("a", 2, 3)]))
    t = np.array([1.999, 2.0, 5.0, 5.001])
    assert intervals.rows_at("a", t).tolist() == [-1, 0, 0, -1]


@pytest.mark.parametrize("bad", [(5.0, 4.0), (np.nan, 1.0), (1.0, np.nan)])
def test_rows_without_a_span_are_never_found(bad):
    table = table_of([("a", 2, 3), ("a", 7, 1)])
    table.loc[1, ["orig_start", "orig_end"]] = bad
    assert IntervalTable(table).rows_at("a", np.arange(10.0)).max() == 0


def test_labels_of_rows():
    labels = np.array([7, 8, 9])
    assert labels_at(labels, np.array([[2, -1], [0, 1]])).tolist() == [[9, -1], [7, 8]]

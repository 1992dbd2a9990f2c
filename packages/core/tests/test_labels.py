"""Label tables: to disk and back, to dense codes and back, and errors with line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from behaviorzoo.labels import (
    classes_of,
    dense_labels,
    from_dense,
    overlaps,
    read_labels,
    split_overlapping,
    write_labels,
)


def table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["recording", "task", "start", "stop", "label"])


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_survives_the_csv_with_names_that_look_like_numbers_or_nothing(tmp_path: Path):
    labels = table(
        ("007", "act", 0, 5, "None"), ("007", "act", 5, 9, "NA"), ("7", "act", 1, 2, "1")
    )
    labels["annotator"] = ["ann", "bob", "ann"]
    labels.loc[3] = ["whole", "sex", None, None, "female", "ann"]
    write_labels(labels, tmp_path / "l.csv")
    back = read_labels(tmp_path / "l.csv")
    assert back["recording"].tolist() == ["007", "007", "7", "whole"]
    assert back["label"].tolist() == ["None", "NA", "1", "female"]
    assert back["annotator"].tolist() == ["ann", "bob", "ann", "ann"]
    assert str(back["start"].dtype) == str(back["stop"].dtype) == "Int64"
    assert back["start"].isna().tolist() == [False, False, False, True]
    assert back["stop"].tolist()[:3] == [5, 9, 2]


def test_parquet_works_or_says_what_it_needs(tmp_path: Path):
    labels = table(("a", "act", 0, 5, "walk"))
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"l\.parquet: parquet needs pyarrow"):
            write_labels(labels, tmp_path / "l.parquet")
        (tmp_path / "l.parquet").write_bytes(b"PAR1")
        with pytest.raises(UserError, match=r"l\.parquet: parquet needs pyarrow"):
            read_labels(tmp_path / "l.parquet")
    else:
        write_labels(labels, tmp_path / "l.parquet")
        pd.testing.assert_frame_equal(
            read_labels(tmp_path / "l.parquet"), labels, check_dtype=False
        )


HEADER = "recording,task,start,stop,label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recording,task,begin,stop,label\na,t,0,1,x\n", "column 'start' is missing .* has record"),
        (HEADER + "a,t,0,5,x\na,t,five,9,y\n", "line 3, column 'start': 'five' is not a whole"),
        (HEADER + "a,t,0,5,x\na,t,5,9.5,y\n", "line 3, column 'stop': '9.5' is not a whole"),
        (HEADER + "a,t,0,inf,x\n", "line 2, column 'stop': 'inf' is not a whole"),
        (HEADER + "a,t,5,5,x\n", "line 2, column 'stop' is not after start"),
        (HEADER + "a,t,5,,x\n", "line 2, column 'stop' is empty, start is not"),
        (HEADER + "a,t,,5,x\n", "line 2, column 'start' is empty, stop is not"),
        (HEADER + "a,t,0,5,\n", "line 2, column 'label' is empty"),
        (HEADER + "a,t,0,5,x\n,t,0,5,x\n", "line 3, column 'recording' is empty"),
        ('recording,"task\n', "cannot be read as a label table|column"),
        ("\x00\x01", "is missing from the label table|cannot be read"),
    ],
)
def test_a_wrong_value_is_named_by_file_line_and_column(tmp_path: Path, text: str, message: str):
    path = written(tmp_path / "labels.csv", text)
    with pytest.raises(UserError, match=f"labels.csv: .*({message})") as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)


def test_wrong_paths_and_suffixes(tmp_path: Path):
    with pytest.raises(UserError, match="no such label table"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="label table is empty"):
        read_labels(tmp_path / "empty.csv")
    with pytest.raises(UserError, match=r"written as \.csv or \.parquet, not '\.xlsx'"):
        write_labels(table(("a", "t", 0, 1, "x")), tmp_path / "l.xlsx")


def test_whole_numbers_written_as_floats_are_frames(tmp_path: Path):
    back = read_labels(written(tmp_path / "l.csv", HEADER + "a,t,0.0,5.0,x\n"))
    assert back[["start", "stop"]].to_numpy().tolist() == [[0, 5]]


@settings(max_examples=80, deadline=None)
@given(
    codes=st.lists(st.integers(-1, 3), max_size=60),
    first_frame=st.integers(0, 1000),
)
def test_dense_and_tidy_are_inverse(codes: list[int], first_frame: int):
    classes = ["a", "b", "c", "d"]
    tidy = from_dense(np.array(codes, dtype=int), "r", "t", first_frame, classes)
    back, names = dense_labels(tidy, "r", "t", first_frame, len(codes), classes)
    assert back.tolist() == codes
    assert back.dtype == np.int32
    assert names == classes
    runs = [code for i, code in enumerate(codes) if code >= 0 and (i == 0 or codes[i - 1] != code)]
    assert tidy["label"].tolist() == [classes[code] for code in runs]
    assert len(overlaps(tidy)) == 0


@settings(max_examples=60, deadline=None)
@given(
    intervals=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from("abc")), max_size=8
    ),
    first=st.integers(0, 30),
    n_frames=st.integers(0, 40),
)
def test_dense_labels_cut_and_overlap_like_a_loop(intervals, first: int, n_frames: int):
    rows = [("r", "t", start, start + length, name) for start, length, name in intervals]
    owner: dict[int, int] = {}
    clash = False
    for number, (_, _, start, stop, _) in enumerate(rows):
        for frame in range(start, stop):
            clash |= frame in owner
            owner[frame] = number
    labels = table(*rows)
    if clash:
        with pytest.raises(UserError, match=r"recording 'r', task 't': the labels .* overlap at"):
            dense_labels(labels, "r", "t", first, n_frames, "abc")
        return
    codes, _ = dense_labels(labels, "r", "t", first, n_frames, "abc")
    expected = [
        "abc".index(rows[owner[f]][4]) if f in owner else -1 for f in range(first, first + n_frames)
    ]
    assert codes.tolist() == expected


def test_names_can_be_given_instead_of_codes():
    tidy = from_dense(["walk", "walk", None, "rest", ""], "r", "t", 10)
    assert tidy[["start", "stop", "label"]].to_numpy().tolist() == [
        [10, 12, "walk"],
        [13, 14, "rest"],
    ]


def test_a_label_of_the_whole_recording_covers_every_frame():
    labels = table(("r", "sex", None, None, "f"), ("q", "sex", None, None, "m"))
    codes, names = dense_labels(labels, "r", "sex", 155, 4)
    assert names == ["f", "m"]
    assert codes.tolist() == [0, 0, 0, 0]
    assert dense_labels(labels, "other", "sex", 0, 2)[0].tolist() == [-1, -1]
    assert len(overlaps(labels)) == 0
    assert len(overlaps(table(("r", "s", None, None, "f"), ("r", "s", 3, 4, "m")))) == 1
    assert len(overlaps(table(("r", "s", None, None, "f"), ("r", "s", None, None, "m")))) == 1


def test_unknown_tasks_and_classes_name_the_nearest():
    labels = table(("r", "action", 0, 5, "walk"))
    with pytest.raises(UserError, match="no task 'actoin'; did you mean 'action'"):
        dense_labels(labels, "r", "actoin", 0, 5)
    with pytest.raises(UserError, match="class 'walk' is not one of the classes; did you mean"):
        dense_labels(labels, "r", "action", 0, 5, ["walks", "rest"])
    with pytest.raises(UserError, match="code 2 is beyond the 2 classes"):
        from_dense(np.array([0, 2]), "r", "t", 0, ["a", "b"])
    assert classes_of(labels, "action") == ["walk"]


def test_an_overlap_names_both_labels_even_far_apart():
    labels = table(("r", "t", 0, 100, "long"), ("r", "t", 10, 20, "in"), ("r", "t", 90, 95, "late"))
    found = overlaps(labels)
    assert found[["label", "other"]].to_numpy().tolist() == [["in", "long"], ["late", "long"]]


def test_overlapping_classes_become_yes_no_tasks_in_every_recording():
    labels = table(("r", "t", 2, 6, "groom"), ("r", "t", 4, 8, "sniff"), ("q", "t", 0, 3, "groom"))
    split = split_overlapping(labels, extents={"r": (0, 10), "q": (0, 5)})
    assert len(overlaps(split)) == 0

    def dense(recording: str, task: str, n: int) -> list[int]:
        return dense_labels(split, recording, task, 0, n, ["no", "yes"])[0].tolist()

    assert dense("r", "groom", 10) == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert dense("r", "sniff", 10) == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert dense("q", "groom", 5) == [1, 1, 1, 0, 0]
    assert dense("q", "sniff", 5) == [0, 0, 0, 0, 0]
    empty = split_overlapping(labels, extents={"r": (0, 10), "quiet": (155, 160)})
    quiet = empty.query("recording == 'quiet'")[["task", "start", "stop", "label"]]
    assert quiet.to_numpy().tolist() == [["groom", 155, 160, "no"], ["sniff", 155, 160, "no"]]
    unlabelled = split_overlapping(labels, negative=None)
    assert set(unlabelled["label"]) == {"yes"}


def test_a_million_rows_of_frames_are_quick():
    import time

    codes = np.random.default_rng(0).integers(0, 5, 1_000_000)
    begin = time.perf_counter()
    tidy = from_dense(codes, "r", "t", 0, list("abcde"))
    back, _ = dense_labels(tidy, "r", "t", 0, len(codes), list("abcde"))
    assert time.perf_counter() - begin < 20
    np.testing.assert_array_equal(back, codes)

"""PKU-MMD: names, label files, cutting, split files, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.data import pkummd
from hysp.data.persons import persons
from hysp.data.skeleton_files import parse_skeleton


def frames(n: int, two: bool = True, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, 150)).round(4)
    if not two:
        values[:, 75:] = 0
    return values


def write(path, values: np.ndarray):
    path.write_text("\n".join(" ".join(f"{v:.4f}" for v in row) for row in values) + "\n")
    return path


@given(number=st.integers(2, 364), view=st.sampled_from("LMR"))
def test_names_of_part_1_and_back(number, view):
    recording = f"{number:04d}-{view}"
    prefix = pkummd.sample_prefix(recording)
    assert prefix == f"F{number:03d}V00{' LMR'.index(view)}"
    assert pkummd.recording_of(f"{prefix}C051L002.skeleton") == recording
    assert pkummd.action_of(f"{prefix}C051L002") == 51


@given(a=st.integers(1, 26), n=st.integers(1, 13), view=st.sampled_from("LMR"))
def test_names_of_part_2_and_back(a, n, view):
    recording = f"A{a:02d}N{n:02d}-{view}"
    prefix = pkummd.sample_prefix(recording)
    assert prefix == f"A0{a:02d}N0{n:02d}V00{' LMR'.index(view)}"
    assert pkummd.recording_of(f"{prefix}C001L001") == recording


@pytest.mark.parametrize("name", ["2-L", "0002-X", "A1N2-L", "readme"])
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match=f"^{name}: not a name of PKU-MMD"):
        pkummd.sample_prefix(name)
    with pytest.raises(UserError, match="not a sample of PKU-MMD"):
        pkummd.recording_of(name)


def test_label_files(tmp_path):
    file = tmp_path / "0002-L.txt"
    file.write_text("42,1,30,2\n\n7,55,75,1\n")
    first, second = pkummd.read_actions(file)
    assert first == ("F002V001C042L001", 42, 0, 30, 1)
    assert second == ("F002V001C007L002", 7, 54, 75, 3)
    file.write_text("3,5,5,2\n")  # the original fails on a single row
    assert [a.name for a in pkummd.read_actions(file)] == ["F002V001C003L001"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("42,1", "line 2: class,start,end,confidence expected, found '42,1'"),
        ("a,1,2,3", "line 2: class,start,end"),
        ("4,9,8,2", "line 2: class 4, frames 9 to 8"),
        ("0,1,8,2", "line 2: class 0"),
    ],
)
def test_bad_label_rows(tmp_path, row, message):
    file = tmp_path / "0002-L.txt"
    file.write_text(f"1,1,2,2\n{row}\n")
    with pytest.raises(UserError, match=message):
        pkummd.read_actions(file)


def test_recordings(tmp_path):
    values = frames(5)
    np.testing.assert_array_equal(pkummd.read_recording(write(tmp_path / "a.txt", values)), values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0][:500]], "line 4: .* numbers, expected 150"),
        (lambda rows: [rows[0], "1 " + rows[1], rows[2]], "line 2: 151 numbers, expected 150"),
        (lambda rows: [rows[0].replace("0", "x", 1), *rows[1:]], "line 1: not a number"),
        (lambda rows: [rows[0], "nan " + rows[1].split(" ", 1)[1]], "line 2: joint 1 is not fin"),
        (lambda rows: [""], "no frame in this file"),
    ],
)
def test_damaged_recordings(tmp_path, change, message):
    file = write(tmp_path / "0002-L.txt", frames(3))
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=rf"0002-L\.txt: .*{message}|0002-L\.txt: {message}"):
        pkummd.read_recording(file)


@given(start=st.integers(0, 8), length=st.integers(1, 9), seed=st.integers(0, 9))
def test_a_cut_equals_its_text_read_again(start, length, seed):
    values = frames(12, seed=seed)
    values[5:, 75:] = 0  # the second person leaves
    action = pkummd.Action("F002V001C001L001", 1, start, min(start + length, 12), 1)
    text = pkummd.cut_text(values, action)
    again = persons(parse_skeleton(text.encode(), "x", cut=True), "upstream")
    np.testing.assert_array_equal(pkummd.cut(values, action, "x"), again)


def test_long_actions_keep_their_middle():
    values = np.arange(310.0)[:, None] + np.ones((310, 150))
    sample = pkummd.cut(values, pkummd.Action("n", 1, 0, 310, 1), "x")
    assert sample.shape == (3, 300, 25, 2)
    np.testing.assert_array_equal(sample[0, :, 0, 0], np.arange(5, 305) + 1)


def test_an_action_behind_the_end():
    values = frames(10)
    action = pkummd.Action("n", 1, 6, 14, 3)
    assert pkummd.cut(values, action, "x").shape[1] == 4
    with pytest.raises(UserError, match=r"^0002-L\.txt: line 3: frames 7 to 14, but the recording"):
        pkummd.cut(values, action, "0002-L.txt", "upstream")
    with pytest.raises(UserError, match="has 10"):
        pkummd.cut(values, action._replace(start=10), "0002-L.txt")
    assert pkummd.cut_text(values, action).splitlines()[0] == "8"  # promises more than follows


def test_split_files(tmp_path):
    file = tmp_path / "cross-subject.txt"
    file.write_text("Training videos: \n0002-L, 0002-M, \nValidation videos: \n0003-R\n")
    split = pkummd.read_split(file)
    assert pkummd.side_of("0002-M", split) == "train"
    assert pkummd.side_of("0003-R", split) == "val"
    assert pkummd.side_of("0009-R", split) == ""
    assert pkummd.side_of("0009-R", split, "upstream") == "val"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Training\n0002-L\n", "2 lines, expected four"),
        ("T\n0002-L, x\nV\n0003-R\n", "line 2: 'x' is not the name"),
        ("T\n0002-L, 0003-R\nV\n0003-R\n", "0003-R is in both lists"),
    ],
)
def test_bad_split_files(tmp_path, text, message):
    file = tmp_path / "cross-view.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"cross-view\.txt: {message}"):
        pkummd.read_split(file)

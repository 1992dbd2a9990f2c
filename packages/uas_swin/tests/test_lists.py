"""List files, regions and class names: what is read, and what is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from uas_swin.data.classes import read_classes, write_classes
from uas_swin.data.lists import Entry, ListFormat, read_list, write_list
from uas_swin.data.regions import Region, parse_region, split_region

CLASSES = ["sitting", "standing", "climbing up"]


def listed(tmp_path, text, name="list.txt", **form):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [(e.path, e.labels) for e in read_list(path, ListFormat(**form))]


def test_the_last_word_is_the_label_and_paths_may_have_blanks(tmp_path):
    text = "a.mp4 0\n  my clips/the  first one.mp4   2 \n\n#odd name 1.mp4\t1\r\n"
    assert listed(tmp_path, text) == [
        ("a.mp4", (0,)),
        ("my clips/the  first one.mp4", (2,)),
        ("#odd name 1.mp4", (1,)),
    ]


def test_several_labels(tmp_path):
    text = "a 1.mp4 0 2\nb.mp4 1\n"
    expected = [("a 1.mp4", (0, 2)), ("b.mp4", (1,))]
    assert listed(tmp_path, text, multi_class=True, num_classes=3) == expected


def test_a_delimiter_of_choice(tmp_path):
    assert listed(tmp_path, "a 3.mp4| 1\n", delimiter="|") == [("a 3.mp4", (1,))]
    expected = [("a 3", (1, 2))]
    assert listed(tmp_path, "a 3,1,2\n", delimiter=",", multi_class=True) == expected


def test_tables(tmp_path):
    text = 'label,path,region\n1,"a, b.mp4",\nclimbing up,c.mp4#0:4,10:20\n'
    path = tmp_path / "list.csv"
    path.write_text(text)
    first, second = read_list(path, ListFormat(classes=CLASSES))
    assert first == Entry("a, b.mp4", (1,), None, 2)
    assert second == Entry("c.mp4", (2,), Region(10, 20), 3)
    text = "path\tlabel\nx.mp4\t0;climbing up\ny.mp4\t1 2\n"
    rows = listed(tmp_path, text, "list.tsv", classes=CLASSES, multi_class=True)
    assert rows == [("x.mp4", (0, 2)), ("y.mp4", (1, 2))]


def test_labels_may_be_names(tmp_path):
    assert listed(tmp_path, "a.mp4 standing\n", classes=CLASSES) == [("a.mp4", (1,))]


def test_a_list_without_labels(tmp_path):
    assert listed(tmp_path, "a 1\nb.mp4#0:9\n", labelled=False) == [("a 1", ()), ("b.mp4", ())]


def test_a_byte_order_mark_is_no_part_of_the_path(tmp_path):
    assert listed(tmp_path, "\ufeffa.mp4 0\n") == [("a.mp4", (0,))]


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("a.mp4 0\nmy video.mp4\n", {}, r"list.txt, line 2: 'my video.mp4' has no label"),
        ("a.mp4\n", {}, r"line 1: 'a.mp4' has no label"),
        ("7\n", {}, r"line 1: '7' has no label"),
        ("a.mp4 7\n", {"num_classes": 7}, r"line 1: label 7 is out of range; .* 0 to 6"),
        ("a.mp4 0\n\nb.mp4 -1\n", {}, r"line 3: label -1 is out of range"),
        ("a.mp4 3\n", {"classes": CLASSES}, r"line 1: label 3 is out of range"),
        ("a.mp4 siting\n", {"classes": CLASSES}, r"has no label.*did you mean 'sitting'"),
        ("a.mp4|siting\n", {"classes": CLASSES, "delimiter": "|"}, r"no class 'siting'; did you"),
        ("a.mp4|1|2\n", {"delimiter": "|"}, r"line 1: 2 labels; one is expected"),
        ("a.mp4|x\n", {"delimiter": "|"}, r"no class 'x'; give class ids"),
        ("\n\n", {}, r"list.txt: holds no video"),
        ("a.mp4#9:3 0\n", {}, r"line 1: the region '9:3' is empty"),
        ("a.mp4 0\n", {"classes": CLASSES, "num_classes": 2}, r"num_classes=2, but 3 class names"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, text, form, message):
    with pytest.raises(UserError, match=message):
        listed(tmp_path, text, **form)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,1\n", "column 'path' is missing"),
        ("path,label\na.mp4,\n", "line 2: 'a.mp4' has no label"),
        ("path,label\n,1\n", "line 2: no path"),
        ("path,label\na.mp4,0;1\n", "line 2: 2 labels"),
        ("path,label,region\na.mp4,0,left\n", "line 2: 'left' is not a region"),
        ("path,label\n", "holds no video"),
    ],
)
def test_what_is_wrong_in_a_table(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        listed(tmp_path, text, "list.csv")


def test_no_list_and_no_text(tmp_path):
    with pytest.raises(UserError, match="no such list"):
        read_list(tmp_path / "none.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00a 0")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_list(tmp_path / "list.txt")


PATHS = st.text("abc .#_-/é", min_size=1, max_size=20).map(str.strip).filter(bool)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(PATHS, st.sets(st.integers(0, 6), min_size=1), st.booleans()), min_size=1),
    st.sampled_from([".txt", ".csv", ".tsv"]),
)
def test_what_is_written_is_read_again(tmp_path_factory, rows, suffix):
    path = tmp_path_factory.mktemp("lists") / f"list{suffix}"
    entries = [
        Entry(f"{name}.mp4", tuple(sorted(labels)), Region(3, 9, 1, 5) if cut else None)
        for name, labels, cut in rows
    ]
    write_list(entries, path)
    again = read_list(path, ListFormat(num_classes=7, multi_class=True))
    assert [(e.path, e.labels, e.region) for e in again] == [
        (e.path, e.labels, e.region) for e in entries
    ]


def test_a_path_with_a_line_break_is_not_written(tmp_path):
    with pytest.raises(UserError, match="without line breaks"):
        write_list([Entry("a\nb.mp4", (0,))], tmp_path / "list.txt")


def test_a_region_is_a_suffix_of_one_form_only():
    assert split_region("a.mp4#0:450", "") == ("a.mp4", Region(0, 450))
    assert split_region("a #1.mp4#450:900,0:360", "") == ("a #1.mp4", Region(450, 900, 0, 360))
    for name in ("a #1.mp4", "a#1:b.mp4", "a#", "#", "a.mp4#1:2:3"):
        assert split_region(name, "") == (name, None)
    with pytest.raises(UserError, match="x0:x1"):
        parse_region("5", "list.csv, line 3")


def test_a_region_cuts_columns_and_rows():
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(Region(2, 6).cut(frames, "v"), frames[:, :, 2:6])
    np.testing.assert_array_equal(Region(0, 2, 1, 3).cut(frames, "v"), frames[:, 1:3, :2])
    for region in (Region(2, 7), Region(0, 2, 1, 5), Region(0, 2, 4)):
        with pytest.raises(UserError, match=r"v: the region .* beyond the picture of 6x4"):
            region.cut(frames, "v")


def test_class_names(tmp_path):
    path = tmp_path / "classes.txt"
    write_classes(CLASSES, path)
    assert read_classes(path) == CLASSES
    for text, message in (
        ("a\n\nb\n", "line 2 is empty"),
        ("a\nb\na\n", "line 3 repeats 'a' of line 1"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_classes(path)
    with pytest.raises(UserError, match="no class names"):
        write_classes([], path)

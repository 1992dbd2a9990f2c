"""Annotation files of other programs: the frames they mean, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.annotations import annotation_name, read_annotations
from behaviorzoo.annotations.annotation import Annotation, clip, fill_tracks, rows
from behaviorzoo.errors import UserError
from behaviorzoo.labels import dense_labels, overlaps, split_overlapping

CALTECH = (
    "Caltech Behavior Annotator - Annotation File\r\n\r\nConfiguration file:\r\nbase\tz\r\n"
    "social\ts\r\nbite\tb\r\n\r\nS1:\tstart\tend\ttype\r\n-----------------------------\r\n"
    "   \t1\t1022\tbase\r\n   \t1023\t1837\tsocial\r\n  \r\n"
    "S2:\tstart\tend\ttype\r\n-----------------------------\r\n   \t1\t5\tbase\r\n"
    "   \t6\t6\tbite\r\n"
)

BORIS_HEAD = (
    "Observation id,x,,,,,,,\n,,,,,,,,\nMedia file(s),,,,,,,,\nDescription,,,,,,,,\n"
    "variable,value,,,,,,,\n,,,,,,,,\n"
    "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status\n"
)


def event(time: float, behavior: str, status: str, subject: str = "m", fps: str = "10.0") -> str:
    return f"{time},v.avi,4.0,{fps},{subject},{behavior},,,{status}\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def as_rows(annotation: Annotation) -> list[list]:
    return annotation.table[["task", "start", "stop", "label"]].to_numpy().tolist()


def test_caltech_frames_start_at_1_and_include_the_end(tmp_path: Path):
    (annotation,) = read_annotations(written(tmp_path / "14_annot.txt", CALTECH))
    assert annotation.recording == "14"
    assert as_rows(annotation) == [
        ["S1", 0, 1022, "base"],
        ["S1", 1022, 1837, "social"],
        ["S2", 0, 5, "base"],
        ["S2", 5, 6, "bite"],
    ]
    assert annotation.notes == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t1023\t", "\tx\t", r"line 11: expected 'start end type', found 'x"),
        ("\t1023\t1837\t", "\t1023\t1000\t", "line 11: frames 1023 to 1000"),
        ("\t1\t1022\t", "\t0\t1022\t", "line 10: frames 0 to 1022; they start at 1"),
        ("S2:", "S1:", "a track has two headers: S1, S1"),
        ("\tstart\tend\ttype", "", "no track in this file|expected"),
    ],
)
def test_a_wrong_caltech_row_is_named_by_its_line(tmp_path: Path, old, new, message):
    path = written(tmp_path / "a.txt", CALTECH.replace("\r\n", "\n").replace(old, new))
    with pytest.raises(UserError, match=f"a.txt: .*({message})"):
        read_annotations(path)


def test_a_behaviour_outside_the_configuration_is_noted(tmp_path: Path):
    path = written(tmp_path / "a.txt", CALTECH.replace("6\tbite", "6\tbiet"))
    (annotation,) = read_annotations(path)
    assert annotation.notes == ["not in the file's own list of behaviours: biet"]


def test_a_missing_track_is_filled_over_all_annotated_frames(tmp_path: Path):
    only_s1 = CALTECH[: CALTECH.index("S2:")]
    (annotation,) = read_annotations(written(tmp_path / "a.txt", only_s1))
    fill_tracks(annotation, {"S2": "base", "S1": "never used"})
    assert as_rows(annotation)[2:] == [["S2", 0, 1837, "base"]]
    assert annotation.notes == ["no track 'S2': filled with 'base' (1837 frames)"]


@settings(max_examples=60, deadline=None)
@given(
    intervals=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=6),
    first=st.integers(0, 20),
    length=st.integers(1, 30),
)
def test_clipping_cuts_and_counts_like_a_loop(intervals, first: int, length: int):
    start = [a for a, _ in intervals]
    stop = [a + n for a, n in intervals]
    annotation = Annotation("r", rows("t", start, stop, ["x"] * len(start)))
    clip(annotation, first, first + length)
    inside = [
        [f for f in range(a, b) if first <= f < first + length]
        for a, b in zip(start, stop, strict=True)
    ]
    expected = [["t", frames[0], frames[-1] + 1, "x"] for frames in inside if frames]
    assert as_rows(annotation) == expected
    lost = sum(stop) - sum(start) - sum(map(len, inside))
    assert annotation.notes == (
        [
            f"{lost} frames of 't' lie outside the recording (frames {first} to "
            f"{first + length - 1}); clipped"
        ]
        if lost
        else []
    )


def test_clipping_leaves_labels_of_the_whole_recording():
    annotation = Annotation("r", rows("sex", [None], [None], ["f"]))
    clip(annotation, 5, 10)
    assert annotation.tidy()["start"].isna().all()
    assert annotation.notes == []


def test_boris_events_become_frames(tmp_path: Path):
    text = BORIS_HEAD + event(0.25, "walk", "START") + event(0.95, "walk", "STOP")
    text += event(1.0, "rear", "POINT") + event(2.0, "walk", "START") + event(3.0, "walk", "STOP")
    (annotation,) = read_annotations(written(tmp_path / "b.csv", text))
    # 10 frames per second: frame 2 is 0.2 to 0.3 s, its middle 0.25; frame 9 has 0.95.
    assert as_rows(annotation) == [
        ["behavior", 2, 9, "walk"],
        ["behavior", 10, 11, "rear"],
        ["behavior", 20, 30, "walk"],
    ]
    assert annotation.extent == (0, 40)
    assert not annotation.exclusive


@settings(max_examples=100, deadline=None)
@given(
    start=st.floats(0.003, 50, allow_nan=False),
    length=st.floats(0, 5, allow_nan=False),
    fps=st.sampled_from([10.0, 25.0, 29.97, 30.0]),
)
def test_a_frame_belongs_to_an_event_by_its_middle(start: float, length: float, fps: float):
    from behaviorzoo.annotations.boris import _Event, _frames

    first, stop = _frames([_Event("", "x", start, start + length)], fps)
    edges = np.array([start, start + length]) * fps
    middle = np.arange(0, int(edges[1]) + 3) + 0.5
    if np.abs(middle[:, None] - edges).min() < 1e-5 or abs(edges[0] - round(edges[0])) < 1e-5:
        return  # on the edge itself rounding decides
    inside = np.flatnonzero((middle >= edges[0]) & (middle < edges[1]))
    expected = (inside[0], inside[-1] + 1) if inside.size else (int(edges[0]), int(edges[0]) + 1)
    assert (first[0], stop[0]) == expected


def test_boris_subjects_and_frame_rates(tmp_path: Path):
    text = BORIS_HEAD + event(0, "walk", "START", "a") + event(1, "walk", "START", "b")
    text += event(2, "walk", "STOP", "a") + event(3, "walk", "STOP", "b")
    (annotation,) = read_annotations(written(tmp_path / "b.csv", text))
    assert annotation.table["label"].tolist() == ["a_walk", "b_walk"]
    (faster,) = read_annotations(tmp_path / "b.csv", fps=100)
    assert faster.table["stop"].tolist() == [200, 300]
    assert faster.notes == ["the file says 10 frames per second; --fps 100 is used"]


def test_boris_aggregated_events_and_tabs(tmp_path: Path):
    text = (
        "Observation id\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\n"
        "x\tm\twalk\tSTATE\t0.0\t1.0\nx\tm\trear\tPOINT\t2.0\t2.0\n"
    )
    with pytest.raises(UserError, match=r"b\.tsv: frame rates in the file: none; add --fps N"):
        read_annotations(written(tmp_path / "b.tsv", text))
    (annotation,) = read_annotations(tmp_path / "b.tsv", fps=10)
    assert as_rows(annotation) == [["behavior", 0, 10, "walk"], ["behavior", 20, 21, "rear"]]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (event(1, "walk", "STOP"), "line 8: 'walk' stops without a START"),
        (event(1, "walk", "START") * 2, "line 9: 'walk' starts twice"),
        (event(1, "walk", "START"), "'walk' starts at 1 s and never stops"),
        (event(1, "walk", "BEGIN"), "line 8: 'BEGIN' is not START, STOP or POINT"),
        (event("one", "walk", "START"), "line 8, column 'Time': 'one' is not a time"),  # type: ignore
        (event(1, "walk", "POINT", fps="NA"), "add --fps N"),
    ],
)
def test_wrong_boris_rows_are_named_by_their_line(tmp_path: Path, events: str, message: str):
    with pytest.raises(UserError, match=f"b.csv: {message}|b.csv: .*{message}"):
        read_annotations(written(tmp_path / "b.csv", BORIS_HEAD + events))


def test_benchmark_dictionaries(tmp_path: Path):
    from behaviorzoo.mabe import save_dictionary

    values = np.array([[0, 1, 1, 0, 0.0], [np.nan, 0, 1, 1, 1], [3, 3, 4, 4, 4], [0, 2, 2, 5, -1]])
    save_dictionary(
        tmp_path / "l.npy",
        {
            "frame_number_map": {"a": (0, 2), "b": (2, 5)},
            "label_array": values,
            "vocabulary": ["walk", "chase", "strain", "phase"],
            "task_type": ["Discrete"] * 4,
        },
    )
    first, second = read_annotations(tmp_path / "l.npy")
    assert (first.recording, second.recording) == ("a", "b")
    assert as_rows(first)[:3] == [
        ["walk", 0, 1, "no"],
        ["walk", 1, 2, "yes"],
        ["chase", 1, 2, "no"],
    ]
    table = second.tidy()
    assert table.query("task == 'walk'")[["start", "stop", "label"]].to_numpy().tolist() == [
        [0, 1, "yes"],
        [1, 3, "no"],
    ]
    strain = table.query("task == 'strain'")
    assert strain["label"].tolist() == ["4"]
    assert strain["start"].isna().all()
    codes, names = dense_labels(table, "b", "phase", 0, 3)
    assert [names[code] if code >= 0 else None for code in codes] == ["2", "5", None]


def test_sequences_with_annotations(tmp_path: Path):
    from behaviorzoo.mabe import save_dictionary

    save_dictionary(
        tmp_path / "m.npy",
        {"sequences": {"s": {"annotations": np.array([[0, 0, 1]])}}, "vocabulary": ["lights"]},
    )
    (annotation,) = read_annotations(tmp_path / "m.npy")
    assert as_rows(annotation) == [["lights", 0, 2, "no"], ["lights", 2, 3, "yes"]]
    save_dictionary(
        tmp_path / "c.npy",
        {
            "annotator-id_0": {
                "task1/train/m1": {
                    "annotations": np.array([3, 3, 0]),
                    "metadata": {"vocab": {"attack": 0, "other": 3}},
                }
            }
        },
    )
    (annotation,) = read_annotations(tmp_path / "c.npy")
    assert annotation.recording == "task1_train_m1"
    assert as_rows(annotation) == [["behavior", 0, 2, "other"], ["behavior", 2, 3, "attack"]]
    save_dictionary(tmp_path / "n.npy", {"embeddings": np.zeros(3)})
    with pytest.raises(UserError, match="no labels in this dictionary; its keys are embeddings"):
        read_annotations(tmp_path / "n.npy")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("14_annot.txt", "14"), ("m1-annotations.csv", "m1"), ("m1.csv", "m1"),
        ("labels.csv", "labels"), ("m_behaviour.tsv", "m"), ("cannot.csv", "cannot"),
    ],
)  # fmt: skip
def test_names_come_from_the_file(file: str, name: str):
    assert annotation_name(file) == name


def test_what_is_no_annotation_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"x\.csv: not an annotation file that is known"):
        read_annotations(written(tmp_path / "x.csv", "a,b\n1,2\n"))
    (tmp_path / "b.txt").write_bytes(b"\x00\x01")
    with pytest.raises(UserError, match="a binary file of unknown kind"):
        read_annotations(tmp_path / "b.txt")
    with pytest.raises(UserError, match="unknown source 'borsi'; did you mean 'boris'"):
        read_annotations(tmp_path / "x.csv", "borsi")
    with pytest.raises(UserError, match="no such annotation file"):
        read_annotations(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match="no line with the columns Behavior and Time"):
        read_annotations(tmp_path / "x.csv", "boris")
    with pytest.raises(UserError, match="not an annotation file of it"):
        read_annotations(tmp_path / "x.csv", "caltech")


def test_real_rat_annotations_cover_every_frame_once(real_data_dir: Path):
    files = sorted((real_data_dir / "rat_resident_intruder/annotations").glob("*.txt"))
    assert len(files) == 18
    for file in files:
        (annotation,) = read_annotations(file)
        table = annotation.tidy()
        assert len(overlaps(table)) == 0
        n_frames = annotation.span()[1]
        codes, names = dense_labels(table, annotation.recording, "S1", 0, n_frames)
        assert (codes >= 0).all()
        assert set(names) <= {"base", "social", "nonsocial", "aggression"}
        # Each line of the file, read by hand: frames start at 1 and include the end.
        for line in file.read_text().split("S1:")[1].split("S2:")[0].splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[0].isdigit():
                first, last = int(fields[0]) - 1, int(fields[1]) - 1
                assert names[codes[first]] == names[codes[last]] == fields[2]


def test_real_boris_session(real_data_dir: Path):
    folder = real_data_dir / "ethome_mouse_pair/boris"
    (annotation,) = read_annotations(next(folder.glob("e3v813a*.csv")))
    assert annotation.extent == (0, 5700)
    assert len(annotation.table) == 10
    assert as_rows(annotation)[0] == ["behavior", 895, 1042, "interact"]
    seconds = (annotation.table["stop"] - annotation.table["start"]).sum() / 30
    assert seconds == pytest.approx(22.121, abs=10 / 30)
    (overlapping,) = read_annotations(folder / "test-simultaneous-events.csv")
    assert len(overlaps(overlapping.tidy())) == 1
    split = split_overlapping(overlapping.tidy(), extents={overlapping.recording: (0, 10080)})
    assert len(overlaps(split)) == 0
    codes, names = dense_labels(split, overlapping.recording, "aa", 0, 10080)
    yes = np.flatnonzero(codes == names.index("yes"))
    assert (yes[0], yes[-1]) == (round(28.205 * 30), round(30.630 * 30) - 1)

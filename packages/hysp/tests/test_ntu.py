"""Raw NTU files: the parser against a plain line-by-line one, identities, names, messages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from hysp.data import ntu
from hysp.data.persons import fill_gaps, persons
from hysp.data.skeleton_files import CUT_HEADER, parse_skeleton, read_skeleton

IDS = [72057594037930017 + n for n in range(6)]  # beyond the whole numbers of float64


def body_lines(identity: int, joints: np.ndarray, extra: str = " 0 0 0 0 0 0 0 0 2") -> list[str]:
    lines = [f"{identity} 0 1 1 1 1 0 -0.1 0.2 2", str(len(joints))]
    return lines + [f"{x:.5f} {y:.5f} {z:.5f}{extra}" for x, y, z in joints]


def raw_text(frames: list[list[tuple[int, np.ndarray]]], newline: str = "\n") -> bytes:
    """Frames, each a list of (identity, joints (V, 3))."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for identity, joints in bodies:
            lines += body_lines(identity, joints)
    return (newline.join(lines) + newline).encode()


def plain_parse(text: bytes, keep: int = 2) -> np.ndarray:
    """The obvious reader: a line at a time, body m of a frame is person m."""
    lines = iter(text.decode().splitlines())
    n_frames = int(next(lines))
    data = np.zeros((3, n_frames, 25, keep))
    for frame in range(n_frames):
        for body in range(int(next(lines))):
            next(lines)
            for joint in range(int(next(lines))):
                values = [float(word) for word in next(lines).split()]
                if body < keep and joint < 25:
                    data[:, frame, joint, body] = values[:3]
    return data


def joints(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(25, 3)).round(5)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_the_parser_equals_a_plain_one(counts, seed, newline):
    frames = [
        [(IDS[b], joints(seed + 10 * f + b)) for b in range(count)]
        for f, count in enumerate(counts)
    ]
    text = raw_text(frames, newline)
    bodies = parse_skeleton(text, "x", compat="upstream")
    np.testing.assert_array_equal(persons(bodies, "upstream"), plain_parse(text))
    assert bodies.n_frames == len(counts)
    assert len(bodies.joints) == sum(counts)
    np.testing.assert_array_equal(np.bincount(bodies.frame, minlength=len(counts)), counts)


def test_a_file_without_a_last_line_break_and_with_odd_columns():
    text = raw_text([[(IDS[0], joints(0))]]).replace(b" 0 0 0 0 0 0 0 0 2", b" NaN -1.#IND 0 0 2")
    bodies = parse_skeleton(text.rstrip(b"\n"), "x")
    np.testing.assert_array_equal(bodies.joints[0], joints(0))


def test_another_number_of_joints():
    text = raw_text([[(IDS[0], np.arange(81.0).reshape(27, 3))]])
    with pytest.raises(UserError, match=r"^a\.skeleton: line 4: the body has 27 joints, expected"):
        parse_skeleton(text, "a.skeleton")
    kept = parse_skeleton(text, "x", compat="upstream").joints
    np.testing.assert_array_equal(kept[0], np.arange(75.0).reshape(25, 3))
    fewer = parse_skeleton(raw_text([[(1, np.ones((3, 3)))]]), "x", compat="upstream").joints
    np.testing.assert_array_equal(fewer[0, :3], np.ones((3, 3)))
    assert not fewer[0, 3:].any()


TWO = raw_text([[(IDS[0], joints(1)), (IDS[1], joints(2))], []])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWO[: TWO.index(b"\n", 2000)], r"line \d+: the file ends where"),
        (
            b"\n".join(TWO.split(b"\n")[:40]) + b"\n",
            "line 41: the file ends where the joints of a body",
        ),
        (b"\n".join(TWO.split(b"\n")[:29]) + b"\n", "line 29: the file ends where line of a body"),
        (b"\n".join(TWO.split(b"\n")[:-2]) + b"\n", "number of bodies of frame 2 of 2 should"),
        (b"x\n", "line 1: number of frames expected, found 'x'"),
        (b"-3\n", "line 1: number of frames is -3"),
        (TWO.replace(b"\n25\n", b"\nfew\n", 1), "line 4: number of joints expected, found 'few'"),
        (b"1\n1\n7 0\n25\n" + b"1 nan 2 0\n" * 25, "line 5: joint 1 is not finite: '1 nan 2 0'"),
        (
            b"1\n1\n7 0\n25\n" + b"1 2 3\n" * 3 + b"1 b 3\n" * 22,
            "line 8: x y z of a joint expected",
        ),
        (b"1\n1\n7 0\n25\n" + b"1 2 3 4\n" * 24 + b"1 2 3", "line 29: the file ends where all"),
    ],
)
def test_damaged_files_are_refused_with_their_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_skeleton(text, "S001.skeleton")
    assert str(caught.value).startswith("S001.skeleton: line ")
    assert "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, len(TWO) - 3))
def test_no_cut_is_read_in_silence(cut):
    """Whatever is lost, more than the last line's end: an error, never zeros."""
    with pytest.raises(UserError):
        parse_skeleton(TWO[: len(TWO) - 2 - cut], "x")


def test_a_missing_joint_line_is_noticed():
    lines = raw_text([[(IDS[0], joints(1)), (IDS[1], joints(2))]]).split(b"\n")
    del lines[10]
    with pytest.raises(UserError, match="number of joints expected"):
        parse_skeleton(b"\n".join(lines), "x")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="no such skeleton"):
        read_skeleton(tmp_path / "S001C001P001R001A001.skeleton")
    (tmp_path / "empty.skeleton").touch()
    with pytest.raises(UserError, match="empty"):
        read_skeleton(tmp_path / "empty.skeleton")


def test_cut_files_have_one_header():
    rows = ["0.1 0.2 0.3"] * 25 + ["1.0 2.0 3.0"] * 25
    text = "\n".join(["2", "2", CUT_HEADER, "25", *rows, "1", CUT_HEADER, "25", *rows[:25]]) + "\n"
    data = persons(parse_skeleton(text.encode(), "x", cut=True), "upstream")
    assert data.shape == (3, 2, 25, 2)
    np.testing.assert_array_equal(data[:, 0, 7], [[0.1, 1], [0.2, 2], [0.3, 3]])
    assert not data[:, 1, :, 1].any()


def test_a_tracked_person_keeps_its_place():
    """Two persons who swap places in the file, and a chair that comes first for one frame."""
    a, b, chair = joints(1), joints(2), joints(3)
    moved = [a + 0.1 * frame for frame in range(4)]
    frames = [
        [(IDS[0], moved[0]), (IDS[1], b)],
        [(IDS[1], b), (IDS[0], moved[1])],
        [(IDS[2], chair), (IDS[0], moved[2]), (IDS[1], b)],
        [(IDS[0], moved[3])],
    ]
    text = raw_text(frames)
    first, second = persons(parse_skeleton(text, "x")).transpose(3, 1, 2, 0)
    np.testing.assert_allclose(first, moved, atol=1e-5)
    np.testing.assert_array_equal(second[:3], [b, b, b])
    assert not second[3].any()
    by_order = persons(parse_skeleton(text, "x"), "upstream")
    np.testing.assert_array_equal(by_order[:, 2, :, 0], chair.T)


def test_equally_long_bodies_are_ranked_by_movement():
    still, moving = joints(1), joints(2)
    frames = [[(IDS[3], still), (IDS[4], moving + t)] for t in range(3)]
    first = persons(parse_skeleton(raw_text(frames), "x"))[..., 0]
    np.testing.assert_allclose(first[:, 2], (moving + 2).T, atol=1e-5)


def test_no_body_at_all():
    bodies = parse_skeleton(b"3\n0\n0\n0\n", "x")
    assert persons(bodies).shape == (3, 3, 25, 2)
    assert not persons(bodies).any()
    assert not persons(bodies, "upstream").any()


@settings(max_examples=30, deadline=None)
@given(
    there=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=2, max_size=2),
    seed=st.integers(0, 99),
)
def test_gaps_are_closed_by_straight_lines(there, seed):
    seen = np.array(there).T  # (T, M)
    x = np.random.default_rng(seed).normal(size=(3, 6, 4, 2)) + 5
    x = x * seen[None, :, None]
    filled = fill_gaps(x)
    for m in range(2):
        known = np.flatnonzero(seen[:, m])
        for c, v in np.ndindex(3, 4):
            expected = np.zeros(6)
            if len(known):
                expected = np.interp(np.arange(6), known, x[c, known, v, m])
            np.testing.assert_allclose(filled[c, :, v, m], expected, atol=1e-12)


def test_names():
    name = ntu.parse_name("S018C003P008R002A120.skeleton")
    assert tuple(name) == (18, 3, 8, 2, 120)
    assert ntu.split_of("S018C003P008R002A120", "xsub") == "train"
    assert ntu.split_of("S018C001P008R002A120", "xview") == "val"
    assert ntu.split_of("S018C001P008R002A120", "xset") == "train"
    assert ntu.split_of("S001C002P003R002A060", "xsub") == "val"
    assert ntu.split_of("S017C003P103R002A110", "xsub") == "train"
    assert ntu.action_names(["S001C002P003R002A060"])[-1] == "A060"
    assert len(ntu.action_names(["S001C002P003R002A061"])) == 120
    assert len(ntu.TRAIN_SUBJECTS) == 53
    assert len({subject for subject in ntu.TRAIN_SUBJECTS if subject <= 40}) == 20


@pytest.mark.parametrize("name", ["S1C1P1R1A1.skeleton", "notes.skeleton", "S001C001P001R001A001x"])
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match=rf"^{re.escape(name)}: not a name of NTU RGB\+D, expected"):
        ntu.parse_name(name)
    with pytest.raises(UserError, match="did you mean 'xview'"):
        ntu.split_of("S001C002P003R002A060", "xviev")


def test_the_lists_of_missing_skeletons(real_data_dir):
    shipped = ntu.missing_skeletons()
    folder = real_data_dir / "mmaction2_samples"
    assert shipped == ntu.read_sample_list(
        folder / "NTU_RGBD120_samples_with_missing_skeletons.txt"
    )
    of_60 = {name for name in shipped if ntu.parse_name(name).action <= 60}
    assert of_60 == ntu.read_sample_list(folder / "NTU_RGBD_samples_with_missing_skeletons.txt")
    assert (len(shipped), len(of_60)) == (535, 302)


def test_a_list_with_prose_and_without_names(tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_text("2 samples are broken.\n\nS001C002P005R002A008\nF003V003C018L002.skeleton\n")
    assert ntu.read_sample_list(file) == {"S001C002P005R002A008", "F003V003C018L002"}
    file.write_text("nothing here\n")
    with pytest.raises(UserError, match=r"list\.txt: no sample name"):
        ntu.read_sample_list(file)


@pytest.mark.parametrize("text", ["", "\n", "0 of the samples are broken.\n\n"])
def test_to_the_original_a_list_without_names_is_one_of_nothing(tmp_path: Path, text: str):
    file = tmp_path / "list.txt"
    file.write_text(text)
    assert ntu.read_sample_list(file, "upstream") == frozenset()
    with pytest.raises(UserError, match=r"list\.txt: .*(no sample name|is empty)"):
        ntu.read_sample_list(file)
    with pytest.raises(UserError, match=r"gone\.txt: no such list of samples"):
        ntu.read_sample_list(tmp_path / "gone.txt", "upstream")

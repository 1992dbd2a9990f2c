"""PKU-MMD I and II: long recordings with a label file each, cut into one sample per action.

    skeleton/0002-L.txt        a frame a line, 150 numbers: 25 joints x y z of person 1, of person 2
    label/0002-L.txt           class,start,end,confidence; frames from 1, both ends inside
    cross-subject.txt          title, names of the training recordings, title, names of the others

Part I names recordings ``FFFF-V``, part II ``AaaNnn-V``, with the view V: L, M or R. A sample is
named ``FfffVvvvCcccLlll`` (part I) or ``A0aaN0nnVvvvCcccLlll`` (part II): view, class, and its
number within the label file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from hysp.data.frames50 import LONGEST, central_frames
from hysp.data.skeleton_files import CUT_HEADER, JOINTS, Compat

BENCHMARKS = ("xsub", "xview")
SPLIT_FILES = {
    "xsub": ("cross-subject.txt", "cross_subject_v2.txt", "cross-subject-v2.txt"),
    "xview": ("cross-view.txt", "cross_view_v2.txt", "cross-view-v2.txt"),
}
CLASSES = 51
VALUES = 2 * 3 * JOINTS
_VIEWS = {"L": 1, "M": 2, "R": 3}
_PART_1 = re.compile(r"(\d{4})-([LMR])")
_PART_2 = re.compile(r"A(\d{2})N(\d{2})-([LMR])")
_SAMPLE = re.compile(r"(F\d{3}|A\d{3}N\d{3})V(\d{3})C(\d{3})L(\d{3})(?:\.skeleton)?")


class Action(NamedTuple):
    """One row of a label file.

    Attributes:
        name: Name of the sample.
        action: Class, counted from 1.
        start: First frame, counted from 0.
        stop: Frame behind the last one.
        line: Line of the label file, for messages.
    """

    name: str
    action: int
    start: int
    stop: int
    line: int


class Split(NamedTuple):
    """Recordings of the two sides of a benchmark."""

    train: frozenset[str]
    val: frozenset[str]


def sample_prefix(recording: str) -> str:
    """First half of the sample names of a recording.

    Raises:
        UserError: Not a name of the data set.

    Example:
        >>> sample_prefix("0002-L"), sample_prefix("A01N02-R")
        ('F002V001', 'A001N002V003')
    """
    if match := _PART_1.fullmatch(recording):
        return f"F{int(match[1]):03d}V{_VIEWS[match[2]]:03d}"
    if match := _PART_2.fullmatch(recording):
        return f"A{int(match[1]):03d}N{int(match[2]):03d}V{_VIEWS[match[3]]:03d}"
    raise UserError(
        f"{recording}: not a name of PKU-MMD, expected FFFF-V (part I, 0002-L) or AaaNnn-V "
        "(part II, A01N02-L) with V one of L, M, R; move other files out of the folder"
    )


def recording_of(sample: str) -> str:
    """Name of the recording that a sample was cut from.

    Raises:
        UserError: Not the name of a sample.

    Example:
        >>> recording_of("F002V001C007L002")
        '0002-L'
    """
    match = _SAMPLE.fullmatch(Path(sample).name)
    views = {number: view for view, number in _VIEWS.items()}
    if match is None or int(match[2]) not in views:
        raise UserError(
            f"{sample}: not a sample of PKU-MMD, expected FfffVvvvCcccLlll or AaaaNnnnVvvvCcccLlll"
        )
    who, view = match[1], views[int(match[2])]
    if who.startswith("F"):
        return f"{int(who[1:]):04d}-{view}"
    return f"A{int(who[1:4]):02d}N{int(who[5:]):02d}-{view}"


def action_of(sample: str) -> int:
    """Class of a sample, counted from 1, by its name."""
    recording_of(sample)
    match = _SAMPLE.fullmatch(Path(sample).name)
    assert match is not None
    return int(match[3])


def read_actions(path: str | Path) -> list[Action]:
    """Actions of a label file, in the order of its rows.

    Raises:
        UserError: Not four numbers in a row, no class of the data set, or an end before its start;
            it names the file and line.
    """
    path = existing_file(path, "label file")
    prefix = sample_prefix(path.stem)
    actions: list[Action] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            action, start, end = (int(float(word)) for word in line.split(",")[:3])
        except ValueError:
            raise UserError(
                f"{path}: line {number}: class,start,end,confidence expected, found {line[:40]!r}"
            ) from None
        if action < 1 or start < 1 or end < start:
            raise UserError(
                f"{path}: line {number}: class {action}, frames {start} to {end}: classes and "
                "frames count from 1, and the end is not before the start"
            )
        name = f"{prefix}C{action:03d}L{len(actions) + 1:03d}"
        actions.append(Action(name, action, start - 1, end, number))
    return actions


def read_recording(path: str | Path) -> np.ndarray:
    """All frames of a recording: float64 (frames, 150).

    Raises:
        UserError: Not 150 finite numbers in every line; it names the file and line.
    """
    path = existing_file(path, "skeleton file")
    lines = path.read_bytes().split(b"\n")
    rows = [words for line in lines if (words := line.split())]
    if rows and all(len(words) == VALUES for words in rows):
        try:
            values = np.array([float(word) for words in rows for word in words])
        except ValueError:
            values = np.array([np.nan])
        if np.isfinite(values).all():
            return values.reshape(-1, VALUES)
    for number, line in enumerate(lines, start=1):
        _check_line(line, f"{path}: line {number}")
    raise UserError(f"{path}: no frame in this file; extract or download it again")


def read_split(path: str | Path) -> Split:
    """The two lists of a split file.

    Raises:
        UserError: Fewer than four lines, a word that is no recording, or one in both lists.
    """
    path = existing_file(path, "split file")
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < 4:
        raise UserError(
            f"{path}: {len(lines)} lines, expected four: title, training names, title, other names"
        )
    train, val = (_names(path, line, number) for line, number in ((lines[1], 2), (lines[3], 4)))
    if both := sorted(train & val):
        raise UserError(f"{path}: {both[0]} is in both lists; a recording is on one side only")
    return Split(train, val)


def side_of(recording: str, split: Split, compat: Compat = "paper") -> str:
    """``train``, ``val``, or empty for a recording that is in neither list.

    ``upstream`` counts everything that is not in the training list as ``val``.
    """
    if recording in split.train:
        return "train"
    return "val" if compat == "upstream" or recording in split.val else ""


def cut(frames: np.ndarray, action: Action, where: str, compat: Compat = "paper") -> np.ndarray:
    """The sample of one action.

    Args:
        frames: (frames, 150) of the recording.
        action: What to cut.
        where: The label file, for the message.
        compat: ``upstream`` refuses an action that ends behind the recording (the original
            announces frames that it does not write, and fails when it reads them); ``paper`` cuts
            it there.

    Returns:
        (C, T, V, M) with at most the central 300 frames; an absent person is 0.

    Raises:
        UserError: The action begins behind the recording (or ends there, see ``compat``).
    """
    if action.start >= len(frames) or (compat == "upstream" and action.stop > len(frames)):
        raise UserError(
            f"{where}: line {action.line}: frames {action.start + 1} to {action.stop}, but the "
            f"recording has {len(frames)}; is it the label file of this recording?"
        )
    rows = frames[action.start : action.stop]
    sample = rows.reshape(len(rows), 2, JOINTS, 3).transpose(3, 0, 2, 1).copy()
    # The original tells a second person by the sum of the coordinates.
    sample[:, rows[:, VALUES // 2 :].sum(axis=1) == 0, :, 1] = 0
    return central_frames(sample, LONGEST)


def cut_text(frames: np.ndarray, action: Action) -> str:
    """The original's ``.skeleton`` text of one action, read again by ``read_skeleton(cut=True)``.

    An action that ends behind the recording announces more frames than follow, as there.
    """
    lines = [str(action.stop - action.start)]
    for row in frames[action.start : action.stop]:
        two = row[VALUES // 2 :].sum() != 0
        joints = row[: VALUES if two else VALUES // 2].reshape(-1, 3).tolist()
        lines += ["2" if two else "1", CUT_HEADER, str(JOINTS)]
        lines += [f"{x} {y} {z}" for x, y, z in joints]
    return "\n".join(lines) + "\n"


def _check_line(line: bytes, where: str) -> None:
    words = line.split()
    try:
        values = np.array(list(map(float, words)))
    except ValueError:
        raise UserError(f"{where}: not a number in it: {line[:40]!r}") from None
    if words and len(words) != VALUES:
        raise UserError(
            f"{where}: {len(words)} numbers, expected {VALUES} (2 persons, {JOINTS} joints, "
            "x y z); the file is truncated or of another kind"
        )
    if not np.isfinite(values).all():
        joint = int(np.flatnonzero(~np.isfinite(values))[0]) // 3 % JOINTS
        raise UserError(f"{where}: joint {joint + 1} is not finite")


def _names(path: Path, line: str, number: int) -> frozenset[str]:
    names = [word.strip() for word in line.split(",") if word.strip()]
    for name in names:
        if not (_PART_1.fullmatch(name) or _PART_2.fullmatch(name)):
            raise UserError(f"{path}: line {number}: {name!r} is not the name of a recording")
    return frozenset(names)

"""Raw ``.skeleton`` text of NTU RGB+D, and the cut files of PKU-MMD in nearly the same form.

    number of frames
      number of bodies                        (once a frame; may be 0)
        bodyID and nine states                (10 numbers)
        number of joints                      (25)
          x y z and nine more                 (12 numbers a joint; metres, camera coordinates, y up)

A file is cut into lines at once and only the first three numbers of a joint are read, so colour
and orientation columns may hold anything (they do hold ``NaN`` and ``-1.#IND`` here and there).

Letters: B bodies of all frames together, T frames, V joints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

Compat = Literal["paper", "upstream"]
"""``upstream``: what the original code does, defects included; ``paper``: what was meant."""

JOINTS = 25
SUFFIX = ".skeleton"
CUT_HEADER = "6 1 0 0 1 1 0 -0.437266 -0.117168 2"
"""The line that stands for the first body's states in a cut file of PKU-MMD."""


class Bodies(NamedTuple):
    """Every body of every frame, in the order of the file.

    Attributes:
        n_frames: Frames T that the file announces.
        frame: int64 (B,) frame of each body, from 0.
        slot: int64 (B,) its place within that frame, from 0.
        identity: int64 (B,) number of the tracked person: equal numbers, same ``bodyID``.
        joints: float64 (B, V, 3) positions.
    """

    n_frames: int
    frame: np.ndarray
    slot: np.ndarray
    identity: np.ndarray
    joints: np.ndarray


def read_skeleton(path: str | Path, *, cut: bool = False, compat: Compat = "paper") -> Bodies:
    """Read all bodies of a file.

    Args:
        path: A ``.skeleton`` file, LF or CRLF.
        cut: The file was cut from PKU-MMD: states and joint count stand before the first body of
            a frame only, and a joint has three numbers.
        compat: ``upstream`` takes bodies with another number of joints than 25 as the original
            does (further joints are dropped, lacking ones are 0); ``paper`` refuses them.

    Raises:
        UserError: Truncated, another number of joints, not a number, NaN or infinite; it names
            the file and the line.
    """
    path = existing_file(path, "skeleton")
    return parse_skeleton(path.read_bytes(), str(path), cut=cut, compat=compat)


def parse_skeleton(
    text: bytes, where: str, *, cut: bool = False, compat: Compat = "paper"
) -> Bodies:
    """Like :func:`read_skeleton` for the bytes of a file; ``where`` names it in messages."""
    reader = _Reader(text.split(b"\n"), where, cut, exact=compat == "paper")
    return reader.bodies()


class _Reader:
    """Walks over the lines that hold counts, and gathers those that hold joints."""

    def __init__(self, lines: list[bytes], where: str, cut: bool, exact: bool):
        self.lines = lines
        self.where = where
        self.cut = cut
        self.exact = exact
        self.at = 0
        self.rows: list[int] = []  # first joint line of each body
        self.counts: list[int] = []  # its number of joints
        self.identities: list[bytes] = []

    def bodies(self) -> Bodies:
        n_frames = self._count("number of frames")
        per_frame = np.zeros(n_frames, dtype=np.int64)
        for frame in range(n_frames):
            per_frame[frame] = self._count(f"number of bodies of frame {frame + 1} of {n_frames}")
            joints = 0
            for body in range(per_frame[frame]):
                joints = self._body(body, joints)
        frame = np.repeat(np.arange(n_frames), per_frame)
        slot = np.arange(len(frame)) - (np.cumsum(per_frame) - per_frame)[frame]
        number = {name: n for n, name in enumerate(dict.fromkeys(self.identities))}
        identity = np.array([number[name] for name in self.identities], dtype=np.int64)
        return Bodies(n_frames, frame, slot, identity, self._joints())

    def _body(self, body: int, joints: int) -> int:
        """Note where a body's joints stand; its number of joints is given back."""
        if self.cut and body:
            self.identities.append(b"%d" % body)
        else:
            header = self._line("line of a body").split(None, 1)
            self.identities.append(b"0" if self.cut else header[0] if header else b"")
            joints = self._count("number of joints")
            if self.exact and joints != JOINTS:
                self._refuse(
                    self.at - 1, f"the body has {joints} joints, expected {JOINTS} (Kinect v2)"
                )
        self.rows.append(self.at)
        self.counts.append(joints)
        self.at += joints
        if self.at > len(self.lines):
            self.at = len(self.lines)
            self._truncated("the joints of a body")
        return joints

    def _count(self, what: str) -> int:
        line = self._line(what)
        try:
            count = int(line) if not self.cut else int(float(line))
        except ValueError:
            self._refuse(self.at - 1, f"{what} expected, found {_shown(line)}")
        if count < 0:
            self._refuse(self.at - 1, f"{what} is {count}")
        return count

    def _line(self, what: str) -> bytes:
        if self.at >= len(self.lines) or (
            self.at == len(self.lines) - 1 and not self.lines[self.at].strip()
        ):
            self._truncated(what)
        self.at += 1
        return self.lines[self.at - 1]

    def _joints(self) -> np.ndarray:
        joints = np.zeros((len(self.rows), JOINTS, 3))
        if not self.rows:
            return joints
        kept = np.minimum(self.counts, JOINTS)
        if (kept == JOINTS).all():
            joints[:] = self._numbers(JOINTS).reshape(-1, JOINTS, 3)
        else:  # upstream only: bodies with fewer joints keep zeros behind
            inside = np.arange(JOINTS) < kept[:, None]
            joints[inside] = self._numbers(JOINTS)
        self._check_end()
        if not np.isfinite(joints).all():
            body, joint = np.argwhere(~np.isfinite(joints).all(axis=2))[0]
            line = self.rows[body] + joint
            self._refuse(line, f"joint {joint + 1} is not finite: {_shown(self.lines[line])}")
        return joints

    def _numbers(self, most: int) -> np.ndarray:
        """First three numbers of every joint line: float64 (lines, 3)."""
        words: list[bytes] = []
        total = 0
        for row, count in zip(self.rows, self.counts, strict=True):
            total += min(count, most)
            for line in self.lines[row : row + min(count, most)]:
                words += line.split(None, 3)[:3]
        try:
            if len(words) == 3 * total:
                return np.array(list(map(float, words))).reshape(-1, 3)
        except ValueError:
            pass
        return self._refuse_joint_line(most)

    def _refuse_joint_line(self, most: int) -> NoReturn:
        for row, count in zip(self.rows, self.counts, strict=True):
            for number in range(row, row + min(count, most)):
                words = self.lines[number].split(None, 3)[:3]
                try:
                    whole = len([float(word) for word in words]) == 3
                except ValueError:
                    whole = False
                if not whole:
                    if number >= len(self.lines) - 1:
                        self._truncated("x y z of a joint")
                    self._refuse(
                        number, f"x y z of a joint expected, found {_shown(self.lines[number])}"
                    )
        raise AssertionError("every joint line was whole")

    def _check_end(self) -> None:
        """A file that ends within its very last line has lost columns there."""
        last = self.rows[-1] + self.counts[-1] - 1
        if len(self.lines[last].split()) < len(self.lines[self.rows[0]].split()):
            self.at = last + 1
            self._truncated("all numbers of a joint")

    def _truncated(self, what: str) -> NoReturn:
        raise UserError(
            f"{self.where}: line {self.at}: the file ends where {what} should stand; it is "
            "truncated, extract or download it again"
        )

    def _refuse(self, line: int, what: str) -> NoReturn:
        raise UserError(
            f"{self.where}: line {line + 1}: {what}; the file is damaged or not a .skeleton "
            "file, extract it again or leave it out"
        )


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 40 else text[:40] + "...")

"""Text files of the Caltech Behavior Annotator.

Frames start at 1 and both ends are inclusive: the row ``1 1022 base`` becomes the frames 0 to
1021, start 0 and stop 1022. Each track (``S1``, ``S2`` ...) becomes a task of that name.
"""

from __future__ import annotations

import re
from pathlib import Path

from behaviorzoo.annotations.annotation import Annotation, rows
from behaviorzoo.errors import UserError

SIGNATURE = "Caltech Behavior Annotator"
_TRACK = re.compile(r"(\w+):\s+start\s+end\s+type\s*$")
_RULE = re.compile(r"-{3,}$")


def read_caltech(path: Path, recording: str) -> Annotation:
    """Read one annotation file.

    Args:
        path: The file.
        recording: Name of the recording it belongs to.

    Returns:
        The annotation; its tracks are exclusive.

    Raises:
        UserError: Not such a file, a row that is not ``start end type``, or no track.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not lines[0].lstrip("\ufeff").startswith(SIGNATURE):
        raise UserError(
            f"{path}: the first line is not {SIGNATURE!r}; not an annotation file of it"
        )
    known: set[str] = set()
    tracks: list[str] = []
    bouts: list[tuple[str, int, int, str]] = []
    for number, line in enumerate(lines[1:], start=2):
        text = line.strip()
        header = _TRACK.match(text)
        if header:
            tracks.append(header.group(1))
        elif not text or _RULE.match(text):
            continue
        elif tracks:
            bouts.append((tracks[-1], *_bout(text, path, number)))
        else:  # the configuration: one behaviour and its key per line
            known.add(text.split()[0])
    if not tracks:
        raise UserError(f"{path}: no track in this file (a line such as 'S1: start end type')")
    if len(set(tracks)) < len(tracks):
        raise UserError(f"{path}: a track has two headers: {', '.join(tracks)}")
    notes = [f"track {track!r} is empty" for track in tracks if track not in {b[0] for b in bouts}]
    unlisted = sorted({label for *_, label in bouts} - known)
    if unlisted:
        notes.append(f"not in the file's own list of behaviours: {', '.join(unlisted)}")
    columns = [list(column) for column in zip(*bouts, strict=True)] or [[], [], [], []]
    table = rows("", columns[1], columns[2], columns[3]).assign(task=columns[0])
    return Annotation(recording, table, notes=notes)


def _bout(text: str, path: Path, number: int) -> tuple[int, int, str]:
    fields = text.split(maxsplit=2)
    if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
        raise UserError(f"{path}: line {number}: expected 'start end type', found {text[:60]!r}")
    first, last = int(fields[0]), int(fields[1])
    if first < 1 or last < first:
        raise UserError(
            f"{path}: line {number}: frames {first} to {last}; they start at 1 and the end is "
            "not before the start"
        )
    return first - 1, last, fields[2]

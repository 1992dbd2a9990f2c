"""Exports of BORIS: tabular events (START and STOP rows) and aggregated events (one row each).

BORIS writes seconds. Frame f lasts from f / fps to (f + 1) / fps; it bears a behaviour when its
middle lies within the event. An event without duration marks the one frame it falls in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.annotations.annotation import Annotation, rows
from behaviorzoo.errors import UserError

# Task of the behaviours before it is known whether they overlap.
TASK = "behavior"
_LENGTH = ("Total length", "Total duration", "Media duration (s)", "Observation duration")


@dataclass(frozen=True)
class _Event:
    subject: str
    behavior: str
    start: float
    stop: float


def find_header(lines: list[list[str]]) -> int | None:
    """Number of the line with the names of the columns, behind BORIS's free-form header."""
    for number, cells in enumerate(lines):
        names = {cell.strip() for cell in cells}
        if "Behavior" in names and ("Time" in names or "Start (s)" in names):
            return number
    return None


def read_rows(path: Path) -> list[list[str]]:
    """Cells of a comma- or tab-separated file."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    delimiter = "\t" if text.count("\t") > text.count(",") else ","
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def read_boris(path: Path, recording: str, fps: float | None) -> Annotation:
    """Read one export of BORIS.

    Args:
        path: A csv or tsv file.
        recording: Name of the recording it belongs to.
        fps: Frames per second; default: the column ``FPS`` of the file.

    Returns:
        The annotation with one task ``behavior``; its labels may overlap. With several
        subjects a label is ``SUBJECT_BEHAVIOUR``.

    Raises:
        UserError: Not such a file, no frame rate, or a START without its STOP.
    """
    lines = read_rows(path)
    at = find_header(lines)
    if at is None:
        raise UserError(
            f"{path}: no line with the columns Behavior and Time (or Start (s)); export tabular "
            "or aggregated events from BORIS as csv"
        )
    names = [cell.strip() for cell in lines[at]]
    width = len(names)
    body = [line[:width] + [""] * (width - len(line)) for line in lines[at + 1 :] if any(line)]
    table = pd.DataFrame(body, columns=names, dtype=str)
    table.index = pd.RangeIndex(at + 2, at + 2 + len(table))  # line numbers of the file
    fps, notes = _frame_rate(table, fps, path)
    events = _aggregated(table, path) if "Start (s)" in names else _paired(table, path)
    several = len({event.subject for event in events}) > 1
    labels = [f"{e.subject}_{e.behavior}" if several else e.behavior for e in events]
    start, stop = _frames(events, fps)
    annotation = Annotation(
        recording, rows(TASK, start, stop, labels), exclusive=False, notes=notes
    )
    length = _length(table)
    if length is not None:
        annotation.extent = (0, round(length * fps))
    return annotation


def _paired(table: pd.DataFrame, path: Path) -> list[_Event]:
    """Join each START with the next STOP of the same subject and behaviour."""
    kind_column = next((c for c in ("Status", "Behavior type") if c in table), None)
    if kind_column is None:
        raise UserError(f"{path}: no column Status (START, STOP, POINT) beside Behavior")
    open_events: dict[tuple[str, str], float] = {}
    events = []
    subjects = _column(table, "Subject")
    times = _seconds(table, "Time", path)
    behaviors, kinds = _column(table, "Behavior"), _column(table, kind_column)
    for line, subject, behavior, kind, time in zip(
        table.index, subjects, behaviors, kinds, times, strict=True
    ):
        key = (subject, behavior)
        state = kind.upper()
        if state == "POINT":
            events.append(_Event(subject, behavior, time, time))
        elif state == "START":
            if key in open_events:
                raise UserError(f"{path}: line {line}: {behavior!r} starts twice without a STOP")
            open_events[key] = time
        elif state == "STOP":
            if key not in open_events:
                raise UserError(f"{path}: line {line}: {behavior!r} stops without a START")
            events.append(_Event(subject, behavior, open_events.pop(key), time))
        else:
            raise UserError(f"{path}: line {line}: {kind!r} is not START, STOP or POINT")
    if open_events:
        (_, behavior), time = next(iter(open_events.items()))
        raise UserError(
            f"{path}: {behavior!r} starts at {time:g} s and never stops; mend it in BORIS"
        )
    return events


def _aggregated(table: pd.DataFrame, path: Path) -> list[_Event]:
    start = _seconds(table, "Start (s)", path)
    stop = _seconds(table, "Stop (s)", path) if "Stop (s)" in table else start
    subjects, behaviors = _column(table, "Subject"), _column(table, "Behavior")
    return [_Event(*event) for event in zip(subjects, behaviors, start, stop, strict=True)]


def _frames(events: Iterable[_Event], fps: float) -> tuple[np.ndarray, np.ndarray]:
    """First frame and the one after the last, by the middle of the frames; at least one."""
    start = np.array([event.start for event in events], dtype=np.float64) * fps
    stop = np.array([event.stop for event in events], dtype=np.float64) * fps
    # A time such as 0.1 * 30 misses its frame by rounding: look a millionth of a frame ahead.
    first = np.ceil(start - 0.5 - 1e-6).astype(np.int64)
    last = np.ceil(stop - 0.5 - 1e-6).astype(np.int64)
    short = last <= first
    first[short] = np.floor(start[short] + 1e-6).astype(np.int64)
    last[short] = first[short] + 1
    return first, last


def _frame_rate(table: pd.DataFrame, fps: float | None, path: Path) -> tuple[float, list[str]]:
    stated = pd.to_numeric(pd.Series(_column(table, "FPS")), errors="coerce")
    rates = sorted(set(np.asarray(stated, dtype=float)[np.isfinite(np.asarray(stated, float))]))
    if fps is None:
        if len(rates) != 1 or not rates[0] > 0:
            found = ", ".join(f"{rate:g}" for rate in rates) or "none"
            raise UserError(f"{path}: frame rates in the file: {found}; add --fps N")
        return float(rates[0]), []
    if rates and any(abs(rate - fps) > 1e-3 * fps for rate in rates):
        return fps, [f"the file says {rates[0]:g} frames per second; --fps {fps:g} is used"]
    return fps, []


def _length(table: pd.DataFrame) -> float | None:
    for name in _LENGTH:
        numbers = pd.to_numeric(pd.Series(_column(table, name)), errors="coerce")
        known = np.asarray(numbers, dtype=float)
        known = known[np.isfinite(known)]
        if known.size:
            return float(known.max())
    return None


def _seconds(table: pd.DataFrame, name: str, path: Path) -> list[float]:
    out = []
    for line, text in zip(table.index, _column(table, name), strict=True):
        try:
            out.append(float(text))
        except ValueError:
            raise UserError(
                f"{path}: line {line}, column {name!r}: {text!r} is not a time in seconds"
            ) from None
    return out


def _column(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [""] * len(table)
    return [str(value).strip() for value in table[name]]

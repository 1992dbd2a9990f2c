"""Frame times from the tables of an MP4 or MOV file, without reading its pictures.

Demuxing a long video reads all of it, gigabytes perhaps, to learn what a few kilobytes at one end
of the file say. The tables are those of ISO/IEC 14496-12: decoding times (``stts``), the offset
from decoding to showing (``ctts``), sync samples (``stss``) and the edit list (``elst``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

LARGEST_TABLES = 1 << 30  # bytes; a larger "moov" is a broken size


@dataclass(frozen=True)
class SampleTable:
    """The P packets of a track, in the order of decoding.

    Attributes:
        times: When each is shown (P,), in units of 1 / ``timescale`` seconds.
        keys: Whether decoding can start there (P,).
        timescale: Units per second.
    """

    times: NDArray[np.int64]
    keys: NDArray[np.bool_]
    timescale: int


def read_sample_table(path: Path, track: int) -> SampleTable | None:
    """Read the tables of one track.

    Args:
        path: The file.
        track: Its id in the file.

    Returns:
        None where the tables do not tell all: fragmented files, several or cutting edits, anything
        unexpected. Whoever asks then has to go through the packets.
    """
    try:
        with path.open("rb") as file:
            movie = _movie(file)
        for kind, body in _boxes(movie):
            if kind == b"trak" and _track_id(body) == track:
                return _sample_table(movie, body)
    except (struct.error, ValueError, IndexError, KeyError):
        return None
    return None


def _movie(file: BinaryIO) -> memoryview:
    """The content of the box ``moov``.

    Raises:
        KeyError: There is none.
    """
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        done = 8
        if size == 1:
            (size,), done = struct.unpack(">Q", file.read(8)), 16
        if kind == b"moov" and done < size <= LARGEST_TABLES:
            return memoryview(file.read(size - done))
        if size < done:
            break  # 0: up to the end of the file
        file.seek(size - done, 1)
    raise KeyError("moov")


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of the boxes that follow each other in ``data``."""
    while len(data) >= 8:
        size, kind = struct.unpack_from(">I4s", data)
        start = 8
        if size == 1:
            (size,), start = struct.unpack_from(">Q", data, 8), 16
        if not start <= size <= len(data):
            return
        yield kind, data[start:size]
        data = data[size:]


def _inside(data: memoryview, *path: bytes) -> memoryview | None:
    """Content of the box at a path, None if there is none."""
    found: memoryview | None = data
    for step in path:
        found = next((body for kind, body in _boxes(found) if kind == step), None)
        if found is None:
            return None
    return found


def _needed(data: memoryview, *path: bytes) -> memoryview:
    found = _inside(data, *path)
    if found is None:
        raise KeyError(path[-1].decode())
    return found


def _track_id(track: memoryview) -> int:
    header = _needed(track, b"tkhd")
    return struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]


def _timescale(header: memoryview) -> int:
    """Units per second, of ``mvhd`` or ``mdhd``."""
    return struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]


def _rows(box: memoryview, columns: int) -> NDArray[np.int64]:
    """The table of a box: count, then rows of 32-bit numbers."""
    (count,) = struct.unpack_from(">I", box, 4)
    table = np.frombuffer(box, ">i4", count * columns, offset=8)
    return table.reshape(count, columns).astype(np.int64)


def _sample_table(movie: memoryview, track: memoryview) -> SampleTable | None:
    tables = _needed(track, b"mdia", b"minf", b"stbl")
    counts, steps = _rows(_needed(tables, b"stts"), 2).T
    if len(counts) == 0 or (counts < 0).any() or (steps < 0).any():
        return None
    step = np.repeat(steps, counts)
    times = np.cumsum(step) - step
    total = len(times)
    offsets = _inside(tables, b"ctts")
    if offsets is not None:
        runs, values = _rows(offsets, 2).T
        if runs.sum() != total:
            return None
        times = times + np.repeat(values, runs)
    sync = _inside(tables, b"stss")
    keys = np.ones(total, bool)
    if sync is not None:
        keys[:] = False
        keys[_rows(sync, 1)[:, 0] - 1] = True
    timescale = _timescale(_needed(track, b"mdia", b"mdhd"))
    shift = _edit(movie, track, timescale, int(times.max(initial=0)))
    return None if shift is None else SampleTable(times + shift, keys, timescale)


def _edit(movie: memoryview, track: memoryview, timescale: int, last: int) -> int | None:
    """What the edit list adds to the times; None where it also leaves frames out."""
    box = _inside(track, b"edts", b"elst")
    if box is None:
        return 0
    (count,) = struct.unpack_from(">I", box, 4)
    form = ">QqI" if box[0] == 1 else ">IiI"
    entries = list(struct.iter_unpack(form, box[8 : 8 + count * struct.calcsize(form)]))
    delay = 0
    if entries and entries[0][1] == -1:  # an empty edit: the track starts later
        delay = entries.pop(0)[0]
    if len(entries) != 1:
        return None if entries or delay else 0
    duration, start, rate = entries[0]
    movie_scale = _timescale(_needed(movie, b"mvhd"))
    end = start + duration * timescale / movie_scale
    if rate != 1 << 16 or (duration and last >= end):
        return None
    return round(delay * timescale / movie_scale) - start

"""Tracker files become recordings, with the frame numbers that the tracker wrote.

Every format that the library ``movement`` knows goes through it (extra ``[poses]``); what it
does not know (JABS, SLEAP tables) is read here. Whatever is odd about a file is noted in words.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.importers.detect import SOURCES, agree, check_source, detect_source

if TYPE_CHECKING:
    import xarray as xr

    from behaviorzoo.importers.tracks import Tracks

__all__ = ["SOURCES", "ImportOptions", "import_poses", "read_poses", "recording_name"]


@dataclass(frozen=True)
class ImportOptions:
    """What the user may say about the files; the defaults change nothing.

    Attributes:
        source: One of ``SOURCES`` or ``auto``.
        fps: Frames per second; needed unless the file says so.
        first_frame: Frame number of the first row, for files that store none.
        zero_is_missing: Points at exactly zero become NaN.
        min_confidence: Points with a lower confidence become NaN.
        max_individuals: Join track fragments into this many individuals.
        rename: New names of key points.
        missing: Policy for missing points: keep, interpolate, mask.
        max_gap: Longest gap to interpolate, in frames.
    """

    source: str = "auto"
    fps: float | None = None
    first_frame: int | None = None
    zero_is_missing: bool = False
    min_confidence: float | None = None
    max_individuals: int | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    missing: str = "keep"
    max_gap: int | None = None


def import_poses(
    path: str | Path, name: str | None = None, options: ImportOptions | None = None
) -> tuple[xr.Dataset, list[str]]:
    """Read a tracker file and make a recording of it.

    Args:
        path: The file, as it is or with ``.gz``.
        name: Name of the recording; default: see :func:`recording_name`.
        options: What else is known about the file.

    Returns:
        The recording, and notes for the user about what was odd, changed or assumed.

    Raises:
        UserError: The file cannot be read; the line says why.
    """
    from behaviorzoo.importers import tracks as steps
    from behaviorzoo.importers.fragments import merge_fragments, note_fragments
    from behaviorzoo.missing import handle_missing

    options = options or ImportOptions()
    where = str(path)
    tracks = read_poses(path, options.source)
    if options.first_frame is not None:
        tracks = steps.set_first_frame(tracks, options.first_frame, where)
    else:
        tracks = steps.note_unnumbered(tracks)
    tracks = steps.infinite_as_missing(steps.ordered(tracks, where))
    tracks = steps.handle_zeros(tracks, options.zero_is_missing)
    if options.min_confidence is not None:
        tracks = steps.drop_unsure(tracks, options.min_confidence, where)
    if options.max_individuals is not None:
        tracks = merge_fragments(tracks, options.max_individuals, where)
    tracks = note_fragments(tracks)
    tracks = steps.rename_keypoints(tracks, options.rename, where)
    tracks = steps.note_never_seen(tracks)
    fps = _frame_rate(tracks, options.fps, where)
    ds = tracks.to_recording(name or recording_name(path), fps, Path(path).name)
    return handle_missing(ds, options.missing, options.max_gap), tracks.notes


def read_poses(path: str | Path, source: str = "auto") -> Tracks:
    """Read a tracker file without changing anything in it.

    Args:
        path: The file, as it is or with ``.gz``.
        source: One of ``SOURCES``, or ``auto`` to tell it from the file.

    Returns:
        The tracks.

    Raises:
        UserError: The file cannot be read; the line says why.
    """
    check_source(source)
    path = existing_file(path, "pose file")
    where = str(path)
    with _decompressed(path) as plain:
        software = agree(source, detect_source(plain, where), where)
        return _reader(software)(plain, where)


def recording_name(path: str | Path, pattern: str | None = None) -> str:
    """Name of the recording of a tracker file.

    A DeepLabCut track ``14DLC_dlcrnet...csv.gz`` is ``14``: what stands before the first "DLC".
    Any other file is called by its name without the suffixes.

    Args:
        path: The file.
        pattern: Regular expression with one group that finds the name in the file name.

    Returns:
        The name.

    Raises:
        UserError: The pattern is no regular expression with one group, or finds nothing.
    """
    file_name = Path(path).name
    if pattern is not None:
        return name_by_pattern(file_name, pattern)
    stem = re.sub(r"\.gz$", "", file_name, flags=re.IGNORECASE)
    stem = re.sub(r"(\.analysis|\.predictions)*\.[A-Za-z0-9]+$", "", stem) or stem
    before_network = re.match(r"(.+?)DLC_", stem)
    return before_network.group(1).rstrip("_-. ") if before_network else stem


def name_by_pattern(file_name: str, pattern: str) -> str:
    """Find a name with a regular expression of one group.

    Raises:
        UserError: The pattern is no such expression, or finds nothing.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--name-pattern {pattern!r} is no regular expression ({error})") from error
    if expression.groups != 1:
        raise UserError(f"--name-pattern {pattern!r} needs one group, such as '(.+)_tracks'")
    found = expression.search(file_name)
    if found is None or not found.group(1):
        raise UserError(f"{file_name}: --name-pattern {pattern!r} finds no name in it")
    return found.group(1)


def _reader(software: str) -> Callable[[Path, str], Tracks]:
    if software in ("deeplabcut", "lightningpose"):
        from behaviorzoo.importers.deeplabcut import read_deeplabcut

        return lambda path, where: read_deeplabcut(path, where, software)
    if software == "sleap":
        from behaviorzoo.importers.sleap import read_sleap

        return read_sleap
    if software == "anipose":
        from behaviorzoo.importers.anipose import read_anipose

        return read_anipose
    if software == "nwb":
        from behaviorzoo.importers.nwb import read_nwb

        return read_nwb
    from behaviorzoo.importers.jabs import read_jabs

    return read_jabs


@contextmanager
def _decompressed(path: Path) -> Iterator[Path]:
    """Give the file itself, or its content without ``.gz`` in a temporary folder."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="behaviorzoo-") as folder:
        plain = Path(folder) / path.stem
        try:
            with gzip.open(path, "rb") as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: not gzip, or damaged or truncated ({error})") from error
        yield existing_file(plain, "pose file")


def _frame_rate(tracks: Tracks, fps: float | None, where: str) -> float:
    if fps is None and tracks.fps is None:
        raise UserError(f"{where}: the file does not say its frame rate; add --fps N")
    if fps is None:
        assert tracks.fps is not None
        return tracks.fps
    if not 0 < fps < float("inf"):
        raise UserError(f"{where}: --fps must be a positive number, got {fps}")
    if tracks.fps is not None and abs(tracks.fps - fps) > 1e-3 * fps:
        tracks.notes.append(
            f"the file says {tracks.fps:g} frames per second; --fps {fps:g} is used"
        )
    return fps

"""Which software wrote a file: told from its suffix and its first bytes, never guessed."""

from __future__ import annotations

import csv
from pathlib import Path

from behaviorzoo.errors import UserError, suggest

SOURCES = ("deeplabcut", "sleap", "lightningpose", "anipose", "nwb", "jabs")
TABLE_SUFFIXES = (".csv",)
HDF5_SUFFIXES = (".h5", ".hdf5", ".slp", ".nwb")
POSE_SUFFIXES = TABLE_SUFFIXES + HDF5_SUFFIXES
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".webm", ".m4v")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
PICKLE_SUFFIXES = (".pickle", ".pkl", ".npy")
READABLE = "csv, h5, slp and nwb files (also .gz) of " + ", ".join(SOURCES)


def detect_source(path: Path, where: str) -> str:
    """Name the software whose layout a file has.

    Args:
        path: The file, not compressed.
        where: Name for the message.

    Returns:
        One of ``SOURCES``. A Lightning Pose table is laid out as one of DeepLabCut and
        is called ``deeplabcut``.

    Raises:
        UserError: A file that holds no poses, or an unknown layout; it says which.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        raise UserError(
            f"{where}: this is a video; import the tracker's output, such as {READABLE}"
        )
    if suffix in IMAGE_SUFFIXES:
        raise UserError(
            f"{where}: this is an image; import the tracker's output, such as {READABLE}"
        )
    if suffix in PICKLE_SUFFIXES:
        raise UserError(
            f"{where}: pickled files can run code and are not read; export the tracks as csv or h5"
        )
    if suffix == ".nc":
        raise UserError(f"{where}: this is a netCDF file; a recording needs no import")
    if suffix in TABLE_SUFFIXES:
        return _detect_table(path, where)
    if suffix in HDF5_SUFFIXES:
        return _detect_hdf5(path, where)
    raise UserError(
        f"{where}: unknown kind of file {suffix or '(no suffix)'!r}; read are {READABLE}"
    )


def check_source(source: str) -> None:
    """Refuse an unknown name of a source, naming the nearest.

    Raises:
        UserError: ``source`` is neither ``auto`` nor one of ``SOURCES``.
    """
    if source not in (*SOURCES, "auto"):
        raise UserError(f"unknown source {source!r}; {suggest(source, (*SOURCES, 'auto'))}")


def agree(source: str, detected: str, where: str) -> str:
    """The source to use, given what the user said and what the file looks like.

    Raises:
        UserError: They contradict each other.
    """
    same_table = {"lightningpose", "deeplabcut"}
    if source == "auto" or source == detected:
        return detected
    if {source, detected} == same_table:
        return source
    raise UserError(
        f"{where}: this is a file of {detected}, not of {source}; say --source {detected}"
    )


def _detect_table(path: Path, where: str) -> str:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            header = next(csv.reader(handle), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: this is not a text table ({error})") from error
    cells = [cell.strip() for cell in header]
    if cells and cells[0] == "scorer":
        return "deeplabcut"
    if {"track", "frame_idx"} <= set(cells):
        return "sleap"
    if any(cell.endswith("_z") for cell in cells) and any(c.endswith("_score") for c in cells):
        return "anipose"
    shown = ", ".join(cells[:4]) or "nothing"
    raise UserError(
        f"{where}: no header of a known tracker; it begins with {shown[:80]!r}, expected 'scorer' "
        "(DeepLabCut, Lightning Pose), 'track, frame_idx' (SLEAP) or 'NAME_x, NAME_y, NAME_z, "
        "NAME_score' (Anipose)"
    )


def _detect_hdf5(path: Path, where: str) -> str:
    import h5py

    try:
        with h5py.File(path) as file:
            names = set(file)
            if file.attrs.get("neurodata_type") in ("NWBFile", b"NWBFile"):
                return "nwb"
            if "poseest" in names:
                return "jabs"
            if {"tracks", "node_names"} <= names or {"frames", "instances", "metadata"} <= names:
                return "sleap"
            if any("pandas_type" in file[name].attrs for name in names):
                return "deeplabcut"
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{where}: not an HDF5 file, or damaged or truncated ({error})") from error
    shown = ", ".join(sorted(names)[:6]) or "nothing"
    raise UserError(f"{where}: no layout of a known tracker; the file holds {shown}")

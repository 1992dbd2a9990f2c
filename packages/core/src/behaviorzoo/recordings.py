"""Pose recordings as an ``xarray.Dataset``, in memory and as netCDF files.

The convention is that of the library ``movement``, with two firm points: ``time`` holds the
frame numbers of the SOURCE (a file that starts at frame 155 starts at 155), and a missing point
is NaN.

    position    (time, space, keypoints, individuals)  float32
    confidence  (time, keypoints, individuals)         float32, optional
    time        int64, contiguous; space x, y[, z]; keypoints and individuals are names
    attributes  name, fps, source, source_file, time_unit = "frames"

Letters: T frames, S space (2 or 3), K key points, I individuals.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.missing import handle_missing, missing_report, observed_points

__all__ = [
    "DIMS",
    "SUFFIX",
    "find_recordings",
    "frame_range",
    "handle_missing",
    "load_recording",
    "make_recording",
    "missing_report",
    "natural_key",
    "observed_points",
    "save_recording",
    "validate_recording",
]

SUFFIX = ".nc"
DIMS = ("time", "space", "keypoints", "individuals")
CONFIDENCE_DIMS = ("time", "keypoints", "individuals")
SPACE = ("x", "y", "z")
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def make_recording(
    position: np.ndarray,
    *,
    keypoints: Sequence[str],
    individuals: Sequence[str],
    fps: float,
    name: str,
    confidence: np.ndarray | None = None,
    first_frame: int = 0,
    source: str = "array",
    **attrs: object,
) -> xr.Dataset:
    """Build a recording from arrays.

    Args:
        position: Coordinates (T, S, K, I), S = 2 or 3; NaN where a point is missing.
        keypoints: K names.
        individuals: I names.
        fps: Frames per second.
        name: Name of the recording: the key in label tables and embedding files.
        confidence: Confidence of the tracker (T, K, I), if there is one.
        first_frame: Frame number of the first row in the source.
        source: Software the coordinates come from.
        **attrs: Further attributes; None is left out.

    Returns:
        The recording.

    Raises:
        UserError: Sizes do not fit, a name is used twice, or ``fps`` is not positive.

    Example:
        >>> position = np.zeros((100, 2, 3, 1), dtype=np.float32)
        >>> names = ["nose", "body", "tail"]
        >>> ds = make_recording(
        ...     position, keypoints=names, individuals=["mouse"], fps=30, name="day1"
        ... )
        >>> dict(ds.sizes)
        {'time': 100, 'space': 2, 'keypoints': 3, 'individuals': 1}
    """
    position = np.asarray(position, dtype=np.float32)
    if position.ndim != 4 or position.shape[1] not in (2, 3):
        raise UserError(
            f"recording {name!r}: position has shape {position.shape}, "
            "expected (frames, 2 or 3, keypoints, individuals)"
        )
    n_frames, n_space, n_keypoints, n_individuals = position.shape
    if (n_keypoints, n_individuals) != (len(keypoints), len(individuals)):
        raise UserError(
            f"recording {name!r}: position has {n_keypoints} key points and {n_individuals} "
            f"individuals, but {len(keypoints)} and {len(individuals)} names were given"
        )
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {"position": (DIMS, position)}
    if confidence is not None:
        confidence = np.asarray(confidence, dtype=np.float32)
        if confidence.shape != (n_frames, n_keypoints, n_individuals):
            raise UserError(
                f"recording {name!r}: confidence has shape {confidence.shape}, expected "
                f"{(n_frames, n_keypoints, n_individuals)}"
            )
        variables["confidence"] = (CONFIDENCE_DIMS, confidence)
    ds = xr.Dataset(
        variables,
        coords={
            "time": np.arange(first_frame, first_frame + n_frames, dtype=np.int64),
            "space": list(SPACE[:n_space]),
            "keypoints": [str(keypoint) for keypoint in keypoints],
            "individuals": [str(individual) for individual in individuals],
        },
        attrs={
            "name": str(name),
            "fps": float(fps),
            "source": source,
            "source_file": "",
            "time_unit": "frames",
        }
        | {key: value for key, value in attrs.items() if value is not None},
    )
    validate_recording(ds, f"recording {name!r}")
    return ds


def save_recording(ds: xr.Dataset, path: str | Path) -> None:
    """Write a recording as netCDF; the final name appears only when the file is whole.

    Args:
        ds: The recording.
        path: Target, with the suffix ``.nc``; its stem is the name the recording will have.

    Raises:
        UserError: Not a valid recording, or the file cannot be written.
    """
    path = Path(path)
    validate_recording(ds, str(path))
    ds = ds.assign_attrs(name=path.stem)
    encoding = {str(name): {"zlib": True, "complevel": 1} for name in ds.data_vars}
    with atomic_path(path) as temporary:
        ds.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def load_recording(path: str | Path) -> xr.Dataset:
    """Read a recording into memory.

    Args:
        path: A netCDF file of the convention above.

    Returns:
        The recording; its attribute ``name`` is the stem of the file.

    Raises:
        UserError: No such file, not netCDF, truncated, or not a recording.
    """
    path = _netcdf4_file(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            ds = opened.load()
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: the file is damaged or truncated ({_one_line(error)}); write it again"
        ) from error
    ds.attrs["name"] = path.stem
    for variable in ds.variables.values():
        # The storage layout of one file must not be forced on the next one written.
        variable.encoding.clear()
    validate_recording(ds, str(path))
    return ds


def frame_range(path: str | Path) -> tuple[int, int]:
    """First frame number of a recording and the one after its last; the poses are not read.

    Raises:
        UserError: See :func:`load_recording`.
    """
    path = _netcdf4_file(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            time = opened["time"].to_numpy()
            return int(time[0]), int(time[-1]) + 1
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path}: not a recording, or damaged ({_one_line(error)})") from error


def find_recordings(path: str | Path | Iterable[str | Path]) -> list[Path]:
    """List the recordings that a path means.

    Args:
        path: A file, a folder (its ``*.nc`` files), a glob pattern, or several of these.

    Returns:
        The files, in natural order within each folder or pattern (``2.nc`` before ``10.nc``).

    Raises:
        UserError: Nothing found, or two files with the same name (they would share one key).
    """
    if isinstance(path, (str, Path)):
        found = _expand(path)
    else:
        found = [file for item in path for file in _expand(item)]
        if not found:
            raise UserError("no recording was given; name files or folders with *.nc files")
    seen: dict[str, Path] = {}
    for file in found:
        other = seen.setdefault(file.stem, file)
        if other is not file and other.resolve() != file.resolve():
            raise UserError(
                f"two recordings are named {file.stem!r}: {other} and {file}; rename one"
            )
    return list(seen.values())


def validate_recording(ds: xr.Dataset, where: str) -> None:
    """Check that a dataset follows the convention.

    Args:
        ds: The dataset.
        where: File or name for the message.

    Raises:
        UserError: The first violated rule, with ``where``.
    """
    if "position" not in ds.data_vars:
        names = [str(name) for name in ds.data_vars]
        hint = suggest("position", names) if names else "it has no variable at all"
        raise UserError(f"{where}: not a recording, the variable 'position' is missing; {hint}")
    _check_variable(ds, "position", DIMS, where)
    if "confidence" in ds.data_vars:
        _check_variable(ds, "confidence", CONFIDENCE_DIMS, where)
    for dim in DIMS:
        if dim not in ds.coords:
            raise UserError(f"{where}: the coordinate {dim!r} is missing")
    if min(ds.sizes[dim] for dim in DIMS) == 0:
        raise UserError(f"{where}: the recording is empty, its sizes are {dict(ds.sizes)}")
    time = ds["time"].to_numpy()
    if not np.issubdtype(time.dtype, np.integer) or (np.diff(time) != 1).any():
        raise UserError(
            f"{where}: 'time' must hold contiguous integer frame numbers (a gap is filled with "
            f"NaN rows), found {time.dtype} from {time[0]} to {time[-1]} in {len(time)} rows"
        )
    space = tuple(ds["space"].to_numpy().astype(str))
    if space not in (SPACE[:2], SPACE):
        raise UserError(f"{where}: 'space' must be x, y or x, y, z, found {', '.join(space)}")
    for dim in ("keypoints", "individuals"):
        names = ds[dim].to_numpy().astype(str)
        unique, counts = np.unique(names, return_counts=True)
        if (counts > 1).any():
            raise UserError(f"{where}: {dim} has the name {str(unique[counts.argmax()])!r} twice")
    fps = ds.attrs.get("fps")
    if not isinstance(fps, (int, float, np.number)) or not np.isfinite(fps) or fps <= 0:
        raise UserError(f"{where}: the attribute fps must be a positive number, found {fps!r}")
    if np.isinf(ds["position"].to_numpy()).any():
        raise UserError(f"{where}: 'position' holds infinite values; a missing point is NaN")


def natural_key(path: str | Path) -> list[tuple[int, int, str]]:
    """Key that sorts ``2`` before ``10`` within names."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in parts]


def _expand(path: str | Path) -> list[Path]:
    folder = Path(path).expanduser()
    if folder.is_dir():
        found = sorted(folder.glob(f"*{SUFFIX}"), key=natural_key)
        if not found:
            inside = next(iter(sorted(folder.glob(f"*/*{SUFFIX}"))), None)
            hint = f"did you mean {inside.parent}?" if inside else "`behaviorzoo import` makes them"
            raise UserError(f"{folder}: zero recordings (*{SUFFIX}) in this folder; {hint}")
        return found
    if folder.exists():
        return [folder]
    found = sorted(map(Path, glob.glob(str(folder))), key=natural_key)
    found = [file for file in found if file.is_file()]
    if not found:
        raise UserError(f"{path}: no such recording; give a {SUFFIX} file, a folder or a pattern")
    return found


def _netcdf4_file(path: str | Path) -> Path:
    path = existing_file(path, "recording")
    with path.open("rb") as handle:
        signature = handle.read(len(HDF5_SIGNATURE))
    if signature != HDF5_SIGNATURE:
        raise UserError(
            f"{path}: this is not a netCDF-4 file; pose tables become recordings with "
            "`behaviorzoo import`"
        )
    return path


def _check_variable(ds: xr.Dataset, name: str, dims: tuple[str, ...], where: str) -> None:
    if ds[name].dims != dims:
        raise UserError(
            f"{where}: the variable {name!r} has the dimensions {_names(ds[name].dims)}, "
            f"expected {_names(dims)}"
        )
    if not np.issubdtype(ds[name].dtype, np.floating):
        raise UserError(f"{where}: the variable {name!r} is {ds[name].dtype}, expected float32")


def _names(dims: Iterable[object]) -> str:
    return "(" + ", ".join(map(str, dims)) + ")"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

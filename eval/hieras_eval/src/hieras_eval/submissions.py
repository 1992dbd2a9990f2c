"""Submissions: the embeddings of all frames, and which rows belong to which clip."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from behaviorzoo.mabe import frame_ranges, load_dictionary, required
from hieras_eval.benchmarks import Benchmark

_WHAT = "a submission: a dictionary with 'frame_number_map' and 'embeddings'"
_MOST_NAMES = 5
_CHECKED_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class Submission:
    """Embeddings of all frames.

    Attributes:
        path: The file.
        clips: Clip -> rows [start, stop).
        embeddings: (N, D) float32 of any byte order; left on the disk where the file permits.
    """

    path: Path
    clips: Mapping[str, tuple[int, int]]
    embeddings: np.ndarray


def open_submission(path: str | Path) -> Submission:
    """Read a submission without running anything that is in it.

    Two forms are known: the authors' ``.npy`` with a pickled dictionary ``frame_number_map``
    (clip -> (start, stop)) and ``embeddings`` (N, D), and an ``.npz`` with the arrays ``names``,
    ``starts``, ``stops`` (or ``ends``) and ``embeddings``, which needs no pickle at all.

    Raises:
        UserError: Not such a file; a part is missing; embeddings that are not a 2-D float32
            array with rows and columns.
    """
    path = existing_file(path, "submission")
    contents = _read_npz(path) if zipfile.is_zipfile(path) else _read_npy(path)
    clips = frame_ranges(required(contents, "frame_number_map", path), path)
    embeddings = required(contents, "embeddings", path)
    _check_array(embeddings, path)
    return Submission(path, clips, embeddings)


def check_submission(
    submission: Submission,
    benchmark: Benchmark,
    n_label_rows: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Refuse a submission that does not belong to the benchmark, before anything is fitted.

    Args:
        submission: What was opened.
        benchmark: What it is to be scored on.
        n_label_rows: Frames in the labels (N); the embeddings must have as many.
        progress: Told ``reading``, how many rows are read, and of how many.

    Returns:
        Warnings, one sentence each.

    Raises:
        UserError: Clips missing or at other rows, too many features, a wrong number of rows,
            values that are not finite.
    """
    path, embeddings = submission.path, submission.embeddings
    missing = [clip for clip in benchmark.clips if clip not in submission.clips]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the {len(benchmark.clips)} clips of {benchmark.name} are "
            f"missing from 'frame_number_map': {_listed(missing)}; embed them too"
        )
    for clip, wanted in benchmark.clips.items():
        if submission.clips[clip] != wanted:
            raise UserError(
                f"{path}: clip {clip!r} has the rows {list(submission.clips[clip])}, "
                f"{benchmark.name} wants {list(wanted)}"
            )
    if benchmark.max_width is not None and embeddings.shape[1] > benchmark.max_width:
        raise UserError(
            f"{path}: embeddings {embeddings.shape} have {embeddings.shape[1]} features, "
            f"{benchmark.name} allows {benchmark.max_width}; reduce them, for example by PCA"
        )
    if n_label_rows is not None and len(embeddings) != n_label_rows:
        raise UserError(
            f"{path}: {len(embeddings)} rows of embeddings, {n_label_rows} frames in the labels; "
            "there must be one row per frame"
        )
    last = max(stop for _, stop in benchmark.clips.values())
    if last > len(embeddings):
        raise UserError(
            f"{path}: {len(embeddings)} rows of embeddings, the last clip ends at row {last}"
        )
    _check_finite(submission, progress)
    extra = [clip for clip in submission.clips if clip not in benchmark.clips]
    if not extra:
        return []
    return [
        f"{path.name}: {len(extra)} clip{'s' if len(extra) > 1 else ''} of the submission "
        f"unknown to {benchmark.name}, not scored: {_listed(extra)}."
    ]


def _read_npy(path: Path) -> dict[Any, Any]:
    return load_dictionary(path, memory_map=True, what=_WHAT)


def _read_npz(path: Path) -> dict[str, Any]:
    """The form without pickles, as the dictionary of the other one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            stops = "ends" if "ends" in archive.files else "stops"
            for key in ("names", "starts", stops, "embeddings"):
                required(dict.fromkeys(archive.files), key, path)
            names, starts, ends = (
                np.asarray(archive[key]).tolist() for key in ("names", "starts", stops)
            )
            embeddings = archive["embeddings"]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); write it again") from error
    lists = (names, starts, ends)
    if not all(isinstance(entries, list) for entries in lists) or len(set(map(len, lists))) > 1:
        raise UserError(
            f"{path}: 'names', 'starts' and {stops!r} must be equally long, one entry per clip"
        )
    ranges = zip(starts, ends, strict=True)
    return {"frame_number_map": dict(zip(names, ranges, strict=True)), "embeddings": embeddings}


def _check_array(embeddings: Any, path: Path) -> None:
    if not isinstance(embeddings, np.ndarray):
        raise UserError(
            f"{path}: 'embeddings' is a {type(embeddings).__name__}, "
            "expected a float32 array (frames, features)"
        )
    if embeddings.ndim != 2:
        raise UserError(
            f"{path}: 'embeddings' has the shape {embeddings.shape}, "
            "expected 2-D (frames, features)"
        )
    if embeddings.dtype.newbyteorder("=") != np.float32:
        raise UserError(
            f"{path}: 'embeddings' is {embeddings.dtype}, expected float32; "
            "save it again with .astype(np.float32)"
        )
    if 0 in embeddings.shape:
        raise UserError(
            f"{path}: 'embeddings' has the shape {embeddings.shape}: no "
            f"{'rows' if len(embeddings) == 0 else 'columns'}; write it again"
        )


def _check_finite(submission: Submission, progress: Callable[[str, int, int], None] | None) -> None:
    embeddings = submission.embeddings
    count, first = 0, None
    for start in range(0, len(embeddings), _CHECKED_ROWS):
        block = embeddings[start : start + _CHECKED_ROWS]
        if progress:
            progress("reading", start + len(block), len(embeddings))
        # A sum is finite if all its terms are (unless it overflows, which the second look tells).
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):
                continue
        rows, _ = np.nonzero(~np.isfinite(block))
        count += len(rows)
        if first is None and len(rows):
            first = start + int(rows[0])
    if first is not None:
        raise UserError(
            f"{submission.path}: {count} entries of the embeddings are not finite (NaN or "
            f"infinity), the first in row {first} ({_clip_of(first, submission.clips)}); "
            "embed these frames again"
        )


def _clip_of(row: int, clips: Mapping[str, tuple[int, int]]) -> str:
    for clip, (start, stop) in clips.items():
        if start <= row < stop:
            return f"clip {clip!r}"
    return "in no clip"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = len(names) - _MOST_NAMES
    return ", ".join(map(repr, names[:_MOST_NAMES])) + (f" and {more} more" if more > 0 else "")

"""Scores of one stream from a file, and several streams brought into one order.

Letters: N samples, C classes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from hysp.data.arrays import read_label_file

PROTOCOLS = ("linear", "semi", "supervised", "knn", "transfer", "fused")
"""Levels of an evaluation that are no baselines."""


@dataclass(frozen=True)
class StreamScores:
    """Scores of one stream.

    Attributes:
        logits: (N, C).
        labels: int64 (N,).
        names: N names; empty where the file has none.
        groups: N names of what is not torn apart in folds; empty where the file has none.
        classes: C names; empty where the file has none.
        where: The file.
    """

    logits: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    classes: np.ndarray
    where: Path


def read_stream(
    path: str | Path, labels: str | Path | None = None, *, task: str = "", level: str = ""
) -> StreamScores:
    """Read the scores of one stream.

    Args:
        path: Folder of an evaluation, an ``.npz`` of it, or an ``.npy`` of scores (N, C).
        labels: Label file for an ``.npy``: the original's ``.pkl``, or ``.npy``.
        task: Which task, where a folder has several.
        level: Which protocol, where a folder has several.

    Raises:
        UserError: No such file, damaged, not scores, or values that are not finite.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = _scores_in(path, task, level)
    path = existing_file(path, "scores")
    found = _read_npz(path) if path.suffix == ".npz" else _read_npy(path, labels)
    logits, truth = found["logits"], found["labels"]
    if logits.ndim != 2 or logits.dtype.kind not in "fiu" or truth.shape != (len(logits),):
        raise UserError(
            f"{path}: scores {logits.shape} and labels {truth.shape}; expected (samples, classes) "
            "and one label for each sample"
        )
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():
        raise UserError(f"{path}: scores of sample {int(bad.argmax())} are not finite")
    if truth.max(initial=0) >= logits.shape[1]:
        raise UserError(
            f"{path}: label {int(truth.max())}, but there are {logits.shape[1]} classes, from 0"
        )
    names, groups, classes = (
        found.get(name, np.array([], dtype=str)) for name in ("names", "groups", "classes")
    )
    return StreamScores(logits, truth.astype(np.int64), names, groups, classes, path)


def aligned(streams: Sequence[StreamScores]) -> list[StreamScores]:
    """The streams with their samples in the order of the first, unlabelled ones left out.

    Raises:
        UserError: Other samples, labels or classes in one of them.
    """
    first = streams[0]
    found = []
    for stream in streams:
        if stream.logits.shape != first.logits.shape:
            raise UserError(
                f"{stream.where}: scores {stream.logits.shape}, but {first.where} has "
                f"{first.logits.shape}; all streams need the same samples and classes"
            )
        if len(stream.names) and len(first.names):
            stream = _ordered(stream, first)
        if not np.array_equal(stream.labels, first.labels):
            at = int((stream.labels != first.labels).argmax())
            raise UserError(f"{stream.where}: another label of sample {at} than in {first.where}")
        both = len(stream.classes) and len(first.classes)
        if both and stream.classes.tolist() != first.classes.tolist():
            raise UserError(f"{stream.where}: other classes than in {first.where}")
        found.append(stream)
    labelled = first.labels >= 0
    if not labelled.any():
        raise UserError(f"{first.where}: no sample has a label")
    return [_rows(stream, np.flatnonzero(labelled)) for stream in found]


def _scores_in(folder: Path, task: str, level: str) -> Path:
    files = sorted((folder / "scores").glob("*.npz"))
    if not files:
        raise UserError(f"{folder}: no scores/*.npz in it; is it a folder of `hysp evaluate`?")
    chosen = [file for file in files if file.stem.startswith(task) and file.stem.endswith(level)]
    if not level and len(chosen) > 1:  # what was evaluated, not the baselines beside it
        chosen = [file for file in chosen if file.stem.rpartition("_")[2] in PROTOCOLS] or chosen
    if len(chosen) != 1:
        names = ", ".join(file.stem for file in chosen or files)
        raise UserError(
            f"{folder}: {len(chosen)} scores fit task {task!r} and level {level!r}; choose with "
            f"--task and --level, or give the file ({names})"
        )
    return chosen[0]


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: truncated, or not an npz of arrays") from error
    absent = [name for name in ("logits", "labels") if name not in found]
    if absent:
        raise UserError(f"{path}: no array {absent[0]!r}; {suggest(absent[0], found)}")
    return found


def _read_npy(path: Path, labels: str | Path | None) -> dict[str, np.ndarray]:
    if labels is None:
        raise UserError(f"{path}: an array of scores has no labels in it; give --labels FILE")
    try:
        logits = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: truncated, or not an npy array of numbers") from error
    names, truth = read_label_file(labels)
    return {"logits": logits, "labels": truth} | ({"names": np.array(names)} if names else {})


def _ordered(stream: StreamScores, first: StreamScores) -> StreamScores:
    """The samples of a stream in the order of another one, by their names."""
    if stream.names.tolist() == first.names.tolist():
        return stream
    place = {name: row for row, name in enumerate(stream.names.tolist())}
    absent = [name for name in first.names.tolist() if name not in place]
    if absent or len(place) != len(stream.names):
        what = f"no sample {absent[0]!r}" if absent else "names that occur twice"
        raise UserError(f"{stream.where}: {what}, compared with {first.where}")
    return _rows(stream, np.array([place[name] for name in first.names.tolist()]))


def _rows(stream: StreamScores, rows: np.ndarray) -> StreamScores:
    return replace(
        stream,
        logits=stream.logits[rows],
        labels=stream.labels[rows],
        names=stream.names[rows] if len(stream.names) else stream.names,
        groups=stream.groups[rows] if len(stream.groups) else stream.groups,
    )

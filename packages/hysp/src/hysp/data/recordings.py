"""Clips of any recording: rows of a label table, or sliding windows, with a graph of joints.

Letters: N clips, T frames of a clip, C coordinates, V joints, M persons (individuals), I, K, D the
same of a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.labels import COLUMNS, read_labels
from behaviorzoo.poses.config import PoseConfig
from behaviorzoo.poses.selection import Selection, choose, read_positions, recording_files
from behaviorzoo.recordings import load_recording
from behaviorzoo.skeleton import skeleton_edges
from hysp.data.clips import ClipMaker, DroppedClip, fitted_scale
from hysp.data.config import ClipConfig, DataConfig
from hysp.data.prepared import DROPPED_COLUMNS, Description
from hysp.data.skeleton import Skeleton, middle_joint, mirror_order

if TYPE_CHECKING:
    import xarray as xr

SIDES = ("train", "val", "")


class Source(NamedTuple):
    """One recording as clips are cut from it.

    Attributes:
        name: Key in the label table.
        where: File, for messages.
        first_frame: The source's number of the first frame.
        positions: float32 (frames, I, K, D), missing points NaN.
    """

    name: str
    where: str
    first_frame: int
    positions: np.ndarray


@dataclass(frozen=True)
class Clips:
    """Clips with their table.

    Attributes:
        array: float32 (N, C, T, V, M), an absent individual 0.
        table: A row a clip: name, group, tasks, benchmarks, recording, start, stop.
        dropped: Stretches that made no clip, with the reason.
        description: Skeleton, tasks, state.
        notes: What the user should know.
    """

    array: np.ndarray
    table: pd.DataFrame
    dropped: pd.DataFrame
    description: Description
    notes: list[str] = field(default_factory=list)


def clips_of_recordings(config: DataConfig, state: Mapping[str, Any] | None = None) -> Clips:
    """Cut the clips that the configuration asks for from recordings (``.nc`` files).

    Args:
        config: ``path``, ``labels`` and ``clips``.
        state: State of the data that a network was trained on; others are treated alike.

    Raises:
        UserError: Wrong path, table or names, missing points that no policy covers, or no clip.
    """
    config.check()
    state = state or {}
    pose = pose_config(config)
    files = recording_files(pose, "train")
    selection = choose(pose, files[0], state.get("selection", {}))
    skeleton = (
        Skeleton.from_dict(state["skeleton"])
        if state
        else skeleton_of(load_recording(files[0]), config.clips, selection.keypoints)
    )
    labels = read_labels(config.labels) if config.labels else None
    sources = (read_source(file, selection, pose) for file in files)
    return cut_clips(sources, selection, skeleton, labels, config.clips, state=state)


def cut_clips(
    sources: Iterable[Source],
    selection: Selection,
    skeleton: Skeleton,
    labels: pd.DataFrame | None,
    config: ClipConfig,
    *,
    source: str = "recordings",
    state: Mapping[str, Any] | None = None,
) -> Clips:
    """Cut clips from recordings one after the other.

    Args:
        sources: The recordings.
        selection: Names of the axes of their positions.
        skeleton: Names and graph of the joints.
        labels: Label table; further columns with train and val only are benchmarks.
        config: How to cut.
        source: What the description says.
        state: See :func:`clips_of_recordings`.

    Raises:
        UserError: See :func:`clips_of_recordings`.
    """
    _check_names(config, selection, skeleton)
    state = state or {}
    maker = ClipMaker(config, skeleton, selection.individuals, selection.dimensions)
    benchmarks = [] if labels is None else benchmark_columns(labels)
    arrays: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    dropped: list[tuple[str, str, str]] = []
    unlabelled: list[str] = []
    by_recording = _by_recording(labels)
    for recording in sources:
        mine = None if labels is None else by_recording.get(recording.name, [])
        cuts = list(_cuts(recording, mine, benchmarks, config))
        if not cuts:
            unlabelled.append(recording.name)
        for cut in cuts:
            try:
                arrays.append(_clip(maker, recording, cut["start"], cut["stop"]))
                rows.append(cut)
            except DroppedClip as reason:
                dropped.append((cut["name"], str(reason), recording.where))
    if not arrays:
        raise UserError(_nothing(dropped, unlabelled, config))
    array = np.stack(arrays)
    scale = config.scale or state.get("scale") or fitted_scale(array, skeleton.centre)
    array *= np.float32(scale)
    tasks = _tasks(rows, labels, state.get("tasks", {}))
    description = Description(
        source=source,
        skeleton=skeleton,
        tasks=tasks,
        benchmarks=benchmarks,
        state={"scale": float(scale), "selection": _plain(selection)},
    )
    columns = ["name", "group", *tasks, *benchmarks, "recording", "start", "stop"]
    # A window without a label has no such key: its cell is empty.
    table = pd.DataFrame(rows).reindex(columns=columns).astype(object).fillna("").astype(str)
    notes = [f"{', '.join(unlabelled[:5])}: no row in the label table"] if unlabelled else []
    return Clips(
        array, table, pd.DataFrame(dropped, columns=list(DROPPED_COLUMNS)), description, notes
    )


def skeleton_of(ds: xr.Dataset, config: ClipConfig, joints: Sequence[str]) -> Skeleton:
    """The graph of the chosen joints of a recording.

    Raises:
        UserError: A name that is no joint.
    """
    joints = tuple(joints)
    if config.edges:
        edges = [tuple(_joint(name, joints, "edges") for name in pair) for pair in config.edges]
    else:
        edges = skeleton_edges(ds.sel(keypoints=list(joints)))
    edges = tuple((min(pair), max(pair)) for pair in edges)
    centre = (
        _joint(config.centre, joints, "centre")
        if config.centre
        else middle_joint(len(joints), edges)
    )
    return Skeleton(joints, edges, centre, mirror_order(joints, config.mirror_pairs))


def read_source(file: Path, selection: Selection, pose: PoseConfig) -> Source:
    """The chosen positions of a recording."""
    ds, positions = read_positions(file, selection, pose)
    return Source(file.stem, str(file), int(ds["time"].to_numpy()[0]), positions)


def pose_config(config: DataConfig) -> PoseConfig:
    """The keys that choose files, points and individuals, as the core knows them."""
    clips = config.clips
    return PoseConfig(
        path=config.path,
        recordings=clips.recordings,
        exclude=clips.exclude,
        keypoints=clips.keypoints,
        individuals=clips.individuals,
        max_individuals=clips.max_individuals,
        min_confidence=clips.min_confidence,
        missing="interpolate" if clips.missing == "interpolate" else "keep",
        max_gap=clips.max_gap,
    )


Row = Mapping[str, Any]


def _by_recording(labels: pd.DataFrame | None) -> dict[str, list[Row]]:
    """Rows of a label table for each recording; start and stop are None where empty."""
    found: dict[str, list[Row]] = {}
    for row in [] if labels is None else labels.to_dict("records"):
        plain = {str(key): None if value is pd.NA else value for key, value in row.items()}
        found.setdefault(str(row["recording"]), []).append(plain)
    return found


def _cuts(
    recording: Source, mine: list[Row] | None, benchmarks: Sequence[str], config: ClipConfig
) -> Iterator[dict[str, Any]]:
    """Stretches of a recording, in source frames, with what its rows of the table say."""
    first, stop = recording.first_frame, recording.first_frame + len(recording.positions)
    if config.window is not None:
        spans = _spans(mine or [], first, stop)
        for start in range(first, stop - config.window + 1, config.stride or config.window):
            cut = _cut(recording, start, start + config.window)
            yield cut | _majority(mine or [], spans, cut, benchmarks)
    elif mine is None:
        yield _cut(recording, first, stop)
    else:
        cuts: dict[tuple[int, int], dict[str, Any]] = {}
        for row, (start, end) in zip(mine, _spans(mine, first, stop).tolist(), strict=True):
            cut = cuts.setdefault((start, end), _cut(recording, start, end))
            cut[row["task"]] = row["label"]
            cut.update({name: str(row[name]) for name in benchmarks})
        yield from (cuts[span] for span in sorted(cuts))


def _spans(rows: Sequence[Row], first: int, stop: int) -> np.ndarray:
    """Start and stop of every row, int64 (n, 2); a row without them covers the recording."""
    spans = [(first, stop) if r["start"] is None else (r["start"], r["stop"]) for r in rows]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _cut(recording: Source, start: int, stop: int) -> dict[str, Any]:
    return {
        "name": f"{recording.name}@{start}-{stop}",
        "group": recording.name,
        "recording": recording.name,
        "start": int(start),
        "stop": int(stop),
    }


def _majority(
    rows: Sequence[Row], spans: np.ndarray, cut: Row, benchmarks: Sequence[str]
) -> dict[str, str]:
    """Of every task the label of more than half of the frames of a window, if there is one."""
    shared = np.minimum(spans[:, 1], cut["stop"]) - np.maximum(spans[:, 0], cut["start"])
    frames: dict[tuple[str, str], int] = {}
    found: dict[str, str] = {}
    for number in np.flatnonzero(shared > 0).tolist():
        row = rows[number]
        key = (row["task"], row["label"])
        frames[key] = frames.get(key, 0) + int(shared[number])
        if 2 * frames[key] > cut["stop"] - cut["start"]:
            found |= {row["task"]: row["label"]} | {name: str(row[name]) for name in benchmarks}
    return found


def _clip(maker: ClipMaker, recording: Source, start: int, stop: int) -> np.ndarray:
    first = recording.first_frame
    begin, end = max(start - first, 0), min(stop - first, len(recording.positions))
    if begin >= end:
        raise DroppedClip("outside the recording")
    return maker.make(recording.positions[begin:end], recording.where, first + begin)


def _tasks(
    rows: Sequence[Mapping[str, Any]], labels: pd.DataFrame | None, known: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Classes of every task, sorted; those of the training data where they are known."""
    if labels is None:
        return {task: list(classes) for task, classes in known.items()}
    found = {
        task: sorted({row[task] for row in rows if row.get(task)})
        for task in dict.fromkeys(labels["task"])
    }
    for task, classes in known.items():
        strange = [name for name in found.get(task, []) if name not in classes]
        if strange:
            raise UserError(
                f"labels: {task} {strange[0]!r} is no class of the training data; "
                f"{suggest(strange[0], classes)}"
            )
        found[task] = list(classes)
    return {task: classes for task, classes in found.items() if classes}


def benchmark_columns(labels: pd.DataFrame) -> list[str]:
    """Further columns of the table that say train or val (or nothing)."""
    return [
        str(column)
        for column in labels.columns
        if column not in COLUMNS
        and set(labels[column].astype(str)) <= set(SIDES)
        and "train" in set(labels[column].astype(str))
    ]


def _check_names(config: ClipConfig, selection: Selection, skeleton: Skeleton) -> None:
    for name in config.heading:
        _joint(name, skeleton.joints, "heading")
    if config.reference and config.reference not in selection.individuals:
        hint = suggest(config.reference, selection.individuals)
        raise UserError(f"data.clips.reference: no individual {config.reference!r}; {hint}")


def _joint(name: str, joints: Sequence[str], key: str) -> int:
    if name not in joints:
        raise UserError(f"data.clips.{key}: no joint {name!r}; {suggest(name, joints)}")
    return list(joints).index(name)


def _nothing(
    dropped: Sequence[tuple[str, str, str]], unlabelled: Sequence[str], config: ClipConfig
) -> str:
    if dropped:
        name, reason, where = dropped[0]
        return (
            f"no clip is left of {len(dropped)}; the first, {name}, was dropped: {reason}, {where}"
        )
    if config.window is not None:
        return (
            f"no recording is as long as one window of {config.window} frames (data.clips.window)"
        )
    return (
        "the label table has no row for any of the recordings "
        f"({', '.join(unlabelled[:5])}); compare its column 'recording' with the file names"
    )


def _plain(selection: Selection) -> dict[str, Any]:
    return {
        "keypoints": list(selection.keypoints),
        "individuals": list(selection.individuals),
        "dimensions": selection.dimensions,
    }

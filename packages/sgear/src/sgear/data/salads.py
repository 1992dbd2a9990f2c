"""50 Salads and Breakfast: segments of activities out of frame labels or time stamps.

A bundle file lists the recordings of a split (``train.split1.bundle``: a line with ``#``, then
``rgb-01-1.txt``, ...); ``mapping.txt`` lists the classes (``id name``, numbered by line). Labels
are one class name per frame in ``<annotation_dir>/<name in the bundle>`` (Abu Farha et al.), or

* 50 Salads: ``<id>-activityAnnotation.txt`` (``start_stamp end_stamp label``) with
  ``timestamps-<id>.txt``; labels ending ``_prep``, ``_core``, ``_post`` count, without that;
* Breakfast: ``<person>/<camera>/<person>_<topic>.avi.labels`` (``start-end label``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from sgear.data.classes import Classes
from sgear.data.config import Compat, DatasetConfig
from sgear.data.readers.video import VideoClipReader
from sgear.data.tables import ActionTable

_PHASES = ("_prep", "_core", "_post")
_FOLDS = {"salads": range(1, 7), "breakfast": range(1, 5)}


class Segment(NamedTuple):
    """Frames first ... last of one class."""

    first: int
    last: int
    name: str


def open_salads(config: DatasetConfig, compat: Compat = "upstream") -> ActionTable:
    """Segments of a split.

    Args:
        config: Bundle, labels, fold; ``frame_rate`` or the videos give frames per second.
        compat: ``upstream`` rounds the times to float16, as the original does (0.25 s steps
            above 256 s); ``corrected`` keeps float64.

    Raises:
        UserError: Files that are not there, or names of classes that are not in the mapping.
    """
    bundle, mapping = _bundle_file(config), _mapping_file(config)
    names = read_mapping(mapping)
    videos = VideoClipReader(config.root)
    rows, without = [], []
    for name in read_bundle(bundle):
        video = _breakfast_video(name) if config.kind == "breakfast" else f"{Path(name).stem}.avi"
        fps = config.frame_rate or _rate(videos, video)
        if fps is None:
            without.append(video)
            continue
        for segment in _segments(config, name, video):
            if segment.name not in names:
                hint = suggest(segment.name, names)
                raise UserError(f"{name}: class {segment.name!r} is not in {mapping}; {hint}")
            start, end = segment.first / fps, (segment.last + 1) / fps
            rows.append((name, video, start, end, names[segment.name], segment.name))
    if not rows:
        reason = (
            f"none of {', '.join(without[:3])} ... in {videos.places()}" if without else "empty"
        )
        raise UserError(f"{bundle}: no segment of its recordings can be timed ({reason})")
    columns = ["video_bundle_name", "video_path", "start", "end", "action_class", "action"]
    table = pd.DataFrame(rows, columns=columns)
    if compat == "upstream":
        table = table.astype({"start": np.float16, "end": np.float16})
    table["uid"] = np.arange(1, len(table) + 1)
    table["video_id"] = [Path(path).stem for path in table["video_path"]]
    notes = []
    if without:
        notes.append(
            f"{len(without)} recordings are left out: no video in {videos.places()}, so no frame "
            f"rate ({', '.join(without[:5])}); give frame_rate to read features"
        )
    return ActionTable(table, Classes({"action": names}), notes=notes)


def read_bundle(path: str | Path) -> list[str]:
    """Names of the recordings of a split."""
    lines = existing_file(path, "bundle").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def read_mapping(path: str | Path) -> dict[str, int]:
    """Classes of ``mapping.txt``: name -> line number."""
    lines = existing_file(path, "list of classes").read_text(encoding="utf-8").splitlines()
    return {
        line.split(maxsplit=1)[-1].strip(): number
        for number, line in enumerate(line for line in lines if line.strip())
    }


def runs(names: Sequence[str]) -> list[Segment]:
    """Segments of equal consecutive names."""
    array = np.asarray(names, dtype=object)
    borders = np.flatnonzero(array[1:] != array[:-1]) + 1 if len(array) else np.empty(0, int)
    firsts, lasts = [0, *borders], [*(borders - 1), len(array) - 1]
    pairs = zip(firsts, lasts, strict=True) if len(array) else ()
    return [Segment(int(first), int(last), names[int(first)]) for first, last in pairs]


def _segments(config: DatasetConfig, name: str, video: str) -> Iterator[Segment]:
    folder = Path(config.annotation_dir).expanduser()
    per_frame = folder / name
    if config.kind == "salads" and config.annotation_style == "orig":
        yield from _stamped(folder, Path(name).stem.removeprefix("rgb-"))
    elif config.kind == "salads" or per_frame.is_file():
        text = existing_file(per_frame, "frame labels").read_text(encoding="utf-8")
        yield from runs([line.strip() for line in text.splitlines() if line.strip()])
    else:
        yield from _ranges(folder / f"{video}.labels")


def _stamped(folder: Path, recording: str) -> Iterator[Segment]:
    """Segments of 50 Salads' own annotation, in frames; the end stamp's frame is not in it."""
    stamps_file = existing_file(folder / f"timestamps-{recording}.txt", "time stamps")
    lines = stamps_file.read_text(encoding="utf-8").splitlines()
    frame_of = {line.split()[0]: frame for frame, line in enumerate(lines) if line.strip()}
    path = existing_file(folder / f"{recording}-activityAnnotation.txt", "annotation")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        start, end, label = line.split(maxsplit=2)
        label = label.strip()
        if not label.endswith(_PHASES):
            continue
        for stamp in (start, end):
            if stamp not in frame_of:
                raise UserError(f"{path}: line {number}: {stamp} is no time in {stamps_file.name}")
        yield Segment(frame_of[start], frame_of[end] - 1, label[: -len(_PHASES[0])])


def _ranges(path: Path) -> Iterator[Segment]:
    """Segments of Breakfast's own annotation: ``first-last label``, frames from 1."""
    lines = existing_file(path, "annotation").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            frames, label = line.split(maxsplit=1)
            first, last = map(int, frames.split("-"))
        except ValueError as error:
            raise UserError(f"{path}: line {number}: expected `first-last label`") from error
        yield Segment(first - 1, last - 1, label.strip())


def _breakfast_video(name: str) -> str:
    """``P03_cam01_P03_cereals.txt`` -> ``P03/cam01/P03_cereals.avi``."""
    parts = Path(name).stem.split("_")
    if len(parts) != 4:
        raise UserError(f"{name}: expected <person>_<camera>_<person>_<topic>.txt in the bundle")
    person, camera, _, topic = parts
    if camera.startswith("stereo"):
        # stereo01 is channel 0
        return f"{person}/stereo/{person}_{topic}_ch{int(camera[-2:]) - 1}.avi"
    return f"{person}/{camera}/{person}_{topic}.avi"


def _rate(videos: VideoClipReader, video: str) -> float | None:
    """Frames per second of each video by itself; the original takes the first one's for all."""
    from behaviorzoo.video import video_info

    path = videos.path_of(video)
    return None if path is None else video_info(path).fps


def _bundle_file(config: DatasetConfig) -> str:
    if len(config.annotation_path) == 1:
        return config.annotation_path[0]
    if config.annotation_path:
        raise UserError(f"{config.kind}: one bundle per data set, got {config.annotation_path}")
    if config.fold not in _FOLDS[config.kind]:
        folds = _FOLDS[config.kind]
        raise UserError(f"fold={config.fold}: {config.kind} has {folds[0]} to {folds[-1]}")
    name = f"{config.split}.split{config.fold}.bundle"
    folder = Path(config.annotation_dir).expanduser()
    places = [folder / name, folder / "splits" / name, folder.parent / "splits" / name]
    return str(next((path for path in places if path.is_file()), places[0]))


def _mapping_file(config: DatasetConfig) -> str:
    if config.action_labels_fpath:
        return config.action_labels_fpath
    folder = Path(config.annotation_dir).expanduser()
    places = [folder / "mapping.txt", folder.parent / "mapping.txt"]
    return str(next((path for path in places if path.is_file()), places[0]))

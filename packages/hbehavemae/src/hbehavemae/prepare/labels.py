"""hBABEL step 2: frame labels of the evaluation from BABEL's annotations."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from hbehavemae.data.joblib_files import load_joblib
from hbehavemae.prepare.poses import ARRAY_FILE, RAW_FILE, find_file, read_arrays

log = logging.getLogger("hbehavemae")

FPS = 30
TOP_FRAME, TOP_SEQUENCE = 120, 60
TRAIN_SHARE, SPLIT_SEED = 0.75, 123
EVALUATION_SEEDS = [41, 42, 43]
NO_SEQUENCE_TASK = ["There_are_no_sequence_task_here"]
UNLABELLED = -1.0


@dataclass(frozen=True)
class FrameLabels:
    """Labels of one split.

    Attributes:
        vocabulary: Classes, sequence-level ones (suffix ``_seg``) first.
        label_array: float64 (classes, frames): 1 = present, 0 = absent, -1 = not annotated.
        frame_number_map: Annotated sequences, name -> (start, end) in ``label_array``.
        clip_lengths: Frames of every sequence, annotated or not.
    """

    vocabulary: list[str]
    label_array: np.ndarray
    frame_number_map: dict[str, tuple[int, int]]
    clip_lengths: dict[str, int]


def hbabel_labels(
    folder: str | Path,
    out: str | Path | None = None,
    modes: Iterable[str] = ("train", "val"),
    *,
    poses: str | Path | None = None,
    top_frame: int = TOP_FRAME,
    top_sequence: int = TOP_SEQUENCE,
    compat: Literal["none", "upstream"] = "none",
) -> list[Path]:
    """Write the label, split, task and length files of hBABEL.

    Args:
        folder: Holds ``babel-teach/{mode}.json`` (or the json files themselves).
        out: Folder for the files; None = ``folder``.
        modes: Splits of BABEL.
        poses: Folder of the AMASS motions, or of the prepared poses, which give order and
            lengths of the sequences; None = ``folder``.
        top_frame: Most frequent frame-level classes to keep.
        top_sequence: Most frequent sequence-level classes to keep.
        compat: ``upstream`` lets frame labels run into the next sequence, and later labels
            overwrite the mark "not annotated", as the original does.

    Returns:
        The files written.

    Raises:
        UserError: Annotations or poses are absent or not what they should be.
    """
    folder = Path(folder).expanduser()
    written = []
    for mode in modes:
        nested = folder / "babel-teach" / f"{mode}.json"
        table = read_annotations(nested if nested.is_file() else folder / f"{mode}.json")
        labels = frame_labels(
            table,
            pose_lengths(poses or folder, mode),
            top_frame=top_frame,
            top_sequence=top_sequence,
            compat=compat,
        )
        written += write_label_files(labels, Path(out or folder), mode, top_frame, top_sequence)
    return written


def read_annotations(path: Path) -> dict[str, Any]:
    """BABEL's json of one split: {id: {seq_ann, frame_ann}}.

    Raises:
        UserError: Not json, or not BABEL's layout.
    """
    path = existing_file(path, "BABEL annotation")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a json file ({error})") from error
    if not isinstance(table, dict) or not all(
        isinstance(entry, dict) and "seq_ann" in entry for entry in table.values()
    ):
        raise UserError(f"{path}: expected {{id: {{seq_ann: ..., frame_ann: ...}}}} of BABEL-TEACH")
    return table


def pose_lengths(folder: str | Path, mode: str) -> list[tuple[str, int]]:
    """Names and frames of the sequences of a split, in the order of the pose file."""
    arrays = find_file(folder, ARRAY_FILE.format(split=mode))
    if arrays is not None:
        return [(motion.name, motion.frames) for motion in read_arrays(arrays)]
    raw = find_file(folder, RAW_FILE.format(split=mode))
    if raw is None:
        raise UserError(f"{folder}: no {RAW_FILE.format(split=mode)} here; check the pose folder")
    return [(str(sample["babel_id"]), len(sample["poses"])) for sample in load_joblib(raw)]


def frame_labels(
    annotations: Mapping[str, Mapping[str, Any]],
    poses: Sequence[tuple[str, int]],
    *,
    top_frame: int = TOP_FRAME,
    top_sequence: int = TOP_SEQUENCE,
    compat: Literal["none", "upstream"] = "none",
) -> FrameLabels:
    """Labels of every frame of a split, sequence behind sequence in the order of the poses.

    Args:
        annotations: BABEL's entries by id.
        poses: Id and frames of each sequence.
        top_frame: Most frequent frame-level classes to keep.
        top_sequence: Most frequent sequence-level classes to keep.
        compat: See :func:`hbabel_labels`.
    """
    vocabulary = _vocabulary(annotations.values(), top_frame, top_sequence)
    rows = {name: row for row, name in enumerate(vocabulary)}
    lengths = np.array([frames for _, frames in poses], dtype=np.int64)
    ends = np.cumsum(lengths)
    labels = np.zeros((len(vocabulary), int(lengths.sum())))
    frame_map: dict[str, tuple[int, int]] = {}
    for (name, frames), end in zip(poses, ends.tolist(), strict=True):
        start = end - frames
        last = None if compat == "upstream" else end
        entry = annotations.get(name, {})
        annotated = _label_sequence(labels, rows, entry, start, end, last)
        if annotated:
            frame_map[name] = (start, end)
        elif compat == "none":
            labels[:, start:end] = UNLABELLED
    return FrameLabels(vocabulary, labels, frame_map, dict(poses))


def _label_sequence(
    labels: np.ndarray,
    rows: Mapping[str, int],
    entry: Mapping[str, Any],
    start: int,
    end: int,
    last: int | None,
) -> bool:
    """Fill the frames [start, end) of one sequence; False where it is not fully annotated.

    Frame labels end at ``last``; None lets them run on.
    """
    if not entry.get("frame_ann"):
        labels[:, start:end] = UNLABELLED
        return False
    annotated = True
    for label in entry["frame_ann"]["labels"]:
        first = start + round(FPS * label["start_t"])
        stop = start + round(FPS * label["end_t"])
        span = slice(first, stop if last is None else min(stop, last))
        annotated &= _mark(labels, rows, label, "frame", span, slice(start, end))
    for label in entry["seq_ann"]["labels"]:
        whole = slice(start, end)
        annotated &= _mark(labels, rows, label, "seg", whole, whole)
    return annotated


def _mark(
    labels: np.ndarray,
    rows: Mapping[str, int],
    label: Mapping[str, Any],
    level: str,
    span: slice,
    sequence: slice,
) -> bool:
    """Set the label's classes on its span; one without a class unlabels the whole sequence."""
    if label["act_cat"] is None:
        labels[:, sequence] = UNLABELLED
        return False
    for category in label["act_cat"]:
        row = rows.get(_class_name(category, level))
        if row is not None:
            labels[row, span] = 1.0
    return True


def _vocabulary(
    entries: Iterable[Mapping[str, Any]], top_frame: int, top_sequence: int
) -> list[str]:
    """The most frequent classes, rarest first, those of whole sequences before those of frames."""
    sequence: Counter[str] = Counter()
    frame: Counter[str] = Counter()
    for entry in entries:
        sequence.update(_categories(entry.get("seq_ann"), "seg"))
        frame.update(_categories(entry.get("frame_ann"), "frame"))
    return _most_frequent(sequence, top_sequence) + _most_frequent(frame, top_frame)


def _categories(annotation: Mapping[str, Any] | None, level: str) -> list[str]:
    labels = annotation["labels"] if annotation else []
    return [_class_name(c, level) for label in labels for c in label["act_cat"] or []]


def _most_frequent(counts: Counter[str], top: int) -> list[str]:
    # A stable sort: classes of equal count stay in the order in which they first occurred.
    ascending = sorted(counts, key=lambda name: counts[name])
    return ascending[max(len(ascending) - top, 0) :]


def _class_name(category: str, level: str) -> str:
    return f"{category.replace('/', '#')}_{level}"


def write_label_files(
    labels: FrameLabels, out: Path, mode: str, top_frame: int, top_sequence: int
) -> list[Path]:
    """The five files of a split, named as the original names them."""
    from behaviorzoo.mabe import save_dictionary

    top = f"top_{top_frame}_{top_sequence}"
    table = {
        "frame_number_map": labels.frame_number_map,
        "label_array": labels.label_array,
        "vocabulary": labels.vocabulary,
        "task_type": ["Discrete"] * len(labels.vocabulary),
    }
    tasks = {
        "seeds": EVALUATION_SEEDS,
        "task_id_list": labels.vocabulary,
        "sequence_level_tasks": NO_SEQUENCE_TASK,
    }
    paths = {
        "labels": out / f"hbabel_val_test_actions_{mode}_{top}_filtered.npy",
        "map": out / f"frame_number_map_{mode}_filtered.npy",
    }
    save_dictionary(paths["labels"], table)
    save_dictionary(paths["map"], labels.frame_number_map)
    jsons = {
        out / f"split_info_hBABEL_{mode}_filtered.json": _split(list(labels.frame_number_map)),
        out / f"task_info_hBABEL_{mode}_{top}.json": tasks,
        out / f"clip_length_hBABEL_{mode}.json": labels.clip_lengths,
    }
    for path, content in jsons.items():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content))
    return [*paths.values(), *jsons]


def _split(names: list[str]) -> dict[str, list[str]]:
    """Three quarters for the probes' training, the rest for their test."""
    from sklearn.model_selection import train_test_split

    if len(names) < 2:
        raise UserError(
            f"only {len(names)} sequence has frame annotations: at least two are needed to split"
        )
    train, test = train_test_split(names, train_size=TRAIN_SHARE, random_state=SPLIT_SEED)
    train, test = list(train), list(test)
    return {"SubmissionTrain": train, "publicTest": test, "privateTest": test}

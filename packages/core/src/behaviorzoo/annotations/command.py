"""The verb ``behaviorzoo labels``: annotation files in, one label table out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo.annotations import SOURCES
from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from behaviorzoo.annotations.annotation import Annotation

DESCRIPTION = """\
Turn annotation files into one table: recording, task, start (inclusive), stop (exclusive), label,
in the frame numbers of the recordings.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the verb."""
    parser.description = DESCRIPTION
    parser.add_argument("files", nargs="+", metavar="FILE", help="file, folder or pattern")
    parser.add_argument("--source", default="auto", help=f"{', '.join(SOURCES)} or auto (default)")
    parser.add_argument("--out", type=Path, required=True, help="label table, .csv or .parquet")
    parser.add_argument("--fps", type=float, help="frames per second, for times in seconds")
    parser.add_argument(
        "--recordings", metavar="DIR", help="recordings: names are checked, labels clipped to them"
    )
    parser.add_argument(
        "--name-pattern", metavar="REGEX", help="finds the name (one group) in the file name"
    )
    parser.add_argument(
        "--fill-track",
        nargs="+",
        default=[],
        metavar="TASK=LABEL",
        help="a file without this task gets the label in every annotated frame",
    )
    parser.add_argument(
        "--per-behavior",
        action="store_true",
        help="one yes/no task per behaviour (always so where behaviours overlap in BORIS)",
    )


def run(args: argparse.Namespace) -> None:
    """Read the files, clip and fill them, and write one table.

    Raises:
        UserError: Wrong options, a file that cannot be read, or overlapping labels.
    """
    import pandas as pd

    from behaviorzoo.annotations import annotation_name, read_annotations
    from behaviorzoo.annotations.annotation import clip, fill_tracks
    from behaviorzoo.labels import write_labels

    files = _find_files(args.files)
    fill = _pairs(args.fill_track)
    annotations: list[Annotation] = []
    for file in files:
        name = annotation_name(file, args.name_pattern)
        annotations.extend(read_annotations(file, args.source, fps=args.fps, name=name))
    _refuse_twice(annotations)
    if args.recordings is not None:
        ranges = _ranges(args.recordings)
        annotations = _known(annotations, ranges)
        for annotation in annotations:
            _fill_to(annotation, fill, ranges)
            clip(annotation, *ranges[annotation.recording])
    else:
        for annotation in annotations:
            fill_tracks(annotation, fill)
    _note_absent_tracks(annotations)
    table = pd.concat([annotation.tidy() for annotation in annotations], ignore_index=True)
    loose = {annotation.recording for annotation in annotations if not annotation.exclusive}
    table = _one_label_per_frame(table, annotations, loose, args.per_behavior)
    if table.empty:
        raise UserError(f"zero labels in {len(files)} files; nothing was written")
    write_labels(table, args.out)
    for annotation in annotations:
        for note in annotation.notes:
            print(f"note: {annotation.recording}: {note}", file=sys.stderr)
    print(summary_table(table))
    print(f"\n{len(table)} rows of {len(annotations)} recordings in {args.out}")


def summary_table(table: pd.DataFrame) -> str:
    """Recordings, bouts, frames and share of the labelled frames, per task and label."""
    counted = table.assign(frames=(table["stop"] - table["start"]).fillna(0).astype("int64"))
    out = (
        counted.groupby(["task", "label"], sort=False)
        .agg(
            recordings=("recording", "nunique"),
            bouts=("recording", "size"),
            frames=("frames", "sum"),
        )
        .reset_index()
        .sort_values(["task", "frames"], ascending=[True, False], kind="stable")
    )
    total = out.groupby("task")["frames"].transform("sum").clip(lower=1)
    out["share"] = [f"{100 * share:.1f} %" for share in out["frames"] / total]
    return out.to_string(index=False)


def _find_files(paths: list[str]) -> list[Path]:
    import glob

    from behaviorzoo.recordings import natural_key

    files: list[Path] = []
    for item in paths:
        path = Path(item).expanduser()
        if path.is_dir():
            found = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
        elif path.exists():
            found = [path]
        else:
            found = [Path(name) for name in glob.glob(str(path)) if Path(name).is_file()]
        if not found:
            raise UserError(f"{item}: no such annotation file; check the path")
        files.extend(sorted(found, key=natural_key))
    return list(dict.fromkeys(files))


def _pairs(items: list[str]) -> dict[str, str]:
    fill = {}
    for item in items:
        task, equals, label = item.partition("=")
        if not (task and equals and label):
            raise UserError(f"--fill-track {item!r}: write TASK=LABEL, such as S2=base")
        fill[task] = label
    return fill


def _refuse_twice(annotations: list[Annotation]) -> None:
    seen: set[str] = set()
    for annotation in annotations:
        if annotation.recording in seen:
            raise UserError(
                f"two files annotate the recording {annotation.recording!r}; give one of them, or "
                "tell them apart with --name-pattern"
            )
        seen.add(annotation.recording)


def _ranges(recordings: str) -> dict[str, tuple[int, int]]:
    from behaviorzoo.recordings import find_recordings, frame_range

    return {path.stem: frame_range(path) for path in find_recordings(recordings)}


def _known(
    annotations: list[Annotation], ranges: Mapping[str, tuple[int, int]]
) -> list[Annotation]:
    """The annotations whose recording is there; the others are named."""
    known = [annotation for annotation in annotations if annotation.recording in ranges]
    unknown = [annotation.recording for annotation in annotations if annotation not in known]
    if not known:
        raise UserError(
            f"no recording is named {unknown[0]!r}; {suggest(unknown[0], ranges)} "
            "(--name-pattern finds the name in the file name)"
        )
    for name in unknown:
        print(f"note: {name}: no recording of this name; left out", file=sys.stderr)
    for name in ranges.keys() - {annotation.recording for annotation in known}:
        print(f"note: {name}: this recording has no labels", file=sys.stderr)
    return known


def _fill_to(
    annotation: Annotation, fill: Mapping[str, str], ranges: Mapping[str, tuple[int, int]]
) -> None:
    from behaviorzoo.annotations.annotation import fill_tracks

    stated, annotation.extent = annotation.extent, ranges[annotation.recording]
    fill_tracks(annotation, fill)
    annotation.extent = stated


def _note_absent_tracks(annotations: list[Annotation]) -> None:
    """A task that only some of the recordings have is easily overlooked."""
    tasks = {task for a in annotations if a.exclusive for task in a.table["task"]}
    for annotation in annotations:
        for task in sorted(tasks - set(annotation.table["task"])) if annotation.exclusive else ():
            annotation.notes.append(
                f"no track {task!r}, so its frames are unlabelled (--fill-track {task}=LABEL)"
            )


def _one_label_per_frame(
    table: pd.DataFrame, annotations: list[Annotation], loose: set[str], per_behavior: bool
) -> pd.DataFrame:
    """Split behaviours into yes/no tasks where they overlap; refuse overlaps elsewhere."""
    import pandas as pd

    from behaviorzoo.labels import overlaps, split_overlapping

    is_loose = table["recording"].isin(list(loose)).to_numpy()
    behaviours, rest = table.loc[is_loose], table.loc[~is_loose]
    if per_behavior:
        behaviours, rest = table, table.iloc[:0]
    # Behaviours that exclude each other stay one task; one alone needs its opposite.
    one = len(set(behaviours["label"])) == 1
    if len(behaviours) and (per_behavior or one or len(overlaps(behaviours))):
        extents = {a.recording: a.span() for a in annotations if per_behavior or not a.exclusive}
        behaviours = split_overlapping(behaviours, extents=extents)
        if not per_behavior:
            reason = "there is only one" if one else "behaviours overlap"
            print(f"note: one yes/no task per behaviour, because {reason}", file=sys.stderr)
    found = overlaps(rest)
    if len(found):
        row = found.iloc[0]
        raise UserError(
            f"recording {row['recording']!r}, task {row['task']!r}: {row['label']!r} and "
            f"{row['other']!r} overlap at frame {row['start']} ({len(found)} overlaps in all); "
            "mend them, or add --per-behavior"
        )
    return pd.concat([rest, behaviours], ignore_index=True)

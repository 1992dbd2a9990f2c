"""Kinetics-700 diff: the classes of Kinetics-700 that Kinetics-600 does not have.

They are numbered in alphabetical order. The authors' own lists are release assets whose order of
classes is not documented: a head that was trained on those may number them otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from uas_swin.data.classes import read_classes
from uas_swin.data.lists import Entry
from uas_swin.data.prepare.folder import is_video
from uas_swin.data.prepare.writing import Checks, Prepared, write_prepared

SPLITS = {"train": ("train",), "val": ("val", "validate", "validation")}
N_CLASSES = 103


def prepare_kinetics700_diff(
    videos: str | Path,
    out: str | Path,
    *,
    k600: str | Path,
    k700: str | Path | None = None,
    annotations: str | Path | None = None,
    checks: Checks | None = None,
) -> Prepared:
    """Write ``k700_diff_train.txt`` and ``k700_diff_val.txt``.

    Args:
        videos: Folder with ``train`` and ``val``, each with a folder per class. Paths in the lists
            are below ``train`` and ``val``, as in the authors' configurations.
        out: Folder of the lists.
        k600: Class names of Kinetics-600: one per line, or an annotation table of it (``.csv``
            with a column ``label``).
        k700: Class names of Kinetics-700 likewise; by default those of the annotations, else the
            folders.
        annotations: Folder of Kinetics-700's ``train.csv`` and ``val.csv`` (or ``validate.csv``):
            then what they list is checked, and what was never downloaded is reported as missing.
        checks: How the videos are looked at.

    Raises:
        UserError: A folder or table is missing, or no class is left.
    """
    videos, out = Path(videos), Path(out)
    folders = {split: _folder(videos, names) for split, names in SPLITS.items()}
    tables = None if annotations is None else _tables(Path(annotations))
    if k700 is not None:
        every = class_names(k700)
    elif tables is not None:
        every = sorted({label for table in tables.values() for label in class_names(table)})
    else:
        every = sorted({p.name for root in folders.values() for p in root.iterdir() if p.is_dir()})
    classes = difference(every, class_names(k600))
    if not classes:
        raise UserError(f"{k600}: every class of Kinetics-700 is in Kinetics-600; wrong file?")
    if tables is not None:
        splits = {split: _annotated(path, classes) for split, path in tables.items()}
    else:
        splits = {split: _found(root, classes) for split, root in folders.items()}
    notes = ["classes in alphabetical order; the order of the authors' lists is not documented"]
    if len(classes) != N_CLASSES:
        notes.append(f"{len(classes)} classes; Kinetics-700 has {N_CLASSES} that are new")
    return write_prepared(
        "k700_diff",
        splits,
        classes,
        folders,
        {split: out / f"k700_diff_{split}.txt" for split in splits},
        checks or Checks(),
        notes,
    )


def difference(k700: Sequence[str], k600: Sequence[str]) -> list[str]:
    """Names of Kinetics-700 that are not in Kinetics-600, in alphabetical order."""
    return sorted(set(k700) - set(k600))


def class_names(path: str | Path) -> list[str]:
    """Class names of a file: one per line, or the column ``label`` of a table.

    Raises:
        UserError: Unreadable, or a table without that column.
    """
    path = existing_file(path, "file of class names")
    if path.suffix.lower() != ".csv":
        return read_classes(path)
    return sorted({row["label"] for row in _table(path)})


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "label" not in (rows.fieldnames or ()):
            raise UserError(f"{path}: no column 'label'; is this an annotation table of Kinetics?")
        return list(rows)


def _tables(folder: Path) -> dict[str, Path]:
    found = {}
    for split, names in SPLITS.items():
        paths = [folder / f"{name}.csv" for name in names]
        there = [path for path in paths if path.is_file()]
        if not there:
            raise UserError(f"{folder}: no {' or '.join(p.name for p in paths)}")
        found[split] = there[0]
    return found


def _folder(videos: Path, names: Sequence[str]) -> Path:
    there = [videos / name for name in names if (videos / name).is_dir()]
    if not there:
        raise UserError(f"{videos}: no folder {names[0]!r}; expected train/ and val/ in it")
    return there[0]


def _annotated(path: Path, classes: Sequence[str]) -> list[Entry]:
    """Rows of the new classes, as the usual download scripts name the files."""
    ids = {name: number for number, name in enumerate(classes)}
    rows = _table(path)
    needed = ("youtube_id", "time_start", "time_end")
    absent = [column for column in needed if rows and column not in rows[0]]
    if absent:
        raise UserError(
            f"{path}: no column {absent[0]!r}; is this an annotation table of Kinetics?"
        )
    entries = []
    for line, row in enumerate(rows, start=2):
        if row["label"] in ids:
            name = f"{row['youtube_id']}_{_seconds(row, path, line)}.mp4"
            entries.append(Entry(f"{row['label']}/{name}", (ids[row["label"]],), line=line))
    return entries


def _seconds(row: dict[str, str], path: Path, line: int) -> str:
    try:
        return "_".join(f"{int(float(row[key])):06d}" for key in ("time_start", "time_end"))
    except ValueError as error:
        raise UserError(f"{path}, line {line}: time_start and time_end are no seconds") from error


def _found(root: Path, classes: Sequence[str]) -> list[Entry]:
    return [
        Entry(path.relative_to(root).as_posix(), (number,))
        for number, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if is_video(path)
    ]

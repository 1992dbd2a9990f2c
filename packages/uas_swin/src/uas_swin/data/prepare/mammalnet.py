"""MammalNet: trimmed videos with one of 12 behaviours each.

The lists that UAS was trained with are not public; these are made from the tables of the data
set's download page: a video and its behaviour per row, one table per split.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from uas_swin.data.classes import read_classes
from uas_swin.data.lists import Entry
from uas_swin.data.prepare.writing import Checks, Prepared, write_prepared

SPLITS = ("train", "val", "test")
N_CLASSES = 12
VIDEO_COLUMNS = ("path", "video_path", "video", "filename", "file", "video_id", "id")
BEHAVIOUR_COLUMNS = (
    "behavior_id", "behaviour_id", "behavior_label", "behaviour_label", "behavior", "behaviour",
    "label",
)  # fmt: skip
Row = tuple[int, list[str]]
"""Line of the file, and its fields."""


def prepare_mammalnet(
    videos: str | Path,
    out: str | Path,
    annotations: str | Path,
    *,
    video_column: str | int | None = None,
    behaviour_column: str | int | None = None,
    classes: str | Path | None = None,
    first_id: int = 0,
    checks: Checks | None = None,
) -> Prepared:
    """Write ``train_base.txt``, ``val_base.txt`` and ``test_base.txt``.

    Args:
        videos: Folder of the trimmed videos; ``.mp4`` is added to names without a suffix.
        out: Folder of the lists.
        annotations: Folder with a table per split, a ``.csv``, ``.tsv`` or ``.txt`` whose name
            begins with ``train``, ``val`` or ``test``. Fields are parted by commas, tabulators or
            blanks; the first line may name the columns.
        video_column: Name or number (from 0) of the column of the video; by default one of the
            usual names, or the first.
        behaviour_column: Of the behaviour, a name or an id; by default one of the usual names, or
            the second of two.
        classes: File of the names of the behaviours, one per line. By default the names in the
            tables in alphabetical order; ids get their numbers as names.
        first_id: The id of the first behaviour in the tables.
        checks: How the videos are looked at.

    Raises:
        UserError: A table or column is missing, or a behaviour is unknown; with file and line.
    """
    videos, out = Path(videos), Path(out)
    tables = _tables(Path(annotations))
    rows = {
        split: [
            (line, _with_suffix(name), behaviour)
            for line, name, behaviour in _pairs(path, video_column, behaviour_column)
        ]
        for split, path in tables.items()
    }
    behaviours = [behaviour for part in rows.values() for _, _, behaviour in part]
    names = read_classes(classes) if classes is not None else _class_names(behaviours, first_id)
    splits = {
        split: [
            Entry(
                name,
                (_class_id(what, names, first_id, f"{tables[split]}, line {line}"),),
                line=line,
            )
            for line, name, what in part
        ]
        for split, part in rows.items()
    }
    notes = (
        [] if len(names) == N_CLASSES else [f"{len(names)} behaviours; MammalNet has {N_CLASSES}"]
    )
    return write_prepared(
        "mammalnet",
        splits,
        names,
        dict.fromkeys(splits, videos),
        {split: out / f"{split}_base.txt" for split in splits},
        checks or Checks(),
        notes,
    )


def _tables(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; give the folder of train.csv, val.csv, test.csv"
        )
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".csv", ".tsv", ".txt"))
    found = {}
    for split in SPLITS:
        own = [path for path in files if path.stem.lower().startswith(split)]
        if len(own) > 1:
            raise UserError(f"{folder}: {own[0].name} and {own[1].name} both are {split}; keep one")
        if own:
            found[split] = own[0]
    if "train" not in found or len(found) < 2:
        has = ", ".join(path.name for path in files) or "no table"
        raise UserError(f"{folder}: needs train.csv and val.csv or test.csv; it has {has}")
    return found


def _pairs(
    path: Path, video: str | int | None, behaviour: str | int | None
) -> list[tuple[int, str, str]]:
    """Line, video and behaviour of every row."""
    rows = _rows(existing_file(path, "annotation table"))
    header = [field.lower() for field in rows[0][1]] if rows else []
    named = any(field in (*VIDEO_COLUMNS, *BEHAVIOUR_COLUMNS) for field in header)
    words = [column for column in (video, behaviour) if isinstance(column, str)]
    named = named or any(word.lower() in header for word in words)
    if words and not named:
        raise UserError(f"{path}: has no line of column names; give columns by number, from 0")
    first = _column("video", video, header if named else None, VIDEO_COLUMNS, path, 0)
    second_default = 1 if len(header) == 2 else None
    second = _column(
        "behaviour", behaviour, header if named else None, BEHAVIOUR_COLUMNS, path, second_default
    )
    pairs = []
    for line, fields in rows[1 if named else 0 :]:
        if len(fields) <= max(first, second):
            raise UserError(f"{path}, line {line}: {len(fields)} fields, no behaviour among them")
        pairs.append((line, fields[first], fields[second]))
    if not pairs:
        raise UserError(f"{path}: holds no video")
    return pairs


def _rows(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8-sig")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    first = lines[0][1] if lines else ""
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), None)
    if delimiter is None:
        return [(number, line.split()) for number, line in lines]
    parsed = csv.reader((line for _, line in lines), delimiter=delimiter)
    return [
        (number, [field.strip() for field in fields])
        for (number, _), fields in zip(lines, parsed, strict=False)
    ]


def _column(
    what: str,
    given: str | int | None,
    header: Sequence[str] | None,
    usual: Sequence[str],
    path: Path,
    default: int | None,
) -> int:
    if isinstance(given, int):
        return given
    if given is not None and header is not None:
        if given.lower() in header:
            return header.index(given.lower())
        raise UserError(f"{path}: no column {given!r}; {suggest(given, header)}")
    if header is not None:
        found = [header.index(name) for name in usual if name in header]
        if found:
            return found[0]
    if default is None or header is not None:
        raise UserError(
            f"{path}: which column holds the {what} is unclear; name it ({what}_column) or "
            "give its number from 0"
        )
    return default


def _class_names(behaviours: Sequence[str], first_id: int) -> list[str]:
    if all(word.isdigit() for word in behaviours):
        last = max(int(word) for word in behaviours)
        return [f"behaviour_{number}" for number in range(first_id, last + 1)]
    return sorted(set(behaviours))


def _class_id(word: str, names: Sequence[str], first_id: int, where: str) -> int:
    if word in names:
        return list(names).index(word)
    if not word.isdigit():
        raise UserError(f"{where}: no behaviour {word!r}; {suggest(word, names)}")
    number = int(word) - first_id
    if not 0 <= number < len(names):
        raise UserError(
            f"{where}: behaviour {word} is out of range; ids go from {first_id} to "
            f"{first_id + len(names) - 1} (first_id={first_id})"
        )
    return number


def _with_suffix(name: str) -> str:
    return name if Path(name).suffix else f"{name}.mp4"

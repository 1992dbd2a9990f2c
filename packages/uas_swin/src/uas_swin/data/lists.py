"""List files: which videos, with which labels.

Three forms are read. Text, one ``relative/path.mp4 label`` per line as in the original, except that
only the LAST words are labels, so that paths may have blanks; text with a delimiter of your choice;
and a table ``.csv`` or ``.tsv`` with the columns ``path``, ``label`` (several of them parted by
``;`` or blanks where a video has several) and optionally ``region``. A path may end in a region of
the picture, see :mod:`uas_swin.data.regions`. Labels are class ids from 0, or names where the
names of the classes are known.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path, existing_file
from uas_swin.data.regions import Region, parse_region, split_region

TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Entry:
    """A line of a list.

    Attributes:
        path: The video as the list writes it, without its region.
        labels: Class ids; empty where the list has none.
        region: The part of the picture, if not all of it.
        line: Line of the file, from 1.
    """

    path: str
    labels: tuple[int, ...] = ()
    region: Region | None = None
    line: int = 0

    @property
    def name(self) -> str:
        """Path and region as a list writes them."""
        return self.path if self.region is None else f"{self.path}#{self.region}"

    def under(self, folder: str | Path | None) -> Entry:
        """The same with a path below ``folder``; an absolute path stays."""
        return self if not folder else replace(self, path=os.path.join(str(folder), self.path))


@dataclass(frozen=True)
class ListFormat:
    """How a list is written.

    Attributes:
        num_classes: Number of classes; labels must be below it. None takes any.
        classes: Names of the classes; then labels may be names, and their number is known.
        multi_class: A video may have several labels.
        labelled: Every line must have a label; otherwise a line is a path alone.
        delimiter: What parts path and labels; None for blanks (or the comma, tabulator of tables).
    """

    num_classes: int | None = None
    classes: Sequence[str] | None = None
    multi_class: bool = False
    labelled: bool = True
    delimiter: str | None = None

    @property
    def size(self) -> int | None:
        """Number of classes if it is known."""
        if self.num_classes is not None:
            return self.num_classes
        return None if self.classes is None else len(self.classes)


def read_list(path: str | Path, form: ListFormat | None = None) -> list[Entry]:
    """Read a list file.

    Args:
        path: Text, ``.csv`` or ``.tsv``.
        form: How it is written.

    Returns:
        Its entries in order; empty lines are left out.

    Raises:
        UserError: Unreadable, no entry, a line without label or with a label that is no class.
            Names the file and the line.
    """
    form = form or ListFormat()
    path = existing_file(path, "list")
    if form.num_classes is not None and form.classes and len(form.classes) != form.num_classes:
        raise UserError(
            f"{path}: num_classes={form.num_classes}, but {len(form.classes)} class names"
        )
    ids = {name: number for number, name in enumerate(form.classes or ())}
    reader = _table if path.suffix.lower() in TABLES and form.labelled else _text
    try:
        entries = list(reader(path, form, ids))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; save the list as UTF-8") from error
    if not entries:
        raise UserError(f"{path}: holds no video; write one 'path label' per line")
    return entries


def write_list(entries: Sequence[Entry], path: str | Path) -> None:
    """Write entries as text, ``path label...`` per line, or as a table by the suffix.

    Raises:
        UserError: A path has a line break, or the file cannot be written.
    """
    path = Path(path)
    for entry in entries:
        if len(entry.path.splitlines()) != 1:
            raise UserError(f"{path}: cannot list {entry.path!r}: rename it without line breaks")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() in TABLES:
            table = csv.writer(file, delimiter=TABLES[path.suffix.lower()], lineterminator="\n")
            table.writerow(["path", "label", "region"])
            for entry in entries:
                region = "" if entry.region is None else str(entry.region)
                table.writerow([entry.path, ";".join(map(str, entry.labels)), region])
        else:
            file.writelines(" ".join([e.name, *map(str, e.labels)]) + "\n" for e in entries)


def _text(path: Path, form: ListFormat, ids: dict[str, int]) -> Iterator[Entry]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line:
                continue
            where = f"{path}, line {number}"
            name, words = (line, []) if not form.labelled else _parted(line, form, ids, where)
            video, region = split_region(name, where)
            labels = tuple(_label(word, form, ids, where) for word in words)
            yield Entry(video, labels, region, number)


def _parted(line: str, form: ListFormat, ids: dict[str, int], where: str) -> tuple[str, list[str]]:
    """Path and label words of a line."""
    if form.delimiter is not None:
        name, *words = [part.strip() for part in line.split(form.delimiter)]
        words = [word for word in words if word]
    else:
        name, words = _last_words(line, form, ids)
    if not words:
        last = line.split()[-1]
        hint = f"; if {last!r} is meant: {suggest(last, ids)}" if ids else ""
        raise UserError(f"{where}: {line!r} has no label; write 'path label'{hint}")
    _one_or_several(words, form, where)
    return name, words


def _last_words(line: str, form: ListFormat, ids: dict[str, int]) -> tuple[str, list[str]]:
    """The path, and the words at its end that are labels: one, or several in a multi-label list.

    The first word is always of the path. A last word that looks like no label at all (as in
    ``my video.mp4``) belongs to the path, too: the line has no label.
    """
    words: list[str] = []
    rest = line
    while form.multi_class or not words:
        head, *last = rest.rsplit(maxsplit=1)
        if not last or not (_is_number(last[0]) or last[0] in ids):
            break
        rest, words = head.rstrip(), [last[0], *words]
    return rest, words


def _table(path: Path, form: ListFormat, ids: dict[str, int]) -> Iterator[Entry]:
    delimiter = form.delimiter or TABLES[path.suffix.lower()]
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        for column in ("path", "label"):
            if column not in (rows.fieldnames or ()):
                raise UserError(
                    f"{path}: the column {column!r} is missing; a table of videos has path, label "
                    f"and optionally region, this one has {', '.join(rows.fieldnames or ())}"
                )
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            words = _words_of_cell(row["label"] or "", form, ids)
            if not (row["path"] or "").strip():
                raise UserError(f"{where}: no path")
            if not words:
                raise UserError(f"{where}: {row['path']!r} has no label")
            _one_or_several(words, form, where)
            video, region = split_region(row["path"].strip(), where)
            if (row.get("region") or "").strip():
                region = parse_region(row["region"], where)
            labels = tuple(_label(word, form, ids, where) for word in words)
            yield Entry(video, labels, region, rows.line_num)


def _one_or_several(words: list[str], form: ListFormat, where: str) -> None:
    if len(words) > 1 and not form.multi_class:
        raise UserError(
            f"{where}: {len(words)} labels; one is expected (multi_class=True takes several)"
        )


def _words_of_cell(cell: str, form: ListFormat, ids: dict[str, int]) -> list[str]:
    """Labels of a cell; a class name may have blanks, so these part numbers only."""
    parts = [part.strip() for part in cell.split(";") if part.strip()]
    if len(parts) == 1 and parts[0] not in ids and all(map(_is_number, parts[0].split())):
        return parts[0].split()
    return parts


def _label(word: str, form: ListFormat, ids: dict[str, int], where: str) -> int:
    """Class id of a word.

    A class may be named "7": a number is always an id, as everywhere in the original.
    """
    if not _is_number(word):
        if word in ids:
            return ids[word]
        hint = suggest(word, ids) if ids else "give class ids, or the names of the classes"
        raise UserError(f"{where}: no class {word!r}; {hint}")
    label, size = int(word), form.size
    if label < 0 or (size is not None and label >= size):
        last = "" if size is None else f" to {size - 1}"
        raise UserError(f"{where}: label {label} is out of range; class ids go from 0{last}")
    return label


def _is_number(word: str) -> bool:
    return word.removeprefix("-").isascii() and word.removeprefix("-").isdigit()

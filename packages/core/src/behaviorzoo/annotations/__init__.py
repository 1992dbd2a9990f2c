"""Annotation files of other programs become one label table (see :mod:`behaviorzoo.labels`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file

if TYPE_CHECKING:
    from behaviorzoo.annotations.annotation import Annotation

__all__ = ["SOURCES", "annotation_name", "read_annotations"]

SOURCES = ("caltech", "boris", "mabe", "csv")
_WORDS = re.compile(
    r"[_\-. ]+(annotations?|annot|labels?|events?|behaviors?|behaviours?)$", re.IGNORECASE
)


def read_annotations(
    path: str | Path,
    source: str = "auto",
    *,
    fps: float | None = None,
    name: str | None = None,
) -> list[Annotation]:
    """Read an annotation file.

    Args:
        path: The file.
        source: One of ``SOURCES``, or ``auto`` to tell it from the file.
        fps: Frames per second, for times in seconds.
        name: Name of the recording; default: see :func:`annotation_name`. Files that name their
            recordings themselves (mabe, csv) have no use for it.

    Returns:
        The annotations, one per recording in the file.

    Raises:
        UserError: The file cannot be read; the line says why.
    """
    if source not in (*SOURCES, "auto"):
        raise UserError(f"unknown source {source!r}; {suggest(source, (*SOURCES, 'auto'))}")
    path = existing_file(path, "annotation file")
    source = _detect(path) if source == "auto" else source
    name = name or annotation_name(path)
    if source == "caltech":
        from behaviorzoo.annotations.caltech import read_caltech

        return [read_caltech(path, name)]
    if source == "boris":
        from behaviorzoo.annotations.boris import read_boris

        return [read_boris(path, name, fps)]
    if source == "mabe":
        from behaviorzoo.annotations.dictionaries import read_dictionary

        return read_dictionary(path)
    from behaviorzoo.annotations.annotation import Annotation
    from behaviorzoo.labels import read_labels

    table = read_labels(path)
    return [
        Annotation(str(recording), rows.drop(columns="recording"))
        for recording, rows in table.groupby("recording", sort=False)
    ]


def annotation_name(path: str | Path, pattern: str | None = None) -> str:
    """Name of the recording that an annotation file belongs to.

    Args:
        path: The file; ``14_annot.txt`` belongs to ``14``.
        pattern: Regular expression with one group that finds the name in the file name.

    Returns:
        The name.

    Raises:
        UserError: The pattern is no regular expression with one group, or finds nothing.
    """
    if pattern is not None:
        from behaviorzoo.importers import name_by_pattern

        return name_by_pattern(Path(path).name, pattern)
    stem = Path(path).stem
    return _WORDS.sub("", stem) or stem


def _detect(path: Path) -> str:
    from behaviorzoo.annotations.boris import find_header, read_rows
    from behaviorzoo.annotations.caltech import SIGNATURE
    from behaviorzoo.labels import COLUMNS

    if path.suffix in (".npy", ".pkl", ".pickle"):
        return "mabe"
    if path.suffix == ".parquet":
        return "csv"
    with path.open("rb") as handle:
        head = handle.read(4096)
    if b"\x00" in head:
        raise UserError(f"{path}: a binary file of unknown kind; read are {', '.join(SOURCES)}")
    if head.decode("utf-8", "replace").lstrip("\ufeff").startswith(SIGNATURE):
        return "caltech"
    lines = read_rows(path)
    if find_header(lines) is not None:
        return "boris"
    first = {cell.strip() for cell in lines[0]} if lines else set()
    if len(first & set(COLUMNS)) >= 3:
        return "csv"
    shown = ", ".join(lines[0][:4]) if lines else ""
    raise UserError(
        f"{path}: not an annotation file that is known ({', '.join(SOURCES)}); it begins with "
        f"{shown[:60]!r}"
    )

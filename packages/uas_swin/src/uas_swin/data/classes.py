"""Names of the classes: a text file with one name per line, the first is class 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file


def read_classes(path: str | Path) -> list[str]:
    """Read a file of class names.

    Args:
        path: Text, one name per line in the order of the class ids; names may have blanks.

    Raises:
        UserError: Unreadable, an empty line between names, or a name twice; with the line.
    """
    path = existing_file(path, "class file")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; save the class names as UTF-8") from error
    names = [line.strip() for line in lines]
    check_classes(names, str(path))
    return names


def check_classes(names: Sequence[str], where: str) -> None:
    """Refuse what cannot be a list of class names.

    Raises:
        UserError: None at all, an empty name, or a name twice.
    """
    if not names:
        raise UserError(f"{where}: no class names; write one per line, class 0 first")
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise UserError(f"{where}: line {number} is empty; every class needs a name")
        if name in first:
            raise UserError(f"{where}: line {number} repeats {name!r} of line {first[name]}")
        first[name] = number


def write_classes(names: Sequence[str], path: str | Path) -> None:
    """Write class names, one per line.

    Raises:
        UserError: A name is empty or stands twice, or the file cannot be written.
    """
    check_classes(names, str(path))
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

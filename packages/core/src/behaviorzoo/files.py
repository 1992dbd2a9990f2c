"""Writing files so that nothing half-written ever bears the final name."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from behaviorzoo.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and rename it to ``path`` on success.

    The temporary file is removed when the block raises, so a full disk or an interrupt
    leaves the old file (if any) as it was. A directory can be made at the temporary name too.

    Args:
        path: The final name. Missing parent folders are made.

    Yields:
        The temporary name, with the same suffixes as ``path`` (some writers look at them).

    Raises:
        UserError: The file system refuses (no space, no permission); it names ``path``.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _refused(path, error) from error
    temporary = folder / path.name
    try:
        yield temporary
        _flush_to_disk(temporary)
        if path.is_dir() and temporary.is_dir():
            # A folder cannot be renamed over another one: move the old one aside first.
            old = folder / "replaced"
            os.replace(path, old)
            os.replace(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def existing_file(path: str | Path, what: str) -> Path:
    """Return ``path`` if it is a non-empty file, else raise one clear line.

    Args:
        path: The file.
        what: What the file should be, for the message, such as ``"label table"``.

    Raises:
        UserError: No such file, a folder, or an empty file.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UserError(f"{path}: this is a folder, expected a {what} file")
    if not path.exists():
        raise UserError(f"{path}: no such {what}; check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the {what} is empty (0 bytes); write or download it again")
    return path


def new_file(path: str | Path) -> Path:
    """Return ``path`` if nothing is lost by writing a file there, else raise one clear line.

    Args:
        path: The file.

    Raises:
        UserError: A folder, or something is there already.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UserError(f"{path}: this is a folder, give the name of a file to write")
    if path.exists():
        raise UserError(f"{path}: exists already; choose another name or move it away")
    return path


def _flush_to_disk(path: Path) -> None:
    """Ask the system to store the bytes before the rename makes them the real file."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _refused(path: Path, error: OSError) -> UserError:
    if error.errno == errno.ENOSPC:
        return UserError(f"{path}: no space left on the disk; nothing was written, free some space")
    return UserError(f"{path}: cannot write ({error.strerror or error}); nothing was written")

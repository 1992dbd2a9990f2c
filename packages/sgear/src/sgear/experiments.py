"""Where TXT experiments are found, and where their runs go.

``expts/NAME.txt`` is looked for in the working folder first, then among those that come with the
package. Runs of ``expts/NAME.txt`` lie in ``OUTPUTS/expts/NAME.txt/<number>/``, which is the
original's layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath

from behaviorzoo.errors import UserError, suggest
from sgear.txt import read_lines

FOLDER = "expts"
OUTPUTS = "OUTPUTS"
SYNC_FILE = "sync_file_init"


def packaged() -> list[str]:
    """Experiments that come with the package, as ``expts/NAME.txt``."""
    found = files("sgear").joinpath(FOLDER).iterdir()
    return sorted(f"{FOLDER}/{file.name}" for file in found if file.name.endswith(".txt"))


def check_name(name: str) -> str:
    """The name of an experiment as it is used for folders.

    Raises:
        UserError: It does not lie in ``expts``.
    """
    path = PurePosixPath(name)
    if path.parts[:1] != (FOLDER,) or len(path.parts) < 2 or ".." in path.parts:
        raise UserError(
            f"{name}: experiments lie in the folder {FOLDER}/ of the working folder, or come with "
            f"the package; write {FOLDER}/{path.name or 'NAME.txt'}"
        )
    return str(path)


def overrides(name: str) -> list[str]:
    """Overrides of an experiment.

    Args:
        name: ``expts/NAME.txt``.

    Raises:
        UserError: No such experiment, nothing in it.
    """
    name = check_name(name)
    if Path(name).is_file():
        return read_lines(name)
    known = packaged()
    if name not in known:
        there = sorted(str(path) for path in Path(FOLDER).glob("**/*.txt"))
        raise UserError(f"{name}: no such experiment; {suggest(name, [*there, *known])}")
    with as_file(files("sgear").joinpath(*name.split("/"))) as path:
        return read_lines(path)


def heading(name: str) -> str:
    """First comment of a packaged experiment: what it is."""
    text = files("sgear").joinpath(*name.split("/")).read_text(encoding="utf-8")
    return text.splitlines()[0].lstrip("# ").strip()


def agent_folder(name: str) -> Path:
    """Folder of all runs of an experiment, absolute."""
    return Path.cwd() / OUTPUTS / check_name(name)


def run_folders(name: str) -> Iterator[tuple[int, Path]]:
    """Numbers and folders of the runs that an experiment has."""
    folder = agent_folder(name)
    for path in sorted(folder.glob("*/")):
        if path.name.isdigit():
            yield int(path.name), path

"""The verb ``uas-swin info``."""

from __future__ import annotations

import ast
from pathlib import Path

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from uas_swin.config import FOLDER, PREFIX, SUFFIXES, config_path, open_config, packaged


def show(what: str | None, dump: Path | None = None) -> None:
    """Print information.

    Args:
        what: Checkpoint or configuration; None for the list of configurations.
        dump: File to write the configuration to, with all that it builds on.

    Raises:
        UserError: No such file or name; or ``dump`` without a configuration.
    """
    if what is None:
        if dump is not None:
            raise UserError("--dump needs the name of a configuration")
        print(listing())
        return
    from uas_swin.info import information

    path = Path(what).expanduser()
    is_config = not path.is_file() or path.suffix in SUFFIXES
    if dump is not None and (not is_config or dump.suffix != ".py"):
        raise UserError(f"--dump {dump}: writes a configuration as a file in Python (.py)")
    if dump is not None and dump.exists():
        raise UserError(f"--dump {dump}: is there already, maybe changed; give another name")
    print(information(config_path(what) if is_config else path))
    if dump is None:
        return
    with atomic_path(dump) as temporary:
        temporary.write_text(open_config(config_path(what)).pretty_text, encoding="utf-8")
    print(f"wrote {dump}")


def listing() -> str:
    """The packaged configurations with their first lines."""
    names = packaged()
    width = max(map(len, names))
    lines = [f"configurations (in {FOLDER}):"]
    for name in names:
        file = next(
            p for p in (FOLDER / f"{name}.py", FOLDER / f"{PREFIX}{name}.py") if p.is_file()
        )
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:<{width}}  {text.splitlines()[0]}")
    return "\n".join(lines)

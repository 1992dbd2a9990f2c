"""Options that say which runs are meant, the same for every verb that reads results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from behaviorzoo import commands
from behaviorzoo.errors import UserError

if TYPE_CHECKING:
    from sgear.fusion import ScoredRun
    from sgear.fusion_inputs import Source


def add_run_options(parser: commands.CommandParser) -> None:
    """Options that say where runs are."""
    add = parser.add_argument
    add("--outputs", type=Path, default=Path("OUTPUTS"), metavar="DIR", help="of the launcher")
    add("--suffix", default="", help="of the evaluated set, such as _s2")
    add("--actions", type=Path, metavar="FILE", help="actions.csv, for results of the authors")
    add("--version", type=float, metavar="V", help="0.1 or 0.2, for results of the authors")
    add("--lists", type=Path, metavar="DIR", help="folder of the tail, unseen, many-shot lists")


def read_run_options(
    sources: Sequence[Source], given: object, suffix: str | None = None
) -> list[ScoredRun]:
    """Read runs as the options of :func:`add_run_options` say.

    Raises:
        UserError: A run cannot be read.
    """
    from sgear.fusion_inputs import read_runs

    options = vars(given)
    if options["lists"] is not None and not options["lists"].is_dir():
        raise UserError(f"--lists {options['lists']}: no such folder")
    runs = read_runs(
        sources,
        outputs=options["outputs"],
        suffix=options["suffix"] if suffix is None else suffix,
        actions=options["actions"],
        version=options["version"],
    )
    for run in runs:
        if run.items is not None and options["lists"] is not None:
            run.items = replace(run.items, lists=options["lists"])
    return runs

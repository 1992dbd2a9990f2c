"""TXT experiment files: one Hydra override a line, expanded into runs.

A file of the authors' looks like::

    # ViT on EPIC-Kitchens-100
    train.batch_size=3
    opt.lr_wd=[[__all__,0.0001,0.00001]]   # names, rate, weight decay
    train.num_epochs=20,50

A comma outside brackets and quotes lists values to sweep over: the file above is two runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

# $\{train.num_epochs\}: Hydra's way to write an interpolation it read from an override.
_ESCAPED = re.compile(r"\$\\\{(?:\\.|[^\\{}])*\\\}")


@dataclass(frozen=True)
class Run:
    """One point of a sweep.

    Attributes:
        index: Position in the product of all sweeps, which is also the name of its folder.
        overrides: ``key=value`` words, as :func:`expand` writes them.
    """

    index: int
    overrides: tuple[str, ...]


def read_lines(path: str | Path) -> list[str]:
    """Overrides of a TXT file; comments (from ``#`` on) and blank lines are left out.

    Raises:
        UserError: No such file, or no override in it.
    """
    path = existing_file(path, "TXT experiment")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file; write one key=value a line") from error
    lines = parse_lines(text)
    if not lines:
        raise UserError(f"{path}: no override in it; write one key=value a line")
    return lines


def parse_lines(text: str) -> list[str]:
    """Overrides in the text of a TXT file."""
    stripped = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line]


def expand(overrides: Sequence[str]) -> list[Run]:
    """Product of all sweeps in Hydra's grammar, in their order; the last one varies fastest.

    Values are written as Hydra writes them back (``1e-3`` -> ``0.001``, ``TRUE`` -> ``True``,
    no blanks in lists), except that interpolations stay ``${...}``: Hydra escapes their braces,
    and then they would be text. A key that is given twice keeps its first place and last value.

    Args:
        overrides: Words in Hydra's grammar.

    Raises:
        UserError: A word that Hydra cannot read; it names the word.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.errors import HydraException

    parsed = [_parse(word) for word in overrides]
    try:
        [product] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise UserError(f"cannot expand the sweeps: {_one_line(error)}") from error
    return [Run(index, tuple(map(_unescape, words))) for index, words in enumerate(product)]


def differing(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run its values of the keys that are not the same in all runs."""
    tables = [dict(map(split_word, run.overrides)) for run in runs]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    varying = [key for key in keys if len({table.get(key) for table in tables}) > 1]
    return [{key: table[key] for key in varying if key in table} for table in tables]


def split_word(word: str) -> tuple[str, str]:
    """``key=value`` at its first ``=``: values may hold some."""
    key, _, value = word.partition("=")
    return key, value


def pick(runs: Sequence[Run], run_id: int | None, ask: Callable[[str], str] | None) -> Run:
    """The one run that is to be started here.

    Args:
        runs: Of one experiment, at least one.
        run_id: Its index, None to ask where there are several.
        ask: Shows a text and gives back the answer; None where nobody can answer.

    Raises:
        UserError: No such run, or several and nobody to ask.
    """
    if run_id is None and len(runs) == 1:
        return runs[0]
    table = "\n".join(
        f"  {run.index}  " + " ".join(f"{key}={value}" for key, value in values.items())
        for run, values in zip(runs, differing(runs), strict=True)
    )
    if run_id is None and ask is None:
        raise UserError(
            f"the experiment is {len(runs)} runs and one can be started here; pick it with "
            f"--run_id N, 0 to {len(runs) - 1}:\n{table}"
        )
    if run_id is None and ask is not None:
        answer = ask(f"{len(runs)} runs:\n{table}\nwhich one? ")
        if not answer.strip().isdigit():
            raise UserError(f"{answer.strip()!r} is no run; answer 0 to {len(runs) - 1}")
        run_id = int(answer)
    for run in runs:
        if run.index == run_id:
            return run
    raise UserError(f"no run {run_id}: the experiment has the runs 0 to {len(runs) - 1}\n{table}")


def _parse(word: str) -> Any:
    """A word in Hydra's grammar; with the groups of our tree, so that ``glob(...)`` works."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from sgear.tree import groups_loader

    # Only glob(...) looks at the groups, and finding them takes a second.
    loader = groups_loader() if "glob(" in word else None
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides([word])[0]
    except HydraException as error:
        raise UserError(f"cannot read {word!r}: {_why(word, error)}") from error


def _why(word: str, error: Exception) -> str:
    key, value = split_word(word)
    if not key or "=" not in word:
        return "expected key=value"
    if "=" in value and value[:1] not in "'\"":
        return f"put a value with = in quotes, {key}='{value}'"
    if value.count("'") % 2 or value.count('"') % 2:
        return "a quote is not closed (text from # on is a comment, also inside quotes)"
    return _one_line(error).partition(" See https")[0]


def _unescape(word: str) -> str:
    """Interpolations as they were written."""
    return _ESCAPED.sub(lambda match: re.sub(r"\\(.)", r"\1", match[0]), word)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

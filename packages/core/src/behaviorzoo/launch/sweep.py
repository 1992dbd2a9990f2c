"""One run for each combination of values: ``optim.lr=1e-3,1e-4 seed=range(3)``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path

TABLE = "sweep.csv"
_OUT, _OPTIONS = "out=", ("--work-dir", "--out")


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        index: Its number, and the name of its folder.
        words: Its whole command line.
        chosen: Key -> value of the words that differ between the runs.
    """

    index: int
    words: list[str]
    chosen: dict[str, str]


def expand(words: Sequence[str]) -> list[Run]:
    """Combinations of the values of a command line, the last word varying fastest.

    The grammar is Hydra's: ``a,b,c``, ``choice(a,b)``, ``range(1,5)``; a comma inside brackets,
    braces or quotes belongs to a value. Each run has a folder of its own in that of the line.

    Args:
        words: Words of a verb that has ``out=``, ``--out`` or ``--work-dir``.

    Raises:
        UserError: No word has several values, or no folder is given.
    """
    values = [_values(word) for word in words]
    if all(len(several) == 1 for several in values):
        raise UserError("--sweep: no word has several values, such as optim.lr=1e-3,1e-4")
    place, folder = _folder(words)
    if len(values[place]) > 1:
        raise UserError(_NO_FOLDER)
    swept = [i for i, several in enumerate(values) if len(several) > 1]
    runs = []
    for index, picked in enumerate(itertools.product(*values)):
        line = list(picked)
        line[place] = line[place].removesuffix(folder) + str(Path(folder) / str(index))
        chosen = {}
        for i in swept:
            key, _, value = picked[i].partition("=")
            chosen[key] = value
        runs.append(Run(index, line, chosen))
    return runs


_NO_FOLDER = (
    "--sweep: out=FOLDER must be given once (or --out, --work-dir FOLDER); every run has a folder "
    "in it"
)


def _folder(words: Sequence[str]) -> tuple[int, str]:
    """Which word names the folder, and the folder."""
    found = [(i, word.removeprefix(_OUT)) for i, word in enumerate(words) if word.startswith(_OUT)]
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _OPTIONS and equals:
            found.append((i, value))
        elif option in _OPTIONS and i + 1 < len(words):
            found.append((i + 1, words[i + 1]))
    if len(found) != 1:
        raise UserError(_NO_FOLDER)
    return found[0]


def write_table(runs: Iterable[Run], words: Sequence[str]) -> Path:
    """Write which folder has which values, ``sweep.csv`` in the folder that holds them all."""
    path = Path(_folder(words)[1]).expanduser() / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{"run": run.index, **run.chosen} for run in runs])
    with atomic_path(path) as file:
        table.to_csv(file, index=False)
    return path


def _values(word: str) -> list[str]:
    """The words that one word stands for; itself where it has one value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if word.startswith("-") or "=" not in word or ("," not in word and "(" not in word):
        return [word]
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return [word]  # a path with odd characters is one value
    if not override.is_sweep_override():
        return [word]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]

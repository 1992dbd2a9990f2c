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
    braces or quotes belongs to a value. Each run has a folder of its own in that of ``out=``.

    Args:
        words: Words of a verb that has ``out=``.

    Raises:
        UserError: No word has several values, or there is no ``out=``.
    """
    values = [(word, _values(word)) for word in words]
    swept = [word for word, several in values if len(several) > 1]
    if not swept:
        raise UserError("--sweep: no word has several values, such as optim.lr=1e-3,1e-4")
    out = [word for word in words if word.startswith("out=")]
    if len(out) != 1 or out[0] in swept:
        raise UserError("--sweep: out=FOLDER must be given once; every run has a folder in it")
    runs = []
    for index, picked in enumerate(itertools.product(*(several for _, several in values))):
        chosen = {
            word.partition("=")[0]: choice.partition("=")[2]
            for (word, several), choice in zip(values, picked, strict=True)
            if len(several) > 1
        }
        folder = f"out={Path(out[0].removeprefix('out=')) / str(index)}"
        runs.append(Run(index, [folder if word == out[0] else word for word in picked], chosen))
    return runs


def write_table(runs: Iterable[Run], words: Sequence[str]) -> Path:
    """Write which folder has which values, ``sweep.csv`` in the folder of ``out=``."""
    (out,) = (word.removeprefix("out=") for word in words if word.startswith("out="))
    path = Path(out).expanduser() / TABLE
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

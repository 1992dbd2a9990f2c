"""The result tables as files: the authors' csv per submission, and one tidy csv for all levels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from behaviorzoo.score_table import is_combined

TASK, PRIVATE, PUBLIC, METRIC = "Task ID", "Private Score", "Public Score", "Metric"
NO_ENSEMBLE, POOLED, SEQUENCE = "No Ensemble Score", "Pooled Score", "Sequence Level Task"
ALPHA = "Score Alpha "
F1, MSE = "f1_score", "mean_mse"

TIDY_COLUMNS = (
    "level",
    "task",
    "group",
    "metric",
    "vote",
    "part",
    "pooled",
    "penalty",
    "seed",
    "value",
    "n_frames",
    "n_positive",
    "flag",
)
_TIDY_NUMBERS = ("penalty", "value", "n_frames", "n_positive")
_ROUND = "-round-1--"


def level_of(submission: str | Path) -> str:
    """Level of a submission: what follows "submission" in its file name.

    Args:
        submission: A path such as ``test_submission_0.npy``, or that of its result table.

    Returns:
        ``"0"``, ``"combined"``; the whole stem where the name has no such part.
    """
    stem = re.sub(r"(\.npy|\.npz|\.csv)+$", "", Path(submission).name)
    stem = re.sub(r"\.np[yz]_t[0-9.e-]+$", "", stem)  # a table for another threshold
    stem = stem.rpartition(_ROUND)[2]
    _, found, after = stem.rpartition("submission")
    return after.strip("_-") or stem if found else stem


def level_order(level: str) -> tuple[int, int, str]:
    """Sort key: numbers by value, then other names, ``combined`` last."""
    if level.isdigit():
        return 0, int(level), ""
    return 1 + is_combined(level), 0, level


def level_title(level: str) -> str:
    """A level for readers: ``level 0``, ``combined``."""
    return f"level {level}" if level.isdigit() else level


def find_submissions(paths: Sequence[str | Path]) -> list[Path]:
    """Files as given; a folder means its ``test_submission_*`` files, in the order of levels.

    Raises:
        UserError: A path that does not exist, or a folder without submissions.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.is_dir():
            found.append(existing_file(path, "submission"))
            continue
        inside = [p for suffix in ("npy", "npz") for p in path.glob(f"test_submission_*.{suffix}")]
        if not inside:
            raise UserError(
                f"{path}: this folder has no test_submission_*.npy; name the submission files"
            )
        found += sorted(inside, key=lambda p: (level_order(level_of(p)), p.name))
    return found


def authors_name(task: str, submission: str | Path, threshold: float = 0.5) -> str:
    """File name of the authors' table, such as ``Shot7M2-round-1--test_submission_0.npy.csv``.

    Args:
        task: The benchmark as the user called it.
        submission: The submission.
        threshold: Anything but 0.5 is named, as in the authors' copy beside the submission.
    """
    mark = "" if threshold == 0.5 else f"_t{threshold}"
    return f"{task}{_ROUND}{Path(submission).name}{mark}.csv"


def write_authors(table: pd.DataFrame, path: Path, *, index: bool = False) -> Path:
    """Write an authors' table; with ``index`` as the copy beside a submission has it."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=index)
    return path


def read_authors(path: str | Path) -> pd.DataFrame:
    """Read an authors' table, ours or theirs, with or without the unnamed index column.

    Raises:
        UserError: No such file, or not such a table.
    """
    path = existing_file(path, "result table")
    try:
        table = pd.read_csv(path, dtype={TASK: str, METRIC: str}, **_exactly())
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a result table ({error}); give the evaluator's csv") from (
            error
        )
    wanted = (TASK, PRIVATE, PUBLIC, METRIC, SEQUENCE)
    absent = [name for name in wanted if name not in table]
    if absent or table.empty:
        what = f"no column {absent[0]!r}" if absent else "no rows"
        raise UserError(f"{path}: not a result table of the evaluator, it has {what}")
    return table.drop(columns=[name for name in table if str(name).startswith("Unnamed")])


def alpha_columns(table: pd.DataFrame) -> list[str]:
    """The columns with the score at each penalty."""
    return [str(name) for name in table if str(name).startswith(ALPHA)]


def task_of(path: str | Path, table: pd.DataFrame) -> str:
    """Benchmark of an authors' table: from its file name, else from its tasks.

    Returns:
        ``"Shot7M2"``, ``"hBABEL"``, ``"mabe_mice"``, ``"mabe_flies"`` ..., ``""`` if unknown.
    """
    name, found, _ = Path(path).name.partition(_ROUND)
    if found:
        return name
    tasks = set(table[TASK])
    if "moveme_Lfoot" in tasks:
        return "Shot7M2"
    if "experiment_day" in tasks:
        return "mabe_mice"
    if "perframe_aggression" in tasks:
        return "mabe_flies"
    return "hBABEL" if any(str(task).endswith(("_seg", "_frame")) for task in tasks) else ""


def write_tidy(table: pd.DataFrame, path: Path) -> Path:
    """Write the tidy table."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return path


def read_tidy(path: str | Path) -> pd.DataFrame:
    """Read a tidy table back as it was written.

    Raises:
        UserError: No such file, or not such a table.
    """
    path = existing_file(path, "score table")
    text = [name for name in TIDY_COLUMNS if name not in _TIDY_NUMBERS]
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in _TIDY_NUMBERS},
            **_exactly(),
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of scores ({error}); run the evaluator again") from (
            error
        )
    absent = [name for name in TIDY_COLUMNS if name not in table]
    if absent:
        raise UserError(f"{path}: not a tidy table of scores, it has no column {absent[0]!r}")
    return table


def _exactly() -> dict[str, Any]:
    """Options with which numbers are read as they were written."""
    # From pandas 3.1 on that is so by itself, and the option goes away.
    before = [int(part) for part in pd.__version__.split(".")[:2]] < [3, 1]
    return {"float_precision": "round_trip"} if before else {}

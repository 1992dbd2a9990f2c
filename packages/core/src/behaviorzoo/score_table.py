"""Reading the scores of a probe: levels against baselines, per task and per label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file

OVERALL = "all classes"
COLUMNS = ("level", "task", "label", "metric", "value")
_KEYS = ["task", "label", "metric"]
# What a task is judged by, the first one that was computed. All of these are better when larger.
_MAIN = ("macro F1", "F1", "mean F1 (one-vs-rest)", "balanced accuracy", "accuracy", "R2")


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read ``scores.csv`` of a probe.

    Args:
        path: The file, with the columns level, task, label, metric, value and, where there are
            baselines, baseline and baseline_value (a row for each baseline).

    Returns:
        The table; ``label`` is ``"all classes"`` in rows about a whole task.

    Raises:
        UserError: No such file, or a column is missing.
    """
    path = existing_file(path, "score table")
    try:
        scores = pd.read_csv(path, dtype=dict.fromkeys((*COLUMNS[:4], "baseline"), str))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table of scores ({error}); write it again") from error
    absent = [name for name in COLUMNS if name not in scores]
    if absent:
        raise UserError(
            f"{path}: not a table of scores, the column {absent[0]!r} is missing; "
            "`behaviorzoo probe` writes them"
        )
    return with_overall(scores)


def with_overall(scores: pd.DataFrame) -> pd.DataFrame:
    """Name the rows about a whole task, whose label is empty, ``"all classes"``."""
    return scores.assign(label=scores["label"].fillna("").replace("", OVERALL))


def add_baseline(scores: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    """Let the scores of another probe stand as a baseline beside every level.

    Args:
        scores: Table of :func:`read_scores`.
        other: The other probe's table, such as that of hand-made features.
        name: Name of the baseline; where the other probe has several levels each becomes one.

    Returns:
        The table with further rows.
    """
    values = level_values(other)
    levels = values["level"].to_list()
    names = [f"{name} {level}" for level in levels] if len(set(levels)) > 1 else name
    limits = values.assign(baseline=names, baseline_value=values["value"])
    limits = limits.drop(columns=["level", "value"])
    rows = level_values(scores).merge(limits, on=_KEYS, how="inner")
    return pd.concat([scores, rows], ignore_index=True)


def level_values(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the levels: columns level, task, label, metric, value; a row only once."""
    rows = pd.DataFrame(scores, columns=list(COLUMNS))
    return rows.dropna(subset=["value"]).drop_duplicates().reset_index(drop=True)


def baseline_values(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the baselines: columns baseline, task, label, metric, value; a row only once."""
    columns = ["baseline", *_KEYS, "value"]
    if "baseline" not in scores or "baseline_value" not in scores:
        return pd.DataFrame(columns=columns)
    rows = scores.dropna(subset=["baseline", "baseline_value"])
    rows = pd.DataFrame(rows.assign(value=rows["baseline_value"]), columns=columns)
    return rows.drop_duplicates(["baseline", *_KEYS]).reset_index(drop=True)


def main_metric(scores: pd.DataFrame, task: str, label: str = OVERALL) -> str | None:
    """The metric a task (or a label of it) is judged by; None where there is no score."""
    rows = scores.loc[(scores["task"] == task) & (scores["label"] == label)]
    known = rows["metric"].unique().tolist()
    return next((name for name in _MAIN if name in known), known[0] if known else None)


@dataclass(frozen=True)
class Comparison:
    """Levels and baselines against tasks, each task by its main metric.

    Attributes:
        metrics: Task -> its main metric.
        levels: Level -> task -> score.
        baselines: Baseline -> task -> score.
    """

    metrics: dict[str, str]
    levels: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, float]]

    def best_level(self, task: str) -> tuple[str, float]:
        """The single level with the highest score in a task, the earlier one of equals.

        All levels together (``combined``) compete only where there is nothing else.
        """
        scores = {name: row[task] for name, row in self.levels.items() if task in row}
        scores = {n: value for n, value in scores.items() if not is_combined(n)} or scores
        best = max(scores, key=scores.__getitem__)
        return best, scores[best]

    def best_baseline(self, task: str) -> tuple[str, float] | None:
        """The baseline with the highest score in a task, if there is one."""
        scores = {name: row[task] for name, row in self.baselines.items() if task in row}
        best = max(scores, key=scores.__getitem__, default=None)
        return None if best is None else (best, scores[best])


def is_combined(level: str) -> bool:
    """Whether a level is all levels of an embedding together."""
    return level.rpartition("/")[2] == "combined"


def compare_levels(scores: pd.DataFrame) -> Comparison:
    """Put the scores about whole tasks side by side.

    Args:
        scores: Table of :func:`read_scores`.

    Returns:
        The comparison; tasks without a score about the whole are left out.
    """
    whole = scores.loc[scores["label"] == OVERALL]
    tasks = [str(task) for task in whole["task"].unique()]
    metrics = {task: main_metric(whole, task) or "" for task in tasks}
    comparison = Comparison(metrics, {}, {})
    kinds = (
        ("level", level_values(whole), comparison.levels),
        ("baseline", baseline_values(whole), comparison.baselines),
    )
    for kind, table, found in kinds:
        for row in table.to_dict("records"):
            if row["metric"] == metrics[str(row["task"])]:
                found.setdefault(str(row[kind]), {})[str(row["task"])] = float(row["value"])
    return comparison

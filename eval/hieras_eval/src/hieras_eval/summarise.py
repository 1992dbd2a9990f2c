"""``hieras-eval summarise``: levels side by side, from the authors' tables alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.files import atomic_path
from hieras_eval import tables
from hieras_eval.printing import means_text, published_text
from hieras_eval.results import CUSTOM
from hieras_eval.summaries import ALL, authors_groups, panels, published_summary

TITLE = "private scores as the tables hold them, mean of each group"


def summarise(
    paths: Sequence[str | Path], task: str | None = None, out: str | Path | None = None
) -> str:
    """Compare levels.

    Args:
        paths: Authors' tables, of one or several benchmarks.
        task: The benchmark; default: told by the names of files and tasks.
        out: Where to write the means, one row per benchmark, level and group.

    Returns:
        For every benchmark the numbers that the original prints, and a table of levels against
        groups of tasks.

    Raises:
        UserError: A file that is not such a table.
    """
    found = [(Path(path), tables.read_authors(path)) for path in paths]
    by_task: dict[str, list[tuple[Path, pd.DataFrame]]] = {}
    for path, table in found:
        by_task.setdefault(task or tables.task_of(path, table), []).append((path, table))
    parts, rows = [], []
    for name, files in by_task.items():
        levels = _levels(files)
        means = table_means(levels)
        parts.append(name or "unknown benchmark")
        if name != CUSTOM:
            published = {level: published_summary(name, table) for level, table in levels.items()}
            parts += [published_text(published), ""]
        parts += [TITLE, means_text(means), ""]
        means.insert(0, "task", name)
        rows.append(means.drop(columns=["sd"]))
    if out is not None:
        with atomic_path(out) as temporary:
            pd.concat(rows, ignore_index=True).to_csv(temporary, index=False)
    return "\n".join(parts).rstrip()


def table_means(levels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean private score per level and group, in the columns of ``summaries.group_means``."""
    tidy = pd.concat(
        [authors_groups(table).assign(level=level) for level, table in levels.items()],
        ignore_index=True,
    )
    rows = []
    for level in levels:
        for group, metric in panels(tidy):
            inside = (tidy["level"] == level) & (tidy["metric"] == metric)
            if group != ALL:
                inside &= tidy["group"] == group
            values = tidy.loc[inside, "value"].to_numpy(dtype=float)
            known = values[~np.isnan(values)]
            mean = float(known.mean()) if len(known) else np.nan
            rows.append((level, group, metric, mean, np.nan, len(known), len(values) - len(known)))
    columns = ["level", "group", "metric", "value", "sd", "tasks", "missing"]
    return pd.DataFrame(rows, columns=columns)


def _levels(files: Sequence[tuple[Path, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Level -> table, in order; tables that claim the same level go by their file names."""
    count = Counter(tables.level_of(path) for path, _ in files)
    named = {
        level if count[level] == 1 else str(path): table
        for path, table in files
        for level in [tables.level_of(path)]
    }
    return dict(sorted(named.items(), key=lambda item: tables.level_order(item[0])))

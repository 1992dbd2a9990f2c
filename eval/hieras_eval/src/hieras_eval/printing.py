"""Scores as text: a row for each level, a column for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from hieras_eval.summaries import ALL, CORRECTED, PUBLISHED, group_means
from hieras_eval.tables import level_title

PUBLISHED_TITLE = (
    "as published: a frame is positive if any seed says so; private = private and public clips; "
    "+- deviation over the penalties"
)
CORRECTED_TITLE = (
    "corrected: majority of the seeds; private clips alone; +- standard deviation over the seeds"
)
if TYPE_CHECKING:
    from hieras_eval.results import ResultsFolder

CUSTOM_TITLE = (
    "mean over the classes of each task; a frame is positive if {vote} of the seeds say so; "
    "+- standard deviation over the seeds"
)
_DEVIATION = ("_std_over_alpha", "_std")


def results_text(folder: ResultsFolder) -> str:
    """Everything that a call of ``run`` prints: published numbers, corrected ones, notes, files."""
    published = {level: known["published"] for level, known in folder.levels.items()}
    kind, title, parts = CORRECTED, CORRECTED_TITLE, []
    if any(published.values()):
        parts += [PUBLISHED_TITLE, published_text(published), ""]
    else:
        upstream = folder.settings["compat"] == "upstream"
        kind = PUBLISHED if upstream else CORRECTED
        title = CUSTOM_TITLE.format(vote="any" if upstream else "most")
    parts += [title, means_text(group_means(folder.tidy, kind)), ""]
    parts += notes_of(folder.levels)
    parts.append(f"results in {folder.folder}")
    return "\n".join(parts)


def notes_of(levels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The notes of all levels; what is said of every level is said once."""
    said: dict[str, list[str]] = {}
    for level, known in levels.items():
        for note in known["notes"]:
            said.setdefault(note, []).append(level_title(level))
    return [
        f"note: {note}" if len(where) == len(levels) else f"note: {', '.join(where)}: {note}"
        for note, where in said.items()
    ]


def published_text(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """The originals' numbers, level -> summary, as a table with a row for each number.

    Levels are columns, because the originals print up to ten numbers a level.
    """
    numbers = {level: _pairs(summary) for level, summary in summaries.items()}
    names = dict.fromkeys(name for pairs in numbers.values() for name in pairs)
    head = ["", *(level_title(level) for level in numbers)]
    body = [[name, *(pairs.get(name, "-") for pairs in numbers.values())] for name in names]
    return aligned([head, *body])


def means_text(means: pd.DataFrame) -> str:
    """Mean scores of ``summaries.group_means``: levels are rows, groups columns."""
    columns = list(dict.fromkeys(zip(means["group"], means["metric"], strict=True)))
    values = {
        (row["level"], row["group"], row["metric"]): _mean_cell(row)
        for row in means.to_dict("records")
    }
    head = ["", *(column_title(group, metric) for group, metric in columns)]
    body = [
        [level_title(level), *(values.get((level, *column), "-") for column in columns)]
        for level in means["level"].unique()
    ]
    return aligned([head, *body])


def column_title(group: str, metric: str) -> str:
    """Group and metric in words: ``moveme F1``, ``all F1``, ``MSE``."""
    words = {"f1": "F1", "mse": "MSE", "f1 of clips": "F1 of clips"}[metric]
    return words if group == ALL and metric != "f1" else f"{group} {words}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _pairs(summary: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Name -> "value +- deviation"."""
    found: dict[str, str] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found |= _pairs(value, f"{prefix}{name} ")
        elif not name.endswith(_DEVIATION):
            digits = 4 if name.endswith("mse") else 3
            words = name.replace("_f1", " F1").replace("_mse", " MSE").replace("_", " ")
            deviation = next(
                (summary[name + end] for end in _DEVIATION if name + end in summary), None
            )
            text = f"{value:.{digits}f}"
            found[prefix + words] = (
                text if deviation is None else f"{text} +- {deviation:.{digits}f}"
            )
    return found


def _mean_cell(row: Mapping[str, Any]) -> str:
    if row["value"] != row["value"]:
        return "-"
    digits = 4 if row["metric"] == "mse" else 3
    text = f"{row['value']:.{digits}f}"
    return text if row["sd"] != row["sd"] else f"{text} +- {row['sd']:.{digits}f}"

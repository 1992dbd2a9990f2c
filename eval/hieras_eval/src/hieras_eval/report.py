"""One HTML page of the results in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.report.page import Report
from behaviorzoo.score_table import is_combined
from hieras_eval import __version__
from hieras_eval.figures import group_title, levels_figure, positive_guess
from hieras_eval.printing import column_title, notes_of
from hieras_eval.results import CUSTOM, RECORD_SUFFIX, read_record
from hieras_eval.summaries import (
    ALL,
    CORRECTED,
    PUBLISHED,
    chosen_scores,
    group_means,
    panels,
)
from hieras_eval.tables import level_title, read_tidy

_VOTES = {
    "upstream": "Scores as the originals compute them: a frame is positive if any seed says so, "
    "and private scores count the private and the public clips.",
    "corrected": "Corrected scores: the majority of the seeds votes, and private scores count the "
    "private clips alone.",
}
_CUSTOM_VOTES = {
    "upstream": "A frame is positive if any of the seeds says so.",
    "corrected": "A frame is positive if most of the seeds say so.",
}
_LONG = 40


@dataclass(frozen=True)
class _Results:
    """Results of one benchmark, read."""

    task: str
    record: dict[str, Any]
    tidy: pd.DataFrame

    @property
    def compat(self) -> str:
        return str(self.record["settings"]["compat"])

    @property
    def kind(self) -> Mapping[str, Any]:
        return PUBLISHED if self.compat == "upstream" else CORRECTED

    @property
    def votes(self) -> dict[str, str]:
        return _CUSTOM_VOTES if self.task == CUSTOM else _VOTES

    @property
    def baselines(self) -> list[str]:
        return list(self.record["settings"].get("baselines", []))

    @property
    def levels(self) -> list[str]:
        return [str(name) for name in self.tidy["level"].unique() if name not in self.baselines]


def build_report(folder: str | Path, title: str = "Hierarchical evaluation") -> Report:
    """Make the page of all benchmarks whose results are in a folder.

    Args:
        folder: The output folder of ``hieras-eval run``.
        title: Title of the page.

    Returns:
        The report, ready to be written. It depends on nothing but the files.

    Raises:
        UserError: No such folder, no results in it, or damaged ones.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of results; check the path")
    records = sorted(folder.glob(f"*{RECORD_SUFFIX}"))
    if not records:
        raise UserError(f"{folder}: holds no *{RECORD_SUFFIX}; `hieras-eval run` writes them")
    found = [_read(path) for path in records]
    report = Report(title, f"Made from {', '.join(f'{r.task} in {folder.name}' for r in found)}.")
    for results in found:
        prefix = f"{results.task}: " if len(found) > 1 else ""
        _add_levels(report, results, prefix)
        _add_both_ways(report, results, prefix)
        _add_tasks(report, results, prefix)
        _add_how(report, results, prefix)
    return report


def _read(path: Path) -> _Results:
    record = read_record(path)
    task = str(record["task"])
    return _Results(task, record, read_tidy(path.with_name(f"{task}-scores.csv")))


def _add_levels(report: Report, results: _Results, prefix: str) -> None:
    """Best levels as tiles, the heat table and the figure."""
    means = group_means(results.tidy, results.kind)
    columns = [column for column in panels(results.tidy) if _has_score(means, column)]
    groups = [group for group, _ in columns]
    report.section(f"{prefix}Which level tells what")
    report.add_text(
        "A linear probe of every level for every task, averaged over each group of tasks. Groups "
        "run from the finest behaviour to the coarsest, levels likewise. The best level of a "
        f"group is framed. {results.votes[results.compat]}"
    )
    report.add_html(_heat_table(means, columns, results))
    for group, metric in columns:
        best = _best(means, (group, metric), results.levels)
        if group != ALL and best is not None:
            text = f"{'F1' if metric == 'f1' else 'MSE'} {best[1]:.3f}"
            title = f"{prefix}{group_title(group, groups)}: best level"
            report.add_tile(title, level_title(best[0]), text)
    report.add_figure(
        levels_figure(results.tidy, results.kind, baselines=results.baselines),
        f"Scores of {len(results.levels)} levels for {len(columns)} groups of tasks",
        "Large dots are means over the tasks of a group, bars the standard deviation over the "
        "seeds; thin lines are single tasks. Dashed: the mean F1 of calling every frame positive, "
        "the best that can be had without looking at the embedding.",
    )


def _heat_table(means: pd.DataFrame, columns: list[tuple[str, str]], results: _Results) -> str:
    head = "".join(
        f'<th scope="col">{escape(column_title(*column))}'
        f"<small>{_count(means, column)}</small></th>"
        for column in columns
    )
    body = []
    for level in (*results.levels, *results.baselines):
        name = f"baseline: {level}" if level in results.baselines else level_title(level)
        kind = "baseline" if level in results.baselines else "combined" * is_combined(level)
        css = f' class="{kind}"' * bool(kind)
        cells = "".join(_heat_cell(means, column, level, results.levels) for column in columns)
        body.append(f'<tr{css}><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="table"><table><thead><tr><th scope="col">level</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _heat_cell(means: pd.DataFrame, column: tuple[str, str], level: str, levels: list[str]) -> str:
    """A mean; its shade runs from the worst to the best of all levels and baselines."""
    value = _values(means, column).get(level, np.nan)
    if np.isnan(value):
        return "<td>-</td>"
    digits = 4 if column[1] == "mse" else 3
    if level not in levels:
        return f"<td>{value:.{digits}f}</td>"
    known = [other for other in _values(means, column).values() if not np.isnan(other)]
    share = (value - min(known)) / max(max(known) - min(known), 1e-12)
    share = 1 - share if column[1] == "mse" else share
    best = _best(means, column, levels)
    is_best = best is not None and best[0] == level and len(levels) > 1
    css, mark = ("heat best", '<span class="mark">best</span>') if is_best else ("heat", "")
    return f'<td class="{css}" style="--share:{share:.2f}">{value:.{digits}f}{mark}</td>'


def _values(means: pd.DataFrame, column: tuple[str, str]) -> dict[str, float]:
    rows = means.loc[(means["group"] == column[0]) & (means["metric"] == column[1])]
    return dict(zip(rows["level"], rows["value"].astype(float), strict=True))


def _has_score(means: pd.DataFrame, column: tuple[str, str]) -> bool:
    return not all(np.isnan(value) for value in _values(means, column).values())


def _count(means: pd.DataFrame, column: tuple[str, str]) -> str:
    rows = means.loc[(means["group"] == column[0]) & (means["metric"] == column[1])]
    n = int(rows["tasks"].max())
    return f"{n} task{'s' * (n != 1)}"


def _best(
    means: pd.DataFrame, column: tuple[str, str], levels: list[str]
) -> tuple[str, float] | None:
    """The single level with the best mean; all levels together do not compete."""
    values = {
        level: value
        for level, value in _values(means, column).items()
        if level in levels and not np.isnan(value)
    }
    values = {level: v for level, v in values.items() if not is_combined(level)} or values
    if not values:
        return None
    best = (min if column[1] == "mse" else max)(values, key=values.__getitem__)
    return best, values[best]


def _add_both_ways(report: Report, results: _Results, prefix: str) -> None:
    """Published and corrected means beside each other."""
    first, second = "as published", "corrected"
    title, text = (
        "As published and corrected",
        (
            "As published: any seed's yes is a yes, and private scores count public clips as well. "
            "Corrected: majority of the seeds, private clips alone."
        ),
    )
    if results.task == CUSTOM:
        first, second = "any seed", "majority"
        title, text = (
            "Votes of the seeds",
            "A frame is positive if any seed, or most of them, say so.",
        )
    keys = ["level", "group", "metric"]
    both = group_means(results.tidy, PUBLISHED).merge(
        group_means(results.tidy, CORRECTED), on=keys, suffixes=("", " corrected")
    )
    table = pd.DataFrame(
        {
            "level": [level_title(str(level)) for level in both["level"]],
            "tasks": [
                column_title(*pair) for pair in zip(both["group"], both["metric"], strict=True)
            ],
            first: both["value"],
            second: both["value corrected"],
            "sd over seeds": both["sd corrected"],
            "scored": both["tasks corrected"],
            "not available": both["missing corrected"],
        }
    )
    report.section(f"{prefix}{title}")
    report.add_text(
        f"{text} The deviation is that of the mean over the seeds, each of which sets another part "
        "of the training aside."
    )
    report.add_table(table)


def _add_tasks(report: Report, results: _Results, prefix: str) -> None:
    """Score of every task at every level, and what to know about single ones."""
    scores = chosen_scores(results.tidy, results.kind)
    order = list(dict.fromkeys(scores["task"]))
    first = scores.drop_duplicates("task").set_index("task").loc[order]
    frames, positive = (first[c].to_numpy(dtype=float) for c in ("n_frames", "n_positive"))
    share = np.divide(positive, frames, out=np.full(len(frames), np.nan), where=frames > 0)
    table = pd.DataFrame({"task": order, "group": first["group"].to_numpy()})
    for level in (*results.levels, *results.baselines):
        own = scores.loc[scores["level"] == level].set_index("task")["value"]
        table[level_title(level)] = own.reindex(order).to_numpy(dtype=float)
    table["all yes"] = np.where(first["metric"] == "f1", positive_guess(share), np.nan)
    table["positive"] = share
    report.section(f"{prefix}Every task")
    report.add_text(
        "F1 (or mean squared error) of every level. All yes: the F1 of calling every frame "
        "positive. Positive: share of the test frames that are."
    )
    formats = {"positive": lambda value: f"{value:.1%}"}
    folded = f"All {len(table)} tasks" if len(table) > _LONG else ""
    report.add_table(table, formats=formats, collapsed=folded)
    for note in notes_of(results.record["levels"]):
        report.add_text(note, "note")


def _add_how(report: Report, results: _Results, prefix: str) -> None:
    report.section(f"{prefix}How this was made")
    report.add_text(
        f"hieras-eval {__version__}, under CC BY-NC 4.0: not for commercial use. The protocol is "
        "that of hierAS-eval (Stoffl, Bonnetto, d'Ascoli, Mathis, ECCV 2024) and of the MABe 2022 "
        "evaluator."
    )
    report.add_code(
        json.dumps(results.record["settings"], indent=1, ensure_ascii=False),
        collapsed="Settings and the files that were read",
    )

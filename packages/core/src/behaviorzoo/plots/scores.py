"""Scores of probes: every level and label, with the baselines they have to beat."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from behaviorzoo.errors import UserError
from behaviorzoo.palette import INK, MUTED, RULE, level_colours
from behaviorzoo.plots.style import WIDTH, styled
from behaviorzoo.score_table import OVERALL, baseline_values, level_values, main_metric

QUIET: dict[str, Any] = {"color": MUTED, "fontsize": 8.5, "weight": "normal"}
# Marks of the baselines in the order they appear; all in one grey, told apart by their form.
_MARKS = ("|", "D", "x", "^")


@styled
def scores_by_level(scores: pd.DataFrame, *, columns: int = 3) -> Figure:
    """A panel for each task: dots of the levels, marks of the baselines, a row for each label.

    Args:
        scores: Table of ``behaviorzoo.score_table.read_scores``.
        columns: Panels side by side.

    Returns:
        The figure. Rows within a panel are the mean over classes, then the labels.

    Raises:
        UserError: There is no score.
    """
    values, baselines = level_values(scores), baseline_values(scores)
    if values.empty:
        raise UserError("there is no score to draw")
    tasks = values["task"].unique().tolist()
    labels = {task: _rows(values, task) for task in tasks}
    columns = min(columns, len(tasks))
    bands = [tasks[start : start + columns] for start in range(0, len(tasks), columns)]
    depths = [max(len(labels[task]) for task in band) for band in bands]
    heights = [0.75 + 0.3 * depth for depth in depths]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.35), layout="constrained")
    grid = figure.subplots(len(bands), columns, squeeze=False, height_ratios=heights)
    colours = level_colours(values["level"].unique().tolist())
    marks = _baseline_marks(values, baselines)
    for row, band, depth in zip(grid, bands, depths, strict=True):
        for axes, task in zip(row, band, strict=False):
            _panel(axes, task, labels[task], values, baselines, colours, marks)
            # One row height for all panels of a band, and the scale on top of the first row.
            axes.set_ylim(depth - 0.5, -0.6)
        for axes in row[len(band) :]:
            axes.set_visible(False)
    handles = [_handle("o", colour, name) for name, colour in colours.items()]
    handles += [_handle(mark, MUTED, f"baseline: {name}") for name, mark in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.4)
    return figure


def _rows(values: pd.DataFrame, task: str) -> list[str]:
    labels = [str(label) for label in values.loc[values["task"] == task, "label"].unique()]
    return [OVERALL] * (OVERALL in labels) + sorted(set(labels) - {OVERALL})


def _baseline_marks(values: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, str]:
    """A mark for each baseline that belongs to a metric that is drawn."""
    names = [
        row["baseline"]
        for row in baselines.to_dict("records")
        if row["metric"] == main_metric(values, row["task"], row["label"])
    ]
    return dict(zip(dict.fromkeys(names), _MARKS * 3, strict=False))


def _panel(
    axes: Axes,
    task: str,
    labels: list[str],
    values: pd.DataFrame,
    baselines: pd.DataFrame,
    colours: dict[str, str],
    marks: dict[str, str],
) -> None:
    metrics = []
    for y, label in enumerate(labels):
        metric = main_metric(values, task, label)
        metrics.append(str(metric))
        levels, limits = (
            table.loc[
                (table["task"] == task) & (table["label"] == label) & (table["metric"] == metric)
            ]
            for table in (values, baselines)
        )
        axes.plot([0, 1], [y, y], color=RULE, lw=0.8, zorder=0)
        for name, value in zip(limits["baseline"], limits["value"], strict=True):
            size = 11 if marks[name] == "|" else 5
            axes.plot(value, y, marks[name], color=MUTED, ms=size, mew=1.5, mfc="none", zorder=2)
        for name, value in zip(levels["level"], levels["value"], strict=True):
            # Finer levels a little above, so that equal scores stay visible.
            shift = 0.22 * (list(colours).index(name) / max(len(colours) - 1, 1) - 0.5)
            axes.plot(value, y + shift, "o", color=colours[name], ms=6.5, mew=0, zorder=3)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    if labels and labels[0] == OVERALL:
        axes.get_yticklabels()[0].set_fontweight("bold")
    own = values.loc[(values["task"] == task) & values["metric"].isin(metrics), "value"]
    # R2 may be negative; what is worse than -1 is not told apart.
    axes.set_xlim(max(min(own.to_numpy().min(), 0.0), -1.0) - 0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
    axes.grid(axis="x")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", pad=1)
    axes.set_title(task)
    axes.set_title(", ".join(dict.fromkeys(metrics)).replace("_", " "), loc="right", **QUIET)


def _handle(mark: str, colour: str, name: str) -> Line2D:
    filled = {} if mark == "o" else {"markerfacecolor": "none", "markeredgewidth": 1.5}
    size = 7 if mark == "o" else 6
    return Line2D(
        [], [], marker=mark, linestyle="none", color=colour, markersize=size, label=name, **filled
    )

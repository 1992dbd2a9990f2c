"""The picture of a hierarchy: which level of an embedding tells which level of behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from behaviorzoo.errors import UserError
from behaviorzoo.palette import INK, MUTED, level_colours
from behaviorzoo.plots.style import WIDTH, styled
from behaviorzoo.score_table import is_combined
from hieras_eval.summaries import ALL, chosen_scores, group_means, panels

_PLURAL = {
    "moveme": "movemes",
    "action": "actions",
    "activity": "activities",
    "frame": "per frame",
    "segment": "segments",
    "sequence": "per sequence",
}
_MOST_COLUMNS = 4
_GAP = 0.5  # extra room before all levels together, which is no step of the hierarchy
_HEIGHT = 3.0


@styled
def levels_figure(
    tidy: pd.DataFrame, kind: Mapping[str, Any], *, baselines: Sequence[str] = ()
) -> Figure:
    """Score of every level for every group of tasks.

    A panel for each group, from the finest behaviour to the coarsest; in it a column for each
    level, from the finest to the coarsest. Thin lines are single tasks, large dots their mean
    with the standard deviation over the seeds, the dashed line is the mean score of calling every
    frame positive, the best that can be had without looking at the embedding.

    Args:
        tidy: Tidy table of one benchmark.
        kind: ``summaries.PUBLISHED`` or ``summaries.CORRECTED``.
        baselines: Levels drawn as a grey line instead of a column.

    Returns:
        The figure.

    Raises:
        UserError: There is no score.
    """
    scores, means = chosen_scores(tidy, kind), group_means(tidy, kind)
    drawn = [(g, m) for g, m in panels(tidy) if g != ALL or m == "mse"]
    if np.isnan(scores["value"].to_numpy(dtype=float)).all():
        raise UserError("there is no score to draw")
    names = [str(name) for name in tidy["level"].unique() if name not in baselines]
    levels = _positions(names)
    bands = -(-len(drawn) // _MOST_COLUMNS)
    columns = -(-len(drawn) // bands)
    width = min(WIDTH, 1.0 + columns * max(2.0, 0.65 * len(levels)))
    figure = Figure(figsize=(width, _HEIGHT * bands + 0.5), layout="constrained")
    grid = figure.subplots(bands, columns, squeeze=False).ravel()
    colours = level_colours(list(levels))
    for number, (axes, (group, metric)) in enumerate(zip(grid, drawn, strict=False)):
        inside = scores["metric"] == metric
        if group != ALL:
            inside &= scores["group"] == group
        own = means.loc[(means["group"] == group) & (means["metric"] == metric)]
        _draw_panel(axes, pd.DataFrame(scores.loc[inside]), own, levels, colours, metric, baselines)
        axes.set_title(group_title(group, [name for name, _ in drawn]))
        if number % columns == 0 or metric != drawn[number - 1][1]:
            axes.set_ylabel("F1" if metric == "f1" else "mean squared error")
        else:
            axes.tick_params(labelleft=False)
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    figure.legend(handles=_handles(baselines), loc="outside lower center", ncols=4)
    return figure


def group_title(group: str, groups: Sequence[str]) -> str:
    """Title of a group; the groups of the benchmarks get their plural."""
    if group == ALL:
        return "values"
    known = all(name in _PLURAL for name in groups if name != ALL)
    return _PLURAL[group] if known else group


def positive_guess(positive_share: np.ndarray) -> np.ndarray:
    """F1 of calling every frame positive: 2 p / (1 + p) at a share p of positives."""
    share = np.asarray(positive_share, dtype=float)
    return 2.0 * share / (1.0 + share)


def _positions(levels: Sequence[str]) -> dict[str, float]:
    return {
        name: index + _GAP * (is_combined(name) and index > 0) for index, name in enumerate(levels)
    }


def _draw_panel(
    axes: Axes,
    scores: pd.DataFrame,
    means: pd.DataFrame,
    levels: Mapping[str, float],
    colours: Mapping[str, str],
    metric: str,
    baselines: Sequence[str],
) -> None:
    lines = {
        str(task): dict(zip(rows["level"], rows["value"], strict=True))
        for task, rows in scores.groupby("task", sort=False)
    }
    steps = [name for name in levels if not is_combined(name)]
    faint = float(np.clip(4.0 / max(len(lines), 1), 0.12, 0.45))
    for values in lines.values():
        y = [values.get(name, np.nan) for name in steps]
        axes.plot([levels[name] for name in steps], y, color=MUTED, alpha=faint, lw=0.7, zorder=1)
        for name in levels:
            marks = {"color": colours[name], "alpha": min(2 * faint, 0.6), "ms": 3, "mew": 0}
            axes.plot(levels[name], values.get(name, np.nan), "o", zorder=2, **marks)
    _draw_means(axes, means, levels, colours, steps, metric)
    for name in baselines:
        value = means.loc[means["level"] == name, "value"].to_numpy(dtype=float)
        axes.axhline(*value, color=MUTED, lw=1.2, zorder=1.5)
    if metric == "f1":
        _draw_guess(axes, scores)
        axes.set_ylim(0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
    else:
        # Errors lie close together, far from 0: what counts is their difference.
        axes.margins(y=0.25)
    low, high = min(levels.values()), max(levels.values())
    axes.set_xlim(low - 0.5, high + 0.5)
    axes.grid(axis="y")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    unit = "task" if len(lines) == 1 else "tasks"
    quiet = {"color": MUTED, "fontsize": 8.5, "weight": "normal"}
    axes.set_title(f"{len(lines)} {unit}", loc="right", **quiet)


def _draw_means(
    axes: Axes,
    means: pd.DataFrame,
    levels: Mapping[str, float],
    colours: Mapping[str, str],
    steps: Sequence[str],
    metric: str,
) -> None:
    found = {
        str(level): (float(value), float(sd))
        for level, value, sd in zip(means["level"], means["value"], means["sd"], strict=True)
    }
    known = {name: found.get(name, (np.nan, np.nan)) for name in levels}
    y = [known[name][0] for name in steps]
    axes.plot([levels[name] for name in steps], y, color=INK, lw=1.1, zorder=3)
    for name, (value, sd) in known.items():
        x = levels[name]
        axes.errorbar(x, value, yerr=sd, color=INK, elinewidth=1.1, capsize=2.5, zorder=4)
        axes.plot(x, value, "o", color=colours[name], ms=7.5, mew=0, zorder=5)
    if all(_short(name).isdigit() for name in steps):
        axes.set_xlabel("level")
    digits = 3 if metric == "f1" else 4
    axes.set_xticks(
        list(levels.values()),
        [f"{_short(name)}\n{known[name][0]:.{digits}f}" for name in levels],
        linespacing=1.5,
    )
    best = _best({name: known[name][0] for name in steps}, metric)
    for name, label in zip(levels, axes.get_xticklabels(), strict=True):
        label.set_color(INK)
        if name == best and len(steps) > 1:
            label.set_fontweight("bold")


def _best(values: Mapping[str, float], metric: str) -> str | None:
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    if not known:
        return None
    return (max if metric == "f1" else min)(known, key=known.__getitem__)


def _draw_guess(axes: Axes, scores: pd.DataFrame) -> None:
    first = scores.drop_duplicates("task")
    frames, positive = (first[name].to_numpy(dtype=float) for name in ("n_frames", "n_positive"))
    known = frames > 0
    if known.any():
        guess = positive_guess(positive[known] / frames[known]).mean()
        axes.axhline(guess, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1.5)


def _short(level: str) -> str:
    """A level below its column; numbered levels need only their number."""
    level = level.replace("combined", "all") if is_combined(level) else level
    number = level.removeprefix("level_")
    return number if number.isdigit() else level.replace("_", "\n").replace("/", "\n")


def _handles(baselines: Sequence[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=INK, marker="o", ms=7, lw=1.1, label="mean, sd over seeds"),
        Line2D([], [], color=MUTED, marker="o", ms=3, lw=0.7, alpha=0.6, label="one task"),
        Line2D([], [], color=MUTED, lw=1, ls=(0, (4, 3)), label="every frame called positive"),
    ]
    if baselines:
        handles.append(Line2D([], [], color=MUTED, lw=1.2, label=", ".join(baselines)))
    return handles

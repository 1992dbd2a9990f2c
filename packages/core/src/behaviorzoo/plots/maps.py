"""Embedding maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behaviorzoo.palette import INK, UNLABELLED, class_colours
from behaviorzoo.plots.style import WIDTH, patches, styled


@styled
def embedding_map(
    points: Mapping[str, np.ndarray],
    codes: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    *,
    shares: Mapping[str, np.ndarray] | None = None,
    max_points: int = 6000,
    seed: int = 0,
) -> Figure:
    """Embedding maps: a row for each level, a column for each task.

    Args:
        points: Level -> projected frames (N, 2), the same frames for every level.
        codes: Task -> (codes (N,), classes); a negative code is unlabelled. Empty: no colours.
        shares: Level -> share of the variance along both axes (2,), named on the axes.
        max_points: Frames drawn at most, chosen at random and drawn in random order so that no
            class hides another.
        seed: Decides which.

    Returns:
        The figure, with a legend below each column.
    """
    tasks = dict(codes) or {"": (np.full(len(next(iter(points.values()))), -1), [])}
    side = min(WIDTH / len(tasks), 3.2)
    lines = max(_legend_rows(classes) for _, classes in tasks.values())
    below = 0.35 + 0.2 * lines
    figure = Figure(figsize=(side * len(tasks), (0.82 * side + 0.12) * len(points) + 0.2 + below))
    lower = below / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, lower, 1, 1 - lower), hspace=0, h_pad=0.02)
    grid = figure.subplots(len(points), len(tasks), squeeze=False)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(next(iter(points.values()))))[:max_points]
    for row, (level, values) in zip(grid, points.items(), strict=True):
        for axes, (task, (frame_codes, classes)) in zip(row, tasks.items(), strict=True):
            axes.set_box_aspect(0.82)
            draw_points(axes, np.asarray(values)[chosen], np.asarray(frame_codes)[chosen], classes)
            if axes in grid[0]:
                axes.set_title(task)
            if axes is row[0]:
                axes.set_ylabel(level, color=INK, weight="bold")
            if shares is not None and axes is row[0]:
                first, second = np.asarray(shares[level])[:2]
                text = f"PC 1 {first:.0%}, PC 2 {second:.0%} of variance"
                axes.set_xlabel(text, fontsize=7.5, loc="left", labelpad=2)
    for column, (_, classes) in enumerate(tasks.values()):
        _legend_below(figure, classes, (column + 0.5) / len(tasks), below)
    return figure


def draw_points(axes: Axes, points: np.ndarray, codes: np.ndarray, classes: Sequence[str]) -> None:
    """Draw frames of an embedding map, (N, 2), in the colours of their codes (N,)."""
    colours = np.array([*class_colours(classes).values(), UNLABELLED], dtype=object)
    labelled = codes >= 0
    # Unlabelled frames go below the labelled ones, faint, as the extent of the behaviour.
    for chosen, alpha in ((~labelled, 0.35), (labelled, 0.65)):
        if chosen.any():
            axes.scatter(
                *points[chosen].T,
                s=5,
                c=list(colours[codes[chosen]]),
                alpha=alpha,
                linewidths=0,
                rasterized=True,
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    axes.spines[["top", "right"]].set_visible(True)


def _legend_rows(classes: Sequence[str]) -> int:
    return -(-len(classes) // 3)


def _legend_below(figure: Figure, classes: Sequence[str], x: float, below: float) -> None:
    if not classes:
        return
    figure.legend(
        handles=patches(class_colours(classes)),
        loc="upper center",
        bbox_to_anchor=(x, (below - 0.05) / figure.get_figheight()),
        ncols=min(3, len(classes)),
        columnspacing=1.0,
        handletextpad=0.3,
    )

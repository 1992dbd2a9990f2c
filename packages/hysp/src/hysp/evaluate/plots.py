"""Pictures of an evaluation: protocols beside baselines, and the course of a training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from behaviorzoo.palette import CLASSES, INK, MUTED, class_colours
from behaviorzoo.plots.style import WIDTH, styled

_PANELS = 2


@styled
def accuracy_bars(overall: pd.DataFrame) -> Figure:
    """Top-1 accuracy: a panel for each task, a bar for each level.

    Args:
        overall: Rows of a score table about whole tasks.
    """
    rows = overall.loc[overall["metric"] == "accuracy"]
    tasks = rows["task"].unique().tolist()
    levels = rows["level"].unique().tolist()
    columns = min(_PANELS, len(tasks))
    bands = -(-len(tasks) // columns)
    height = 0.6 + 0.34 * len(levels)
    figure = Figure(figsize=(WIDTH * columns / _PANELS, height * bands), layout="constrained")
    grid = figure.subplots(bands, columns, squeeze=False)
    for axes, task in zip(grid.flat, tasks, strict=False):
        own = rows.loc[rows["task"] == task]
        found = dict(zip(own["level"], own["value"].astype(float), strict=True))
        values = [found.get(level, 0.0) for level in levels]
        colours = [CLASSES[0], *["#b9c3d0"] * (len(levels) - 1)]  # what is evaluated stands out
        axes.barh(range(len(levels)), values, color=colours, height=0.66)
        for place, value in enumerate(values):
            inside = value > 0.5
            axes.text(
                value + (-0.01 if inside else 0.01), place, f"{value:.1%}", va="center",
                ha="right" if inside else "left", fontsize=8,
                color="white" if inside and place == 0 else INK,
            )  # fmt: skip
        axes.axvline(float(own["baseline_value"].iloc[0]), color=MUTED, lw=1, ls=(0, (3, 2)))
        axes.set_yticks(range(len(levels)), levels if axes in grid[:, 0] else [])
        axes.set_ylim(len(levels) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.get_xticklabels()[-1].set_ha("right")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.spines["left"].set_visible(False)
        axes.set_title(task)
    for axes in list(grid.flat)[len(tasks) :]:
        axes.set_visible(False)
    return figure


@styled
def training_curves(course: pd.DataFrame) -> Figure:
    """Accuracy of the test samples over epochs, a line for each task and level.

    Args:
        course: Table of ``training.csv``.
    """
    names = course["task"] + ", " + course["level"]
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    curves = names.unique().tolist()
    for curve, colour in class_colours(curves).items():
        own = course.loc[names == curve]
        epochs = np.unique(own["epoch"].to_numpy())
        line = [own.loc[own["epoch"] == epoch, "top1"].to_numpy().mean() for epoch in epochs]
        axes.plot(epochs, line, color=colour, lw=1.8, label=curve,
                  marker="o", ms=3)  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel("top-1 accuracy")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y")
    axes.legend(loc="lower right")
    return figure

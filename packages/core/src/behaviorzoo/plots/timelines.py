"""What happens over time: ethograms and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from behaviorzoo.errors import UserError
from behaviorzoo.palette import INK, class_colours
from behaviorzoo.plots.style import WIDTH, patches, styled


@styled
def ethogram(
    rows: Mapping[str, np.ndarray],
    classes: Sequence[str],
    *,
    first_frame: int = 0,
    fps: float | None = None,
    title: str = "",
    correct: bool = True,
) -> Figure:
    """Labels against predictions over time, one strip per row in shared colours.

    Args:
        rows: Name -> codes (n,); the first row is the reference. Negative codes stay empty.
        classes: Class names.
        first_frame: Frame number of the first code in the source.
        fps: Frames per second; with it the lower axis also tells the time.
        title: Title of the figure.
        correct: Add to each further row its share of labelled frames equal to the first row.

    Returns:
        The figure.
    """
    reference = np.asarray(next(iter(rows.values())))
    lines = -(-len(classes) // 8)
    height = 0.3 * len(rows) + 0.75 + 0.22 * lines + 0.25 * bool(title)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    draw_strips(axes, rows, dict.fromkeys(rows, classes), first_frame)
    for position, codes in enumerate(map(np.asarray, rows.values())):
        labelled = (reference >= 0) & (codes >= 0)
        if correct and position and labelled.any():
            share = (codes[labelled] == reference[labelled]).mean()
            axes.text(
                1.008, position, f"{share:.0%}", va="center", transform=axes.get_yaxis_transform()
            )
    axes.set_xlabel("frame" if fps is None else f"frame ({len(reference) / fps:.0f} s shown)")
    axes.set_title(title)
    figure.legend(
        handles=patches(class_colours(classes)),
        loc="outside lower center",
        ncols=8,
        columnspacing=1.2,
        handletextpad=0.3,
    )
    return figure


def draw_strips(
    axes: Axes,
    rows: Mapping[str, np.ndarray],
    classes: Mapping[str, Sequence[str]],
    first_frame: int,
) -> None:
    """Draw a strip of coloured bouts for each row.

    Args:
        axes: Where.
        rows: Name -> codes (n,); negative codes stay empty.
        classes: Name of a row -> class names.
        first_frame: Frame number of the first code in the source.
    """
    n_frames = max(len(codes) for codes in rows.values())
    for position, (name, codes) in enumerate(rows.items()):
        for code, colour in enumerate(class_colours(classes[name]).values()):
            spans = [(first_frame + a, b - a) for a, b in runs(np.asarray(codes) == code)]
            axes.broken_barh(spans, (position - 0.4, 0.8), facecolors=colour, lw=0, rasterized=True)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlim(first_frame, first_frame + n_frames)
    axes.spines[["left"]].set_visible(False)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Intervals [start, stop) where a boolean array (n,) is True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@styled
def loss_curves(metrics: pd.DataFrame, *, columns: Sequence[str] | None = None) -> Figure:
    """Loss over training steps: as logged (faint) and smoothed.

    Args:
        metrics: Log with a column ``step`` (else the row number) and loss columns; cells may be
            empty where a value was not logged.
        columns: What to draw; default: every column with ``loss`` in its name.

    Returns:
        The figure.

    Raises:
        UserError: There is no such column, or no value in it.
    """
    if columns is None:
        columns = [str(name) for name in metrics.columns if "loss" in str(name).lower()]
    step = metrics["step"] if "step" in metrics else pd.Series(range(len(metrics)))
    logged = {name: metrics[name].notna().to_numpy() for name in columns}
    logged = {name: rows for name, rows in logged.items() if rows.any()}
    if not logged:
        raise UserError(f"no loss was logged; the columns are {', '.join(map(str, metrics))}")
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    for name, colour in class_colours(list(logged)).items():
        x = step.to_numpy()[logged[name]]
        y = metrics[name].to_numpy(dtype=float)[logged[name]]
        label = f"{name.replace('_', ' ')}, last {y[-1]:.3g}"
        if len(y) > 30:
            axes.plot(x, y, color=colour, alpha=0.25, lw=0.8)
            smooth = pd.Series(y).ewm(span=len(y) / 25 + 1).mean()
            axes.plot(x, smooth, color=colour, lw=1.8, label=label)
        else:
            axes.plot(x, y, color=colour, lw=1.8, marker="o", ms=3, label=label)
    axes.legend(loc="upper right")
    axes.grid(axis="y")
    axes.set_xlabel("training step")
    axes.set_ylabel("loss")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure

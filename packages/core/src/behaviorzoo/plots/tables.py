"""Pictures of tables: confusion matrices and missing points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from behaviorzoo.errors import UserError
from behaviorzoo.palette import INK
from behaviorzoo.plots.style import BLUES, WIDTH, styled


@styled
def confusion_matrix(counts: np.ndarray, classes: Sequence[str], *, title: str = "") -> Figure:
    """Labels (rows) against predictions (columns): share of the row as colour, counts as text.

    Args:
        counts: Frames (classes, classes).
        classes: Class names.
        title: Title.

    Returns:
        The figure.

    Raises:
        UserError: The matrix does not fit the names.
    """
    counts = np.asarray(counts)
    n = len(classes)
    if counts.shape != (n, n):
        raise UserError(f"confusion matrix of shape {counts.shape} for {n} classes")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(2.4, 0.52 * n)
    figure = Figure(figsize=(size + 1.2, size + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap=BLUES, vmin=0, vmax=1)
    for i in range(n):
        for j in range(n):
            colour = "white" if share[i, j] > 0.45 else "#1c2231"
            text = f"{share[i, j]:.0%}\n{_short(int(counts[i, j]))}" if counts[i, j] else ""
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(n), list(classes), rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), list(classes))
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return figure


def _short(count: int) -> str:
    return f"{count / 1000:.1f}k" if count >= 10_000 else str(count)


@styled
def missing_points(report: pd.DataFrame, *, max_rows: int = 60) -> Figure:
    """Share of missing frames per key point (columns), recording and individual (rows).

    Args:
        report: Table of ``behaviorzoo.recordings.missing_report``, of one or more recordings.
        max_rows: With more rows than this, the individuals of a recording are averaged, then
            only the recordings with the largest share are drawn.

    Returns:
        The figure.
    """
    rows = ["recording", "individual"]
    if len(report[rows].drop_duplicates()) > max_rows:
        rows = ["recording"]
    table = report.pivot_table(index=rows, columns="keypoint", values="share", sort=False)
    note = ""
    if len(table) > max_rows:
        note = f"the {max_rows} worst of {len(table)} recordings"
        table = table.iloc[np.argsort(-table.mean(axis=1).to_numpy(), kind="stable")[:max_rows]]
    shares = table.to_numpy(dtype=float)
    n_rows, n_columns = shares.shape
    width = min(WIDTH, 2.6 + 0.5 * n_columns)
    figure = Figure(figsize=(width, 0.9 + max(0.17 * n_rows, 0.5)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=BLUES, vmin=0, vmax=1, aspect="auto")
    if n_rows * n_columns <= 250:
        for (i, j), share in np.ndenumerate(shares):
            colour = "white" if share > 0.45 else "#1c2231"
            axes.text(j, i, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(n_columns), list(table), rotation=35, ha="right", rotation_mode="anchor")
    names = [
        name if isinstance(name, str) else "  ".join(map(str, name))
        for name in table.index.to_list()
    ]
    axes.set_yticks(range(n_rows), names, fontsize=min(8.5, 6 + 60 / n_rows))
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title(note)
    _colour_bar(figure, image, axes, "share of frames missing")
    return figure


def _colour_bar(figure: Figure, image: ScalarMappable, axes: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label(label)

"""Pictures of hyperbolic embeddings: the Poincare disk, and the uncertainty of classes.

Letters: N points, D coordinates, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, NullLocator

from behaviorzoo.palette import INK, MUTED, RULE, UNLABELLED, class_colours
from behaviorzoo.plots.style import WIDTH, patches, styled
from behaviorzoo.projection import fit_projection

RINGS = (0.5, 0.9, 0.99, 0.999, 0.9999)
"""Radii that are drawn as circles, where points come that far out."""

_LEGEND_ROWS = 14
_SEED = 0


def disk_coordinates(points: np.ndarray) -> np.ndarray:
    """Points of a ball of any dimension in the unit disk.

    The distance from the origin, which is what the uncertainty is read from, is kept; the angle is
    that of the direction in the plane in which directions vary most.

    Args:
        points: (N, D), norms below 1.

    Returns:
        float64 (N, 2) with the same norms.
    """
    points = np.asarray(points, dtype=np.float64)
    radius = np.linalg.norm(points, axis=1, keepdims=True)
    directions = points / np.maximum(radius, 1e-15)
    if len(points) < 2:
        flat = np.tile([1.0, 0.0], (len(points), 1))
    else:
        flat = fit_projection(directions)(directions).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = np.where(length > 0, flat / np.maximum(length, 1e-15), [1.0, 0.0])
    return flat * radius


def hyperbolic_radius(radius: np.ndarray) -> np.ndarray:
    """Distance from the origin in the ball of curvature -1, ``2 artanh(radius)``."""
    return 2 * np.arctanh(np.minimum(np.asarray(radius, dtype=np.float64), 1 - 1e-15))


@styled
def poincare_disk(
    points: np.ndarray,
    codes: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "",
    max_points: int = 6000,
) -> Figure:
    """Embeddings in the Poincare disk twice: as they lie, and with hyperbolic distances.

    On the left radii are those of the ball, so that sure sequences crowd at the rim. On the right
    the distance from the middle is the hyperbolic one, which spreads the rim out.

    Args:
        points: (N, D) points of the ball.
        codes: int (N,), -1 = unlabelled.
        classes: C names.
        title: Title.
        max_points: Points drawn at most, chosen at random.
    """
    flat = disk_coordinates(points)
    radius = np.linalg.norm(flat, axis=1)
    chosen = np.random.default_rng(_SEED).permutation(len(flat))[:max_points]
    far = hyperbolic_radius(radius)
    limit = max(float(far.max(initial=0)), 1e-9) * 1.04
    spread = flat / np.maximum(radius, 1e-15)[:, None] * far[:, None]
    columns = -(-len(classes) // _LEGEND_ROWS)
    legend = 1.6 * columns if classes else 0.0
    side = (WIDTH - legend) / 2
    figure = Figure(figsize=(WIDTH, side + 0.45), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_disk(left, flat[chosen], codes[chosen], classes, 1.0)
    _draw_disk(right, spread[chosen], codes[chosen], classes, limit)
    rings = [ring for ring in RINGS if hyperbolic_radius(np.array(ring)) < limit]
    for ring in rings:
        place = float(hyperbolic_radius(np.array(ring)))
        right.add_patch(Circle((0, 0), place, fill=False, ec=RULE, lw=0.8, zorder=0))
        right.annotate(
            f"{ring:g}", (0, place), color=MUTED, fontsize=7, ha="center", va="bottom",
            xytext=(0, 1), textcoords="offset points",
        )  # fmt: skip
    left.set_title(title or "in the ball")
    right.set_title("by hyperbolic distance from the middle")
    if classes:
        figure.legend(
            handles=patches(class_colours(classes)), loc="outside right center",
            ncols=columns, columnspacing=1.0, handletextpad=0.3,
        )  # fmt: skip
    return figure


@styled
def uncertainty_by_class(
    uncertainty: np.ndarray, codes: np.ndarray, classes: Sequence[str], *, title: str = ""
) -> Figure:
    """Uncertainty of every sequence, a row for each class, the least certain class on top.

    Dots are sequences, the bar the middle half, the line the median. The axis is logarithmic
    where values differ by more than tenfold.

    Args:
        uncertainty: (N,) in [0, 1].
        codes: int (N,), -1 = unlabelled.
        classes: C names; none for one row of all.
        title: Title.
    """
    names = list(classes) or ["all"]
    codes = np.asarray(codes) if classes else np.zeros(len(uncertainty), dtype=int)
    present = [c for c in range(len(names)) if (codes == c).any()]
    order = sorted(present, key=lambda c: -float(np.median(uncertainty[codes == c])))
    colours = class_colours(names)
    figure = Figure(figsize=(WIDTH, 0.75 + 0.27 * max(len(order), 1)), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(_SEED)
    for row, c in enumerate(order):
        own = uncertainty[codes == c]
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
        colour = colours[names[c]]
        place = row + rng.uniform(-0.22, 0.22, len(own))
        axes.plot([low, high], [row, row], color=RULE, lw=9, solid_capstyle="butt", zorder=1)
        axes.scatter(own, place, s=7, color=colour, alpha=0.6, linewidths=0, zorder=2,
                     rasterized=True)  # fmt: skip
        axes.plot([middle, middle], [row - 0.34, row + 0.34], color=INK, lw=1.6, zorder=3)
    _uncertainty_axis(axes, uncertainty[codes >= 0])
    axes.set_yticks(range(len(order)), [names[c] for c in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("uncertainty, 1 - radius (sure on the left)")
    axes.set_title(title)
    return figure


def _draw_disk(
    axes: Axes, points: np.ndarray, codes: np.ndarray, classes: Sequence[str], limit: float
) -> None:
    colours = np.array([*class_colours(classes).values(), UNLABELLED], dtype=object)
    axes.add_patch(Circle((0, 0), limit, fc="none", ec=MUTED, lw=1.0, zorder=0))
    axes.plot(0, 0, "+", color=MUTED, ms=6, mew=0.8, zorder=0)
    axes.scatter(
        *points.T, s=8, c=list(colours[codes]), alpha=0.75, linewidths=0, zorder=2, rasterized=True
    )
    axes.set_xlim(-1.06 * limit, 1.06 * limit)
    axes.set_ylim(-1.06 * limit, 1.06 * limit)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _uncertainty_axis(axes: Axes, values: np.ndarray) -> None:
    low, high = float(values.min(initial=1)), float(values.max(initial=0))
    if low > 0 and high > 10 * low:
        axes.set_xscale("log")
        return
    margin = max(0.05 * (high - low), 0.02 * max(high, 1e-9))
    axes.set_xlim(low - margin, high + margin)
    if high - low < 1e-4:  # saturated: all at the rim, and matplotlib's offset would confuse
        axes.xaxis.set_major_locator(FixedLocator([low, high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{low:.3g}", f"{high:.3g}"])

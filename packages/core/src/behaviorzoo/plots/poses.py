"""Drawings of animals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from behaviorzoo.errors import UserError
from behaviorzoo.palette import individual_colours
from behaviorzoo.plots.style import WIDTH, patches, styled
from behaviorzoo.skeleton import skeleton_edges


@styled
def pose_snapshots(
    ds: xr.Dataset,
    frames: Sequence[int],
    *,
    edges: Sequence[tuple[int, int]] | None = None,
    trail: int = 15,
) -> Figure:
    """Poses at some frames, side by side, with the way that led there.

    Each panel is a square around the animals of its frame.

    Args:
        ds: A recording; of three dimensions the first two are drawn.
        frames: Frame numbers of the source.
        edges: Pairs of key point indices to join; default: ``skeleton_edges``.
        trail: Frames of the past drawn as the path of each individual's most often seen point.

    Returns:
        The figure.

    Raises:
        UserError: A frame outside the recording.
    """
    columns = min(len(frames), 5)
    rows = -(-len(frames) // columns)
    width = WIDTH / 5 * columns
    figure = Figure(figsize=(width, WIDTH / 5 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    draw_poses(grid, ds, frames, edges=edges, trail=trail)
    names = [str(name) for name in ds["individuals"].to_numpy()]
    if len(names) > 1:
        figure.legend(
            handles=patches(individual_colours(names)), loc="outside lower center", ncols=6
        )
    return figure


def draw_poses(
    grid: Sequence[Axes] | np.ndarray,
    ds: xr.Dataset,
    frames: Sequence[int],
    *,
    edges: Sequence[tuple[int, int]] | None = None,
    trail: int = 15,
) -> None:
    """Draw one frame into each of the given axes; see :func:`pose_snapshots`."""
    first, n_frames = int(ds["time"][0]), ds.sizes["time"]
    position = ds["position"].to_numpy()[:, :2]  # (T, 2, K, I)
    outside = [frame for frame in frames if not first <= frame < first + n_frames]
    if outside:
        raise UserError(
            f"recording {ds.attrs.get('name')!r}: frame {outside[0]} is not in the recording, "
            f"which has the frames {first} to {first + n_frames - 1}"
        )
    edges = skeleton_edges(ds) if edges is None else edges
    # The path of a mean of points would jump whenever one of them is lost.
    leaders = np.isfinite(position[:, 0]).sum(axis=0).argmax(axis=0)
    colours = list(
        individual_colours([str(name) for name in ds["individuals"].to_numpy()]).values()
    )
    rows = [frame - first for frame in frames]
    for axes, frame, row in zip(grid, frames, rows, strict=False):
        for i, colour in enumerate(colours):
            past = position[max(0, row - trail) : row + 1, :, leaders[i], i]
            axes.plot(*past.T, color=colour, alpha=0.35, lw=1)
            points = position[row, :, :, i].T  # (K, 2)
            lines = LineCollection([points[list(edge)] for edge in edges], colors=colour, lw=1.4)
            axes.add_collection(lines)
            axes.scatter(*points.T, s=9, color=colour, linewidths=0, zorder=3)
        centre, half = _square(position[row])
        axes.set_xlim(centre[0] - half, centre[0] + half)
        # Image coordinates: y grows downwards.
        axes.set_ylim(centre[1] + half, centre[1] - half)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_title(f"frame {frame}", fontsize=8.5, weight="normal")
    for axes in grid[len(frames) :]:
        axes.set_visible(False)


def _square(pose: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and half side of a square that holds the animals of a frame (2, K, I)."""
    flat = pose.reshape(2, -1)
    flat = flat[:, np.isfinite(flat).all(axis=0)]
    if not flat.size:
        return np.zeros(2), 1.0
    low, high = flat.min(axis=1), flat.max(axis=1)
    return (low + high) / 2, 0.58 * max(float((high - low).max()), 1e-6)

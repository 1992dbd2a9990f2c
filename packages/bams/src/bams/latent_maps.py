"""Maps of a latent space: one panel for each timescale, a row for each projection.

Letters: P points (frames, or recordings), E features of an embedding.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from behaviorzoo.errors import UserError
from behaviorzoo.palette import INK, MUTED, UNLABELLED, class_colours
from behaviorzoo.plots.maps import draw_points
from behaviorzoo.plots.style import WIDTH, patches, styled
from behaviorzoo.projection import fit_projection

Method = Literal["pca", "umap"]

METHODS: tuple[Method, ...] = ("pca", "umap")
TITLES = {"pca": "PCA", "umap": "UMAP"}
# The order of colours in the authors' notebook.
AUTHORS_COLOURS = (
    *("r", "g", "b", "c", "m", "y", "k"),
    *("tab:gray", "pink", "aqua", "darkorange", "purple"),
)
FEWEST_FOR_UMAP = 16  # with fewer, where a point lies is chance
_LONGEST_LEGEND = 24


@dataclass(frozen=True)
class Map:
    """A projected level.

    Attributes:
        points: (P, 2).
        explained: Share of the variance that the plane shows; None for UMAP.
    """

    points: np.ndarray
    explained: float | None = None


@dataclass(frozen=True)
class Colouring:
    """What the colours mean.

    Attributes:
        name: Title.
        values: Class codes int (P,), negative = unlabelled; or numbers (P,), NaN = unlabelled.
        classes: Names of the classes; None for numbers.
    """

    name: str
    values: np.ndarray
    classes: Sequence[str] | None


def umap_is_installed() -> bool:
    """Whether the optional library is here."""
    return importlib.util.find_spec("umap") is not None


def require_umap(methods: Sequence[Method]) -> None:
    """Stop at once where UMAP is asked for and its library is not installed.

    Raises:
        UserError: It is not; the line says how to install it.
    """
    if "umap" in methods and not umap_is_installed():
        raise UserError("UMAP needs umap-learn: pip install 'behaviorzoo-bams[umap]'")


def project(values: np.ndarray, method: Method, *, neighbours: int = 15, seed: int = 0) -> Map:
    """Project embeddings onto a plane.

    Args:
        values: (P, E).
        method: ``pca``, or ``umap`` (McInnes et al. 2018).
        neighbours: Points that UMAP takes for near each other.
        seed: Decides UMAP's chance.

    Returns:
        The points.

    Raises:
        UserError: Too few points, or UMAP is not installed.
    """
    if method == "pca":
        projection = fit_projection(values)
        return Map(projection(values), float(projection.shares.sum()))
    require_umap([method])
    if len(values) < FEWEST_FOR_UMAP:
        raise UserError(f"UMAP of {len(values)} points: at least {FEWEST_FOR_UMAP} are needed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own choices, such as one thread by a seed
        import umap

        # Principal components as a start: the same picture every time, also of few points.
        reducer = umap.UMAP(
            n_neighbors=min(neighbours, len(values) - 1), init="pca", random_state=seed, n_jobs=1
        )
        return Map(np.asarray(reducer.fit_transform(values), dtype=np.float32))


@styled
def latent_panels(
    maps: Mapping[Method, Mapping[str, Map]], colouring: Colouring, *, title: str = ""
) -> Figure:
    """Draw projections: a row for each method, a column for each level.

    Args:
        maps: Method -> level -> projected points; the same P points everywhere.
        colouring: Their colours.
        title: Title of the figure; by default the name of the colouring.

    Returns:
        The figure.
    """
    levels = list(next(iter(maps.values())))
    names = [] if colouring.classes is None else list(colouring.classes)
    side = WIDTH / max(len(levels), 3)
    lines = -(-len(names) // 8) if 0 < len(names) <= _LONGEST_LEGEND else 1
    below = 0.22 * lines if colouring.classes is not None else 0.7
    height = (side + 0.1) * len(maps) + 0.5 + below
    figure = Figure(figsize=(side * len(levels), height), layout="constrained")
    grid = figure.subplots(len(maps), len(levels), squeeze=False)
    scale = _scale(colouring)
    for row, (method, found) in zip(grid, maps.items(), strict=True):
        for axes, (level, mapped) in zip(row, found.items(), strict=True):
            axes.set_box_aspect(1)
            _draw(axes, mapped.points, colouring, scale)
            if method == "pca":
                axes.set_title(f"{level}, {mapped.explained:.0%} of variance")
            else:
                axes.set_title(level)
            if axes is row[0]:
                axes.set_ylabel(TITLES[method], color=INK, weight="bold")
    figure.suptitle(title or colouring.name, color=INK, weight="bold", fontsize=11)
    if scale is not None:
        bar = figure.colorbar(scale, ax=grid, location="bottom", aspect=40, pad=0.02)
        bar.set_label(colouring.name)
    elif 0 < len(names) <= _LONGEST_LEGEND:
        handles = patches(class_colours(names))
        figure.legend(handles=handles, loc="outside lower center", ncols=8, columnspacing=1.2)
    elif names:
        figure.supxlabel(f"{len(names)} colours", color=MUTED, fontsize=8.5)
    return figure


def notebook_panels(
    maps: Mapping[str, Map], codes: np.ndarray | None = None, *, title: str = ""
) -> Figure:
    """The picture of the authors' notebook: three panels, their colours, variance in the titles.

    Args:
        maps: Level -> principal components of the sequences' mean embeddings.
        codes: Whole numbers (P,) that choose among the twelve colours; negative = grey.
        title: Title of the figure.
    """
    with rc_context(dict(rcParamsDefault)):
        figure = Figure(figsize=(15, 5))
        grid = figure.subplots(1, len(maps), squeeze=False)[0]
        n_points = len(next(iter(maps.values())).points)
        known = AUTHORS_COLOURS
        chosen = np.zeros(n_points, dtype=int) if codes is None else codes
        colours = [known[code % len(known)] if code >= 0 else "lightgray" for code in chosen]
        for axes, (level, mapped) in zip(grid, maps.items(), strict=True):
            axes.scatter(*mapped.points.T, c=colours)
            axes.set_title(f"{level}: {round(100 * (mapped.explained or 0))}% of variance")
        figure.suptitle(title)
    return figure


def _draw(
    axes: Axes, points: np.ndarray, colouring: Colouring, scale: ScalarMappable | None
) -> None:
    if colouring.classes is not None:
        # Drawn in random order, so that no class hides another.
        order = np.random.default_rng(0).permutation(len(points))
        draw_points(axes, points[order], colouring.values[order], colouring.classes)
    else:
        known = ~np.isnan(colouring.values)
        assert scale is not None
        for chosen, colours in (
            (~known, UNLABELLED),
            (known, list(scale.to_rgba(colouring.values[known]))),  # pyright: ignore
        ):
            axes.scatter(*points[chosen].T, s=5, c=colours, alpha=0.65, lw=0, rasterized=True)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.04)
        axes.spines[["top", "right"]].set_visible(True)
    if len(points) < 1000:  # few points may be large
        for drawn in axes.collections:
            drawn.set_sizes([20])  # pyright: ignore[reportAttributeAccessIssue]


def _scale(colouring: Colouring) -> ScalarMappable | None:
    if colouring.classes is not None:
        return None
    known = colouring.values[~np.isnan(colouring.values)]
    limits = (known.min(), known.max()) if len(known) else (0, 1)
    return ScalarMappable(Normalize(*limits), "viridis")

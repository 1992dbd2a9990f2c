"""The look of the figures, and writing them to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.palette import INK, MUTED, RULE

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "behaviorzoo",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "svg.fonttype": "none",
}
WIDTH = 8.6  # inches, the column of a report
BLUES = LinearSegmentedColormap.from_list("house", ["#f3f6fa", "#7fb2d6", "#0072B2", "#123a5e"])

Parameters = ParamSpec("Parameters")


def styled(function: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Give the figures of a function the style of the house, and leave matplotlib as it was."""

    @wraps(function)
    def with_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with rc_context(STYLE):
            return function(*args, **kwargs)

    return with_style


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure; the suffix decides the format (png, svg, pdf).

    Args:
        figure: Any figure of this module.
        path: Target.
        dpi: Resolution of pixels, and of points inside vector files.

    Returns:
        The path.

    Raises:
        UserError: The file cannot be written, or matplotlib does not know the format.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise UserError(f"{path}: cannot draw this format; use one of {', '.join(sorted(known))}")
    # The same figure gives the same file, whenever it is drawn.
    dated = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix.lower())
    metadata = {dated: None} if dated else None
    with rc_context(STYLE), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight", metadata=metadata)
    return path


def patches(colours: Mapping[str, str]) -> list[Line2D]:
    """Handles of a legend: one square for each name."""
    return [
        Line2D([], [], marker="s", linestyle="none", color=colour, markersize=6, label=name)
        for name, colour in colours.items()
    ]

"""Figures for behaviour: maps, ethograms, scores, missing points, poses.

Each function returns a ``matplotlib.figure.Figure`` that belongs to the caller: nothing is
shown and pyplot is not used. :func:`save_figure` writes a file. Colours are safe for
colour-blind readers (``behaviorzoo.palette``).
"""

from behaviorzoo.plots.maps import embedding_map
from behaviorzoo.plots.poses import pose_snapshots
from behaviorzoo.plots.scores import scores_by_level
from behaviorzoo.plots.style import save_figure
from behaviorzoo.plots.tables import confusion_matrix, missing_points
from behaviorzoo.plots.timelines import ethogram, loss_curves

__all__ = [
    "confusion_matrix",
    "embedding_map",
    "ethogram",
    "loss_curves",
    "missing_points",
    "pose_snapshots",
    "save_figure",
    "scores_by_level",
]

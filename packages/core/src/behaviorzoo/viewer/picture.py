"""A static picture of a recording: poses, embedding map and label tracks."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behaviorzoo.palette import INK, class_colours, individual_colours
from behaviorzoo.plots.maps import draw_points
from behaviorzoo.plots.poses import draw_poses
from behaviorzoo.plots.style import WIDTH, patches, styled
from behaviorzoo.plots.timelines import draw_strips
from behaviorzoo.viewer.scene import Scene, Track

N_POSES = 5
MAX_POINTS = 8000


@styled
def view_figure(scene: Scene) -> Figure:
    """Draw five poses, the map of the scene's level, and the label tracks.

    Args:
        scene: What to show.

    Returns:
        The figure; letters tell where the poses are on the map and on the tracks.
    """
    has_map, has_tracks = bool(scene.maps), bool(scene.tracks)
    labelled = {track.task: track.classes for track in scene.tracks}
    heights = [WIDTH / N_POSES + 0.3]
    if has_map or has_tracks:
        heights.append(max(2.6 if has_map else 0, 0.6 + 0.34 * len(_shown(scene))))
    if labelled:
        heights.append(0.35 + 0.19 * max(-(-len(names) // 3) for names in labelled.values()))
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(scene.name, x=0.01, ha="left", weight="bold", fontsize=11)
    bands = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).ravel()
    rows = np.linspace(0, scene.n_frames - 1, N_POSES + 2)[1:-1].astype(int)
    frames = (rows + scene.first_frame).tolist()
    grid = bands[0].subplots(1, N_POSES)
    draw_poses(grid, scene.recording, frames, edges=scene.edges)
    for letter, axes in zip("abcde", grid, strict=True):
        axes.set_title(f"{letter}   {axes.get_title(loc='left')}", fontsize=8.5, weight="normal")
    names = [str(name) for name in scene.recording["individuals"].to_numpy()]
    if len(names) > 1:
        bands[0].legend(
            handles=patches(individual_colours(names)), loc="outside lower center", ncols=6
        )
    if has_map or has_tracks:
        widths = [1.0] * has_map + [1.5] * has_tracks
        columns = bands[1].subplots(1, len(widths), width_ratios=widths, squeeze=False).ravel()
        if has_map:
            _map(columns[0], scene, rows)
        if has_tracks:
            _tracks(columns[-1], scene, frames)
    for index, (task, classes) in enumerate(labelled.items()):
        bands[-1].legend(
            handles=patches(class_colours(classes)),
            loc="upper left",
            bbox_to_anchor=(index / len(labelled), 1.0),
            ncols=3,
            columnspacing=1.0,
            handletextpad=0.2,
            title=task,
            title_fontproperties={"weight": "bold", "size": 8.5},
            alignment="left",
        )
    return figure


def _shown(scene: Scene) -> list[Track]:
    """Labels, and the predictions of the scene's level."""
    return [track for track in scene.tracks if track.level in ("", scene.level)]


def _map(axes: Axes, scene: Scene, rows: np.ndarray) -> None:
    points = scene.maps[scene.level]
    chosen = np.random.default_rng(0).permutation(scene.n_frames)[:MAX_POINTS]
    track = next((track for track in scene.tracks if not track.level), None)
    codes = np.full(scene.n_frames, -1) if track is None else track.codes
    draw_points(axes, points[chosen], codes[chosen], [] if track is None else track.classes)
    for letter, point in zip("abcde", points[rows], strict=True):
        if np.isfinite(point).all():
            axes.plot(point[0], point[1], "o", ms=12, mfc="white", mec=INK, alpha=0.9)
            axes.text(point[0], point[1], letter, ha="center", va="center_baseline", fontsize=8)
    first, second = scene.shares[scene.level]
    by = "" if track is None else f", coloured by {track.task}"
    axes.set_title(f"{scene.level}{by}")
    axes.set_xlabel(f"PC 1 {first:.0%}, PC 2 {second:.0%} of variance", loc="left", fontsize=7.5)


def _tracks(axes: Axes, scene: Scene, frames: list[int]) -> None:
    rows, classes = {}, {}
    for track in _shown(scene):
        name = f"{track.task}\npredicted" if track.level else track.task
        rows[name], classes[name] = track.codes, track.classes
    draw_strips(axes, rows, classes, scene.first_frame)
    # Few strips keep the height of a strip.
    axes.set_ylim(max(len(rows), 3) - 0.45, -0.55)
    for letter, frame in zip("abcde", frames, strict=True):
        axes.axvline(frame, color=INK, lw=0.8)
        axes.text(frame, -0.58, letter, ha="center", va="bottom", fontsize=8)
    axes.set_xlabel("frame")

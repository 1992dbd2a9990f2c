"""Which key points to join by a line when an animal is drawn."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from scipy.sparse.csgraph import minimum_spanning_tree

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.synthetic_motion import SKELETON as SYNTHETIC

# Joints between common names, in lower case with single underscores. Where the two points of a
# joint exist and the joints connect every point, these lines are drawn.
KNOWN: tuple[tuple[str, str], ...] = (
    *SYNTHETIC,
    # CalMS21, MARS and the mouse triplets of MABe22
    ("nose", "ear_left"),
    ("nose", "ear_right"),
    ("ear_left", "neck"),
    ("ear_right", "neck"),
    ("neck", "hip_left"),
    ("neck", "hip_right"),
    ("hip_left", "tail_base"),
    ("hip_right", "tail_base"),
    ("neck", "forepaw_left"),
    ("neck", "forepaw_right"),
    ("neck", "center_back"),
    ("center_back", "hindpaw_left"),
    ("center_back", "hindpaw_right"),
    ("center_back", "tail_base"),
    ("tail_base", "tail_middle"),
    ("tail_middle", "tail_tip"),
)
_SAMPLE_FRAMES = 500


def skeleton_edges(ds: xr.Dataset, choice: str = "auto") -> list[tuple[int, int]]:
    """Edges between the key points of a recording.

    ``auto`` takes the known joints where they connect all key points; otherwise the tree that
    joins all points by the shortest lines (minimum spanning tree of the median distance within
    an individual), which follows the body for most sets of key points.

    Args:
        ds: A recording.
        choice: ``auto``, ``tree``, ``none``, or edges by name, such as ``nose-neck,neck-tail``.

    Returns:
        Pairs of key point indices, each pair ascending.

    Raises:
        UserError: A name in ``choice`` is not a key point.
    """
    names = [str(name) for name in ds["keypoints"].to_numpy()]
    if choice == "none":
        return []
    if choice not in ("auto", "tree"):
        return [_named_edge(edge, names) for edge in choice.split(",")]
    known = _known_edges(names) if choice == "auto" else None
    return known if known is not None else _tree(ds)


def _known_edges(names: list[str]) -> list[tuple[int, int]] | None:
    index = {_plain(name): i for i, name in enumerate(names)}
    edges = {
        (min(index[a], index[b]), max(index[a], index[b]))
        for a, b in KNOWN
        if a in index and b in index
    }
    reached, frontier = {0}, [0]
    while frontier:
        point = frontier.pop()
        for edge in edges:
            if point in edge:
                other = edge[0] + edge[1] - point
                if other not in reached:
                    reached.add(other)
                    frontier.append(other)
    return sorted(edges) if len(reached) == len(names) else None


def _tree(ds: xr.Dataset) -> list[tuple[int, int]]:
    position = ds["position"].to_numpy()
    step = max(1, len(position) // _SAMPLE_FRAMES)
    points = position[::step].transpose(0, 3, 2, 1).astype(np.float64)  # (T, I, K, S)
    apart = np.linalg.norm(points[:, :, :, None] - points[:, :, None], axis=-1)
    with warnings.catch_warnings():
        # Two points that are never seen together have no distance; they get a long one.
        warnings.simplefilter("ignore", RuntimeWarning)
        distance = np.nanmedian(apart, axis=(0, 1))
    longest = np.nanmax(distance) if np.isfinite(distance).any() else 1.0
    # Zero means "no edge" to the tree, so points on top of each other are moved apart a little.
    distance = np.nan_to_num(distance, nan=10 * longest + 1) + 1e-6
    np.fill_diagonal(distance, 0)
    rows, columns = minimum_spanning_tree(distance).nonzero()
    return sorted((int(min(a, b)), int(max(a, b))) for a, b in zip(rows, columns, strict=True))


def _named_edge(edge: str, names: list[str]) -> tuple[int, int]:
    # Key points may have dashes in their names (tail-m-tail-e), so every split is tried.
    parts = edge.strip().split("-")
    for cut in range(1, len(parts)):
        a, b = "-".join(parts[:cut]).strip(), "-".join(parts[cut:]).strip()
        if a in names and b in names:
            return min(names.index(a), names.index(b)), max(names.index(a), names.index(b))
    wrong = next((part for part in parts if part not in names), edge)
    raise UserError(
        f"--skeleton: {edge!r} is not a pair A-B of key points of this recording; "
        f"{suggest(wrong, names)}"
    )


def _plain(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())

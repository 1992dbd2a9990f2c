"""The page of the viewer: the scene packed into one HTML file."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from behaviorzoo import pages
from behaviorzoo.files import atomic_path
from behaviorzoo.palette import class_colours, individual_colours
from behaviorzoo.viewer.scene import Scene, Track

# Coordinates travel as 16-bit integers: for an image of 2000 pixels steps of 0.03 pixels.
MISSING = -32768
LARGEST = 32500


def write_view(scene: Scene, path: str | Path) -> Path:
    """Write the page; it loads nothing from anywhere.

    Args:
        scene: What to show.
        path: The HTML file.

    Returns:
        The path.

    Raises:
        UserError: The file cannot be written.
    """
    path = Path(path)
    body = pages.asset("viewer.html").replace("{{name}}", escape(scene.name))
    body = body.replace("{{facts}}", escape(_facts(scene)))
    html = pages.render(
        f"{scene.name} - Behavior Zoo",
        body,
        styles=["base.css", "viewer.css"],
        scripts=["viewer.js", "viewer_tracks.js", "viewer_controls.js"],
        data=pack(scene),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def pack(scene: Scene) -> dict[str, Any]:
    """The scene as JSON values; T frames, S space, K key points, I individuals.

    Args:
        scene: The scene.

    Returns:
        ``positions`` holds (T, I, K, S) and each map (T, 2) as base64 of little-endian int16,
        with ``scale`` and ``offset`` to restore them.
    """
    ds = scene.recording
    individuals = [str(name) for name in ds["individuals"].to_numpy()]
    position = ds["position"].to_numpy().transpose(0, 3, 2, 1)  # (T, I, K, S)
    # A point without one coordinate is as good as missing.
    position = np.where(np.isfinite(position).all(axis=-1, keepdims=True), position, np.nan)
    flat = position.reshape(-1, position.shape[-1])
    seen = flat[np.isfinite(flat[:, 0])]
    # The outermost points are often errors of the tracker: they do not set the view.
    low, high = np.percentile(seen, [0.2, 99.8], axis=0) if len(seen) else np.zeros((2, 3))
    return {
        "name": scene.name,
        "firstFrame": scene.first_frame,
        "frames": scene.n_frames,
        "fps": float(ds.attrs["fps"]),
        "space": ds.sizes["space"],
        "keypoints": [str(name) for name in ds["keypoints"].to_numpy()],
        "individuals": [
            {"name": name, "colour": colour}
            for name, colour in zip(
                individuals, individual_colours(individuals).values(), strict=True
            )
        ],
        "edges": [list(edge) for edge in scene.edges],
        "positions": _quantised(position),
        "bounds": {"low": low.tolist(), "high": high.tolist()},
        "maps": [
            {"level": level, "shares": scene.shares[level].tolist(), **_quantised(points)}
            for level, points in scene.maps.items()
        ],
        "level": scene.level,
        "tracks": [_packed_track(track) for track in scene.tracks],
    }


def _quantised(values: np.ndarray) -> dict[str, Any]:
    """Values (..., D) as int16 with one scale, and an offset for each of the D columns."""
    seen = np.isfinite(values)
    flat = values.reshape(-1, values.shape[-1])
    has_any = seen.reshape(flat.shape).any(axis=0).all()
    low = np.nanmin(flat, axis=0) if has_any else np.zeros(flat.shape[1])
    high = np.nanmax(flat, axis=0) if has_any else np.ones(flat.shape[1])
    offset = (low + high) / 2
    scale = max(float((high - low).max()) / (2 * LARGEST), 1e-9)
    steps = np.where(seen, np.round((np.nan_to_num(values) - offset) / scale), MISSING)
    data = base64.b64encode(steps.astype("<i2").tobytes()).decode("ascii")
    return {"data": data, "scale": scale, "offset": [float(value) for value in offset]}


def _packed_track(track: Track) -> dict[str, Any]:
    edges = np.flatnonzero(np.diff(track.codes)) + 1
    starts = np.concatenate([[0], edges])
    stops = np.concatenate([edges, [len(track.codes)]])
    codes = track.codes[starts]
    runs = np.stack([starts, stops, codes], axis=1)[codes >= 0]
    return {
        "task": track.task,
        "level": track.level,
        "classes": track.classes,
        "colours": list(class_colours(track.classes).values()),
        "runs": runs.ravel().tolist(),
    }


def _facts(scene: Scene) -> str:
    ds, fps = scene.recording, float(scene.recording.attrs["fps"])
    share = float(np.isnan(ds["position"].to_numpy()[:, 0]).mean())
    last = scene.first_frame + scene.n_frames - 1
    n = ds.sizes["individuals"]
    return (
        f"frames {scene.first_frame} to {last} at {fps:g} fps · "
        f"{n} individual{'s' * (n != 1)} · {ds.sizes['keypoints']} key points · "
        f"{share:.1%} of points missing · {ds.attrs.get('source', 'unknown')}"
    )

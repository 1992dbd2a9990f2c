"""Missing key points: how many, where, and what to do about them.

A point is missing at a frame when any of its coordinates is NaN. Nothing here writes a zero
for a missing point; a policy is chosen by name or the data stay as they are.

Letters: T frames, S space (2 or 3), K key points, I individuals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest

if TYPE_CHECKING:
    import xarray as xr

POLICIES = ("keep", "interpolate", "mask")
REPORT_COLUMNS = (
    "recording",
    "individual",
    "keypoint",
    "frames",
    "missing",
    "share",
    "longest_gap",
    "first_seen",
    "last_seen",
)


def observed_points(ds: xr.Dataset) -> np.ndarray:
    """Which points of a recording were seen.

    Args:
        ds: A recording.

    Returns:
        Boolean array (T, K, I), true where every coordinate is a number.
    """
    return np.logical_not(np.isnan(ds["position"].to_numpy()).any(axis=1))


def missing_report(ds: xr.Dataset) -> pd.DataFrame:
    """Count the missing points of a recording, per individual and key point.

    Args:
        ds: A recording of T frames.

    Returns:
        One row per individual and key point with the columns ``recording, individual,
        keypoint, frames`` (T), ``missing`` (frames), ``share`` (0 to 1), ``longest_gap``
        (frames), ``first_seen`` and ``last_seen`` (source frame numbers, empty when the point
        is never seen).
    """
    observed = observed_points(ds)
    n_frames = observed.shape[0]
    # (T, K, I) -> (T, I*K), so that the rows of the table are grouped by individual
    seen = observed.transpose(0, 2, 1).reshape(n_frames, -1)
    frames = ds["time"].to_numpy()
    ever = seen.any(axis=0)
    first = frames[seen.argmax(axis=0)]
    last = frames[n_frames - 1 - seen[::-1].argmax(axis=0)]
    missing = (~seen).sum(axis=0)
    keypoints = ds["keypoints"].to_numpy().astype(str)
    individuals = ds["individuals"].to_numpy().astype(str)
    return pd.DataFrame(
        {
            "recording": str(ds.attrs.get("name", "")),
            "individual": np.repeat(individuals, len(keypoints)),
            "keypoint": np.tile(keypoints, len(individuals)),
            "frames": n_frames,
            "missing": missing,
            "share": missing / n_frames,
            "longest_gap": _longest_gap(seen),
            "first_seen": pd.array(first, dtype="Int64").copy(),
            "last_seen": pd.array(last, dtype="Int64").copy(),
        }
    ).assign(
        first_seen=lambda table: table["first_seen"].mask(~ever),
        last_seen=lambda table: table["last_seen"].mask(~ever),
    )


def check_policy(policy: str, max_gap: int | None) -> None:
    """Refuse a policy that :func:`handle_missing` does not know or that lacks its number.

    Raises:
        UserError: Unknown policy, or ``max_gap`` missing, not positive, or without use.
    """
    if policy not in POLICIES:
        raise UserError(f"missing policy {policy!r} is unknown; {suggest(policy, POLICIES)}")
    if policy == "interpolate" and (max_gap is None or max_gap < 1):
        raise UserError(
            f"missing policy 'interpolate' needs a max gap of at least 1 frame, got {max_gap}; "
            "say which gaps are short enough to draw a straight line over"
        )
    if policy != "interpolate" and max_gap is not None:
        raise UserError(
            f"max gap {max_gap} has no meaning for the missing policy {policy!r}; "
            "leave it out or choose 'interpolate'"
        )


def handle_missing(
    ds: xr.Dataset,
    policy: Literal["keep", "interpolate", "mask"] | str,
    max_gap: int | None = None,
) -> xr.Dataset:
    """Apply one policy for missing points; the input is not changed.

    Args:
        ds: A recording.
        policy: ``keep`` leaves the NaN; ``interpolate`` draws a straight line over gaps of at
            most ``max_gap`` frames between two seen points (never before the first or after
            the last one; the confidence of a drawn point is NaN); ``mask`` leaves the NaN and
            adds the boolean variable ``observed (time, keypoints, individuals)``.
        max_gap: Longest gap to close, in frames; for ``interpolate`` only.

    Returns:
        A new recording with the attribute ``missing_policy``.

    Raises:
        UserError: Unknown policy, or ``max_gap`` missing, not positive, or given for a policy
            that has no use for it.
    """
    check_policy(policy, max_gap)
    out = ds.copy()
    if policy == "interpolate":
        assert max_gap is not None
        out = _interpolate(out, max_gap).assign_attrs(max_gap=int(max_gap))
    elif policy == "mask":
        out["observed"] = (("time", "keypoints", "individuals"), observed_points(ds))
    return out.assign_attrs(missing_policy=policy)


def _interpolate(ds: xr.Dataset, max_gap: int) -> xr.Dataset:
    """Close the gaps of at most ``max_gap`` frames by straight lines."""
    observed = observed_points(ds)
    previous, following = _neighbours(observed)
    n_frames = observed.shape[0]
    inside = (previous >= 0) & (following < n_frames)
    fill = ~observed & inside & (following - previous - 1 <= max_gap)
    t, k, i = np.nonzero(fill)
    before, after = previous[t, k, i], following[t, k, i]
    position = ds["position"].to_numpy().copy()
    weight = ((t - before) / (after - before)).astype(position.dtype)[:, None]
    # position[t, :, k, i] is (filled points, S)
    left, right = position[before, :, k, i], position[after, :, k, i]
    position[t, :, k, i] = left + weight * (right - left)
    ds = ds.assign(position=(ds["position"].dims, position))
    if "confidence" in ds:
        confidence = ds["confidence"].to_numpy().copy()
        confidence[fill] = np.nan
        ds = ds.assign(confidence=(ds["confidence"].dims, confidence))
    return ds


def _neighbours(observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of the last seen point up to, and of the first seen point from, each row.

    Args:
        observed: Boolean (T, ...).

    Returns:
        ``previous`` (-1 where there is none) and ``following`` (T where there is none).
    """
    n_frames = observed.shape[0]
    rows = np.arange(n_frames).reshape(-1, *[1] * (observed.ndim - 1))
    previous = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    following = np.minimum.accumulate(np.where(observed, rows, n_frames)[::-1], axis=0)[::-1]
    return previous, following


def _longest_gap(seen: np.ndarray) -> np.ndarray:
    """Length of the longest run of missing frames per column of ``seen`` (T, N)."""
    previous, _ = _neighbours(seen)
    return (np.arange(seen.shape[0])[:, None] - previous).max(axis=0)

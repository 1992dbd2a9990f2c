"""Broken tracks: a tracker that loses an animal gives it a new track when it finds it again.

Letters: N rows, S space, K key points, F fragments.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.importers.tracks import Tracks


def note_fragments(tracks: Tracks) -> Tracks:
    """Warn when there are more tracks than animals that are ever seen together."""
    seen = _seen(tracks)
    together = int(seen.sum(axis=1).max())
    if seen.shape[1] > together > 0:
        typical = int(np.median(seen.sum(axis=1)[seen.any(axis=1)]))
        tracks.notes.append(
            f"{seen.shape[1]} tracks, but never more than {together} in one frame (mostly "
            f"{typical}): tracks are broken into fragments; --max-individuals {typical} joins "
            "them, or repair them in the tracker"
        )
    return tracks


def merge_fragments(tracks: Tracks, n_individuals: int, where: str) -> Tracks:
    """Join track fragments into at most ``n_individuals`` individuals by who is seen when.

    First, where more than ``n_individuals`` fragments are seen at once, the longest stay and
    the frames of the others are dropped. Then the fragments are taken in the order of time and
    each continues an individual that is free in all of its frames: the one whose last position
    is nearest to the fragment's first.

    Identity is a guess at every joint: two animals that meet while both are lost may be
    exchanged. What needs identities needs tracks that were repaired in the tracker.

    Args:
        tracks: Tracks with F individuals, one per fragment.
        n_individuals: Number of animals in the video.
        where: Name for the message.

    Returns:
        Tracks of ``n_individuals`` individuals, or the input when it has no more than those.

    Raises:
        UserError: ``n_individuals`` is below 1.
    """
    if n_individuals < 1:
        raise UserError(f"{where}: --max-individuals must be at least 1, got {n_individuals}")
    if len(tracks.individuals) <= n_individuals:
        return tracks
    seen = _seen(tracks)
    kept = _longest_together(seen, n_individuals)
    owner = np.full((len(seen), n_individuals), -1)
    centres = _centres(tracks)
    for fragment in _by_first_frame(kept):
        rows = np.flatnonzero(kept[:, fragment])
        slot = _free_slot(owner, centres, rows, fragment)
        free = owner[rows, slot] < 0
        owner[rows[free], slot] = fragment
        kept[rows[~free], fragment] = False
    row, slot = np.nonzero(owner >= 0)
    source = owner[row, slot]
    position = np.full((*tracks.position.shape[:3], n_individuals), np.nan, dtype=np.float32)
    position[row, :, :, slot] = tracks.position[row, :, :, source]
    confidence = tracks.confidence
    if confidence is not None:
        merged = np.full((*confidence.shape[:2], n_individuals), np.nan, dtype=np.float32)
        merged[row, :, slot] = confidence[row, :, source]
        confidence = merged
    lost = int(seen.sum()) - len(row)
    note = (
        f"{seen.shape[1]} track fragments were joined into {n_individuals} individuals; "
        f"{lost} of {int(seen.sum())} detections found no place; "
        "identities are a guess at every joint"
    )
    return replace(
        tracks,
        position=position,
        confidence=confidence,
        individuals=[f"individual_{i}" for i in range(n_individuals)],
        notes=[*tracks.notes, note],
    )


def _seen(tracks: Tracks) -> np.ndarray:
    """Whether any point of an individual is seen (N, F)."""
    missing = np.asarray(np.isnan(tracks.position).any(axis=1))
    return ~np.asarray(missing.all(axis=1))


def _centres(tracks: Tracks) -> np.ndarray:
    """Mean of the points seen (N, S, F), NaN where there is none."""
    seen = ~np.isnan(tracks.position).any(axis=1, keepdims=True)
    count = seen.sum(axis=2)
    total = np.where(seen, tracks.position, 0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _longest_together(seen: np.ndarray, n_individuals: int) -> np.ndarray:
    """Per frame, keep the ``n_individuals`` fragments that are longest overall (N, F)."""
    order = np.argsort(-seen.sum(axis=0), kind="stable")
    ranked = seen[:, order]
    kept = np.zeros_like(seen)
    kept[:, order] = ranked & (np.cumsum(ranked, axis=1) <= n_individuals)
    return kept


def _by_first_frame(kept: np.ndarray) -> np.ndarray:
    present = np.flatnonzero(kept.any(axis=0))
    return present[np.argsort(kept[:, present].argmax(axis=0), kind="stable")]


def _free_slot(owner: np.ndarray, centres: np.ndarray, rows: np.ndarray, fragment: int) -> int:
    """The individual that is free in most of ``rows``, and among these the nearest."""
    busy = (owner[rows] >= 0).sum(axis=0)
    first = centres[rows[0], :, fragment]
    distance = np.full(owner.shape[1], np.inf)
    for slot in range(owner.shape[1]):
        before = np.flatnonzero(owner[: rows[0], slot] >= 0)
        if before.size:
            last = centres[before[-1], :, owner[before[-1], slot]]
            distance[slot] = np.linalg.norm(first - last)
    return int(np.lexsort((distance, busy))[0])

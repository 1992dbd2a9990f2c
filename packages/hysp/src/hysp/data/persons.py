"""From the bodies of a raw file to the persons of a sample: who is who, and for how long.

The original takes the first two bodies of every frame as they stand in the file. Kinect gives
every person it tracks a number, though, and their order in a frame may change: two persons swap
places, or a chair that was taken for a person comes first. With ``compat="paper"`` a body's
number decides.

Letters: B bodies of all frames together, C coordinates (3), T frames, V joints, M persons.
"""

from __future__ import annotations

import numpy as np

from hysp.data.skeleton_files import Bodies, Compat

PERSONS = 2


def persons(bodies: Bodies, compat: Compat = "paper", n_persons: int = PERSONS) -> np.ndarray:
    """Give every body its person; a person who is not there is 0.

    Args:
        bodies: What a raw file holds.
        compat: ``paper``: a person is a tracked body; those seen in the most frames are kept, of
            equally long ones those that move more. ``upstream``: person m is the m-th body of
            each frame, whoever that is.
        n_persons: M.

    Returns:
        float64 (C, T, V, M).
    """
    person = bodies.slot if compat == "upstream" else _ranks(bodies)[bodies.identity]
    kept = person < n_persons
    V = bodies.joints.shape[1]
    data = np.zeros((bodies.n_frames, n_persons, V, 3))
    data[bodies.frame[kept], person[kept]] = bodies.joints[kept]
    return data.transpose(3, 0, 2, 1)  # (T, M, V, C) -> (C, T, V, M)


def _ranks(bodies: Bodies) -> np.ndarray:
    """Rank of each identity, int64 (identities,): 0 = the main person."""
    n = int(bodies.identity.max(initial=-1)) + 1
    frames = np.bincount(bodies.identity, minlength=n)
    movement = [bodies.joints[bodies.identity == k].std(axis=0).sum() for k in range(n)]
    order = np.lexsort((np.arange(n), -np.array(movement), -frames))
    ranks = np.empty(n, dtype=np.int64)
    ranks[order] = np.arange(n)
    return ranks


def present_frames(x: np.ndarray) -> np.ndarray:
    """Where a person is there: boolean (T, M) of an array (C, T, V, M)."""
    there = (x != 0).any(axis=0)  # (T, V, M)
    # One person at a time: reducing over the middle of three axes is many times slower.
    return np.stack([there[:, :, m].any(axis=1) for m in range(x.shape[3])], axis=-1)


def counted_frames(x: np.ndarray) -> np.ndarray:
    """Length by the original's rule: frames in which joint 0 of person 0 is not all zero.

    A count and not the last such frame: with an empty frame inside, the tail is lost.

    Args:
        x: (N, C, T, V, M).

    Returns:
        int64 (N,).
    """
    return (x[:, :, :, 0, 0] != 0).any(axis=1).sum(axis=1)


def fill_gaps(x: np.ndarray) -> np.ndarray:
    """Close the frames in which the tracker lost a person, and hold it at both ends.

    Between two frames where the person is there, straight lines; before the first and after the
    last one its first and last pose. A person who is never there stays 0.

    Args:
        x: (C, T, V, M).

    Returns:
        The same shape; ``x`` itself if there is nothing to fill.
    """
    there = present_frames(x)
    broken = np.flatnonzero(there.any(axis=0) & ~there.all(axis=0))
    if not len(broken):
        return x
    x = x.copy()
    time = np.arange(x.shape[1])
    for m in broken:
        known = np.flatnonzero(there[:, m])
        following = np.searchsorted(known, time).clip(0, len(known) - 1)
        previous = (np.searchsorted(known, time, side="right") - 1).clip(0)
        left, right = known[previous], known[following]
        weight = ((time - left).clip(0) / np.maximum(right - left, 1))[:, None]
        person = x[..., m].copy()  # (C, T, V)
        x[..., m] = person[:, left] * (1 - weight) + person[:, right] * weight
    return x

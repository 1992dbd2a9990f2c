"""Windows over many sequences that lie behind one another in one tensor.

A method keeps all frames of all sequences in one tensor, lists the windows once, and gathers a
batch of them with a single ``index_select``: no loop over items, and nothing is copied but the
batch. The tensor can live on an accelerator, then windows never cross the bus.

Letters: F frames in all, T frames of a window, B windows of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from behaviorzoo.errors import UserError

log = logging.getLogger("behaviorzoo")


def window_index(lengths: Sequence[int], window: int, stride: int) -> np.ndarray:
    """All windows of sequences, sequence by sequence, starts ascending.

    Args:
        lengths: Frames of each sequence (as stored, padding included).
        window: Frames of one window.
        stride: Frames between two starts.

    Returns:
        int64 (n, 2): index of the sequence, first frame in it. A sequence shorter than the
        window has none.
    """
    counts = np.maximum((np.asarray(lengths, dtype=np.int64) - window) // stride + 1, 0)
    sequence = np.repeat(np.arange(len(counts)), counts)
    # Position of each window among those of its own sequence.
    first = np.cumsum(counts) - counts
    order = np.arange(counts.sum()) - np.repeat(first, counts)
    return np.stack([sequence, order * stride], axis=1).astype(np.int64)


def gather_windows(frames: torch.Tensor, starts: torch.Tensor, window: int) -> torch.Tensor:
    """Copy windows out of a tensor of frames.

    Args:
        frames: Contiguous (F, ...).
        starts: First frames, int64 (B,), on the device of ``frames``.
        window: Frames T of a window; every window must end within ``frames``.

    Returns:
        (B, T, ...).
    """
    size = frames[0].numel()
    # Row n of this view is the T frames from frame n on; rows overlap, nothing is copied.
    rows = frames.view(-1).as_strided((len(frames) - window + 1, window * size), (size, 1))
    return rows.index_select(0, starts).view(-1, window, *frames.shape[1:])


def note_short_sequences(names: Sequence[str], lengths: Sequence[int], window: int) -> list[str]:
    """A sentence (logged as a warning too) on sequences that hold no window, if any and not all."""
    short = [
        f"{name} ({length} frames)"
        for name, length in zip(names, lengths, strict=True)
        if length < window
    ]
    if not short or len(short) == len(names):
        return []
    shown = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
    note = (
        f"{len(short)} of {len(names)} sequences are shorter than the window of {window} frames "
        f"and are not used for training: {shown}"
    )
    log.warning(note)
    return [note]


def check_some_window(
    names: Sequence[str],
    lengths: Sequence[int],
    window: int,
    usable: np.ndarray | None = None,
) -> None:
    """Refuse data without a single window to train on.

    Args:
        names: Names of the sequences.
        lengths: Frames of each.
        window: Frames of a window.
        usable: Which of the windows of :func:`window_index` may be used; none = all.

    Raises:
        UserError: No sequence, all too short, or no window with enough observed points.
    """
    if not lengths:
        raise UserError("no sequence to train on; check data.path")
    longest = int(np.argmax(lengths))
    if lengths[longest] < window:
        raise UserError(
            f"{names[longest]}: {lengths[longest]} frames, the longest of {len(names)} sequences, "
            f"is shorter than the window of {window} frames; choose a shorter window or longer "
            "recordings"
        )
    if usable is not None and not usable.any():
        raise UserError(
            f"{names[longest]} and {len(names) - 1} more: none of {len(usable)} windows of "
            f"{window} frames has enough observed points; lower data.min_observed"
        )

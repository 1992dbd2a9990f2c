"""Sliding windows over sequences of any length: one flat array, one index, no loop over items.

Legend: N sequences, L frames of a sequence, B windows of a batch, T frames of a window,
I individuals, K key points, D coordinates, F features of an individual in one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from behaviorzoo.sequence_windows import (
    check_some_window,
    gather_windows,
    note_short_sequences,
    window_index,
)

Augment = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Stored windows (B, T, I, ...) and seeds (B,) int64 -> changed windows of the same shape."""

Finish = Callable[[torch.Tensor], torch.Tensor]
"""Stored windows (B, T, I, ...) -> network input (B, T, I, F)."""

PAD_FRAMES = 120
"""Most frames that the benchmarks' loaders add to a sequence (plus one)."""


def edge_padding(window: int) -> tuple[int, int]:
    """Frames that the benchmarks' loaders repeat in front of and behind every sequence."""
    pad = min(window, PAD_FRAMES)
    return pad // 2, pad - 1 - pad // 2


def pad_edges(sequence: np.ndarray, front: int, behind: int) -> np.ndarray:
    """Repeat the first and the last frame of (L, ...) so that (front + L + behind, ...) results."""
    width = [(front, behind)] + [(0, 0)] * (sequence.ndim - 1)
    return np.pad(sequence, width, mode="edge")


class WindowDataset:
    """Windows of many sequences, gathered a batch at a time at the speed of a memory copy.

    All frames lie behind one another in one tensor. A view of that tensor with overlapping rows
    (row n = the T frames from frame n) makes a batch a single ``index_select``. The tensor can
    live on an accelerator (:meth:`to`), then windows never cross the bus.

    Args:
        sequences: Float arrays (L, I, ...), lengths may differ; the axes behind I are those that
            ``augment`` and ``finish`` expect, or the features where there is neither.
        names: A name for each sequence.
        window: Frames T of one window.
        stride: Frames between the starts of two windows.
        augment: Random change of gathered windows, drawn from a seed per window.
        finish: Turns gathered (and augmented) windows into network input; none = they are it.
        usable: Which windows of ``window_index`` to keep, boolean (n,); none = all.
        state: What an embedding run must know of the training data, see :meth:`state_dict`.

    Raises:
        UserError: Not one window fits.

    Example:
        >>> walk = np.arange(10, dtype=np.float32).reshape(10, 1, 1)
        >>> data = WindowDataset([walk], ["walk"], window=4, stride=3)
        >>> data.window_ids.tolist()
        [[0, 0], [0, 3], [0, 6]]
        >>> data.batch(np.array([2, 0]))[:, :, 0, 0].tolist()
        [[6.0, 7.0, 8.0, 9.0], [0.0, 1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        names: Sequence[str],
        *,
        window: int,
        stride: int = 1,
        augment: Augment | None = None,
        finish: Finish | None = None,
        usable: np.ndarray | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        lengths = [len(sequence) for sequence in sequences]
        self.sequence_names = list(names)
        self.window = window
        check_some_window(self.sequence_names, lengths, window, usable)
        self.notes: list[str] = note_short_sequences(self.sequence_names, lengths, window)
        self.window_ids = window_index(lengths, window, stride)
        if usable is not None:
            self.window_ids = self.window_ids[usable]
        self._augment = augment
        self._finish = finish
        self._state = dict(state or {})
        frames = np.concatenate([np.asarray(sequence, np.float32) for sequence in sequences])
        # Transposed inputs would make a transposed result, which has no view by frames.
        self._frames = torch.from_numpy(np.ascontiguousarray(frames))
        offsets = np.cumsum(lengths) - lengths
        self._starts = torch.from_numpy(offsets[self.window_ids[:, 0]] + self.window_ids[:, 1])

    def __len__(self) -> int:
        return len(self.window_ids)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Window ``index`` without augmentation: float32 (T, I, F)."""
        # `range` gives negative indices their meaning and ends iteration with IndexError.
        return self.batch(np.array([range(len(self))[index]]))[0]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Frames, individuals and features (T, I, F) of one item."""
        T, I, F = self[0].shape  # noqa: E741
        return T, I, F

    @property
    def device(self) -> torch.device:
        """Where the frames live and batches are made."""
        return self._frames.device

    @property
    def nbytes(self) -> int:
        """Memory of the stored frames in bytes."""
        return self._frames.numel() * self._frames.element_size()

    def to(self, device: torch.device | str) -> WindowDataset:
        """Move the frames to a device and return the data set itself."""
        self._frames = self._frames.to(device)
        self._starts = self._starts.to(device)
        return self

    def batch(
        self, indices: np.ndarray | torch.Tensor, seeds: np.ndarray | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Gather windows.

        Args:
            indices: Window numbers, int (B,).
            seeds: One integer per window, (B,). A window's augmentation depends on its seed
                alone, not on the batch, the worker or the device. None = no augmentation.

        Returns:
            float32 (B, T, I, F) on the device of the data set.
        """
        x = self.gather(indices)
        if self._augment is not None and seeds is not None:
            x = self._augment(x, torch.as_tensor(seeds, dtype=torch.int64, device=x.device))
        return x if self._finish is None else self._finish(x)

    def gather(self, indices: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Windows as they are stored, before augmentation and ``finish``: (B, T, I, ...)."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        return gather_windows(self._frames, self._starts[index], self.window)

    def state_dict(self) -> dict[str, Any]:
        """Plain values with which ``open_sequences`` treats other data alike.

        They go into the checkpoint's metadata. Empty for the benchmarks, which need none.
        """
        return dict(self._state)

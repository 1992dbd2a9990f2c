"""Training sequences, gathered a batch at a time at the speed of a memory copy.

Letters: R rows (one animal of one recording each), F frames of all rows, S windows, B windows of a
batch, L frames of a window, N input features, M actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from bams.data.quantise import Scaling
from behaviorzoo.checkpoints import fingerprint
from behaviorzoo.errors import UserError
from behaviorzoo.sequence_windows import (
    check_some_window,
    gather_windows,
    note_short_sequences,
    window_index,
)

_WINDOWS_IN_FINGERPRINT = 256


@dataclass
class Batch:
    """Sequences for one step.

    Attributes:
        inputs: Scaled features, float32 (B, L, N).
        bins: Bins of the actions, uint8 (B, L, M); ``MISSING_BIN`` = not observed.
        ignored: Frames that are no target, bool (B, L).
    """

    inputs: torch.Tensor
    bins: torch.Tensor
    ignored: torch.Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        move = {"device": device, "non_blocking": non_blocking}
        return Batch(self.inputs.to(**move), self.bins.to(**move), self.ignored.to(**move))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for copies to a GPU."""
        return Batch(self.inputs.pin_memory(), self.bins.pin_memory(), self.ignored.pin_memory())


class Rows(NamedTuple):
    """Where the rows of a data set come from; all arrays (R,).

    Attributes:
        lengths: Frames.
        recording: Number of the recording.
        animal: Number of the animal in it.
        is_train: Whether the recording belongs to the training split of its benchmark.
    """

    lengths: np.ndarray
    recording: np.ndarray
    animal: np.ndarray
    is_train: np.ndarray


class BehaviorDataset:
    """Windows of equal length over rows of any length.

    All frames lie behind one another; a window is a place in them and is copied only into its
    batch. Histograms of the future are not stored: the bins travel to the device, where the loss
    accumulates them.

    Args:
        inputs: Scaled features float32 (F, N), row after row.
        bins: uint8 (F, M).
        ignored: bool (F,).
        rows: Where the rows come from.
        names: Names of the recordings.
        scaling: How inputs were scaled and bins made.
        window: Frames L of a window; None = whole rows, which must then be equally long.
        stride: Frames between the starts of two windows; None = L.
        usable: Which windows of ``window_index`` to keep, (n,); None = all.
        notes: What the user should know of the data.

    Attributes:
        names: Names of the recordings.
        length: Frames L of an item.
        window_ids: Row and first frame in it of each window, int64 (S, 2).
        source: Recording of each window, int64 (S,).
        animal: Animal of each window, int64 (S,).
        is_train: Whether a window belongs to the benchmark's training split, bool (S,).
        annotations: Labels of the sequences, if someone attached them.

    Raises:
        UserError: Unequal lengths without a window, or not one window fits.

    Example:
        >>> frames = np.arange(8, dtype=np.float32).reshape(8, 1)
        >>> one = np.zeros(1, np.int64)
        >>> rows = Rows(np.array([8]), one, one, np.ones(1, bool))
        >>> still = np.zeros((8, 1), np.uint8), np.zeros(8, bool)
        >>> data = BehaviorDataset(frames, *still, rows, ["walk"], None, window=4, stride=2)
        >>> data.batch(np.array([2, 0])).inputs[:, :, 0].tolist()
        [[4.0, 5.0, 6.0, 7.0], [0.0, 1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        inputs: np.ndarray,
        bins: np.ndarray,
        ignored: np.ndarray,
        rows: Rows,
        names: Sequence[str],
        scaling: Scaling,
        *,
        window: int | None = None,
        stride: int | None = None,
        usable: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ):
        lengths = rows.lengths.tolist()
        self.names = list(names)
        self.rows = rows
        self.scaling = scaling
        self.length = window or _common_length(lengths)
        row_names = [self.names[recording] for recording in rows.recording]
        check_some_window(row_names, lengths, self.length, usable)
        self.notes = [*notes, *note_short_sequences(row_names, lengths, self.length)]
        self.window_ids = window_index(lengths, self.length, stride or self.length)
        if usable is not None:
            self.window_ids = self.window_ids[usable]
        row = self.window_ids[:, 0]
        self.source, self.animal = rows.recording[row], rows.animal[row]
        self.is_train = rows.is_train[row]
        self.annotations: Any = None
        self._frames = Batch(*map(torch.from_numpy, (inputs, bins, ignored)))
        offsets = np.cumsum(lengths) - lengths
        self._starts = torch.from_numpy(offsets[row] + self.window_ids[:, 1])

    def __len__(self) -> int:
        return len(self.window_ids)

    @property
    def n_inputs(self) -> int:
        """Input features N."""
        return self._frames.inputs.shape[-1]

    @property
    def n_targets(self) -> int:
        """Actions M."""
        return self._frames.bins.shape[-1]

    @property
    def inputs(self) -> torch.Tensor:
        """All windows, float32 (S, L, N): a view where they lie side by side, else a copy."""
        return self._all(self._frames.inputs)

    @property
    def bins(self) -> torch.Tensor:
        """Bins of all windows, uint8 (S, L, M)."""
        return self._all(self._frames.bins)

    @property
    def ignored(self) -> torch.Tensor:
        """Ignored frames of all windows, bool (S, L)."""
        return self._all(self._frames.ignored)

    @property
    def device(self) -> torch.device:
        """Where the frames live and batches are made."""
        return self._frames.inputs.device

    @property
    def nbytes(self) -> int:
        """Memory of the stored frames in bytes."""
        frames = self._frames
        return sum(x.numel() * x.element_size() for x in (frames.inputs, frames.bins)) + len(
            frames.ignored
        )

    def to(self, device: torch.device | str) -> BehaviorDataset:
        """Move the frames to a device and return the data set itself."""
        self._frames = self._frames.to(device)
        self._starts = self._starts.to(device)
        return self

    def batch(self, indices: np.ndarray | torch.Tensor) -> Batch:
        """Gather windows.

        Args:
            indices: Window numbers, int (B,).
        """
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.device)
        starts, frames = self._starts[index], self._frames
        return Batch(
            gather_windows(frames.inputs, starts, self.length),
            gather_windows(frames.bins, starts, self.length),
            gather_windows(frames.ignored, starts, self.length),
        )

    def fingerprint(self) -> str:
        """Short hash of names, windows and a sample of the frames."""
        last = len(self) - 1
        picked = np.unique(np.linspace(0, last, _WINDOWS_IN_FINGERPRINT).astype(np.int64))
        sample = self.batch(picked).to("cpu")
        parts = (sample.inputs, sample.bins, sample.ignored)
        return fingerprint(self.names, self.window_ids, self.scaling.to_dict(), *parts)

    def state_dict(self) -> Mapping[str, Any]:
        """Plain values with which ``open_sequences`` treats other data alike (see ``Scaling``)."""
        return self.scaling.to_dict()

    def _all(self, frames: torch.Tensor) -> torch.Tensor:
        side_by_side = torch.arange(len(self), device=self.device) * self.length
        if len(frames) == len(self) * self.length and torch.equal(self._starts, side_by_side):
            return frames.view(len(self), self.length, *frames.shape[1:])
        return gather_windows(frames, self._starts, self.length)


def _common_length(lengths: Sequence[int]) -> int:
    if not lengths:
        raise UserError("no sequence to train on; check data.path")
    if min(lengths) != max(lengths):
        raise UserError(
            f"sequences of {min(lengths)} to {max(lengths)} frames cannot lie in one batch: choose "
            "the frames of a training window with data.window=..."
        )
    return int(lengths[0])

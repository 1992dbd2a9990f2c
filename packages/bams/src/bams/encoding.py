"""Embeddings of sequences of any length, piece by piece, each frame as if seen in the whole.

The encoders see the past only, and no further than their receptive field. So a long sequence is cut
into pieces, each with the frames before it as context, whose outputs are thrown away: the result is
that of the whole sequence, and memory is bounded by the piece.

Letters: S sequences, R rows (animals of recordings of equal length), L frames, N features of a
frame, A animals of a recording, E features of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bams.model.bams import BAMS
from behaviorzoo.errors import UserError

Aggregate = Literal["mean_range", "mean", "side_by_side"]
Precision = Literal["32", "bf16"]

AGGREGATES: tuple[Aggregate, ...] = ("mean_range", "mean", "side_by_side")

# On a CPU what a layer hands to the next one shall stay in the cache.
FRAMES_CPU = 1 << 14
FRAMES_ACCELERATOR = 1 << 18
# With pieces of at least so many contexts, the context costs a quarter at most.
_CONTEXTS_PER_PIECE = 4


class Piece(NamedTuple):
    """Frames [start, stop) of all rows.

    Attributes:
        start: First frame.
        stop: One after the last frame.
        values: Encoder -> (R, stop - start, E) float32.
    """

    start: int
    stop: int
    values: dict[str, Tensor]


class FrameEncoder:
    """Runs the encoders of a network over whole sequences.

    Args:
        model: The network; it is used in evaluation mode and left in the mode it was in.
        frames: Frames of all rows together that are computed at once; chosen for the device by
            default. No effect on the result beyond rounding.
        precision: ``bf16``: autocast, on accelerators only.

    Attributes:
        context: Frames of the past that an embedding can depend on.
        frames: See above.

    Raises:
        UserError: ``bf16`` on a CPU, which is slower there than float32.
    """

    def __init__(self, model: BAMS, frames: int | None = None, precision: Precision = "32") -> None:
        self.model = model
        self.device = next(model.parameters()).device
        on_cpu = self.device.type == "cpu"
        if precision not in ("32", "bf16"):
            raise UserError(f"precision={precision}: choose 32 or bf16")
        if precision == "bf16" and on_cpu:
            raise UserError("precision=bf16 is for GPUs; on a CPU it is slower than 32")
        if frames is not None and frames < 1:
            raise UserError(f"frames={frames} must be at least 1")
        self.frames = frames or (FRAMES_CPU if on_cpu else FRAMES_ACCELERATOR)
        self.context = max(model.receptive_fields[name] for name in model.encoders) - 1
        self._precision = precision

    def pieces(self, rows: np.ndarray) -> Iterator[Piece]:
        """Embed sequences of equal length.

        Args:
            rows: Input features (R, L, N).

        Yields:
            Consecutive pieces that together cover all frames.
        """
        n_rows, n_frames, _ = rows.shape
        length = max(self.frames // n_rows, _CONTEXTS_PER_PIECE * self.context, 1)
        mode = self.model.training
        self.model.eval()
        try:
            for start in range(0, n_frames, length):
                stop = min(start + length, n_frames)
                yield Piece(start, stop, self._encode(rows, start, stop))
        finally:
            self.model.train(mode)

    def _encode(self, rows: np.ndarray, start: int, stop: int) -> dict[str, Tensor]:
        before = min(self.context, start)
        x = rows[:, start - before : stop]
        at_once = max(1, self.frames // x.shape[1])
        parts = []
        with torch.inference_mode(), self._autocast():
            for first in range(0, len(x), at_once):
                batch = torch.from_numpy(np.ascontiguousarray(x[first : first + at_once]))
                found = self.model.encode(batch.to(self.device, torch.float32))
                parts.append({name: v[:, before:].float() for name, v in found.items()})
            if len(parts) == 1:
                return parts[0]
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def compute_representations(
    model: BAMS, dataset: Any, *, device: str | torch.device | None = None, batch_size: int = 4
) -> dict[str, np.ndarray]:
    """Embeddings of all sequences of a data set, as the authors' function of this name gives them.

    Args:
        model: The network; it is left in the mode it was in.
        dataset: ``bams.data.BehaviorDataset``.
        device: Where to work; default: where the network is. The network is moved there.
        batch_size: Sequences at a time.

    Returns:
        Encoder -> (S, L, E) float32, in the order of the data set.
    """
    device = device or next(model.parameters()).device
    mode = model.training
    model.to(device).eval()
    parts: list[dict[str, torch.Tensor]] = []
    try:
        with torch.inference_mode():
            for start in range(0, len(dataset), batch_size):
                index = np.arange(start, min(start + batch_size, len(dataset)))
                found = model.encode(dataset.batch(index).inputs.to(device, torch.float32))
                parts.append({name: values.cpu() for name, values in found.items()})
    finally:
        model.train(mode)
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def aggregate_animals(values: Tensor, how: Aggregate, present: np.ndarray | None = None) -> Tensor:
    """Join the embeddings of the animals of a recording, frame by frame.

    Args:
        values: (A, L, E).
        how: ``mean_range``: mean over animals, and largest less smallest (the authors' submission
            for mice), (L, 2 E). ``mean``: (L, E). ``side_by_side``: (L, A * E).
        present: Which animals count, bool (A,); all where None or where none is present. Side by
            side, an absent animal is 0.

    Returns:
        (L, features).
    """
    if present is not None and present.any() and not present.all():
        chosen = torch.from_numpy(np.asarray(present, dtype=bool)).to(values.device)
        values = values * chosen[:, None, None] if how == "side_by_side" else values[chosen]
    if how == "side_by_side":
        return values.transpose(0, 1).flatten(1)  # (A, L, E) -> (L, A * E)
    mean = values.mean(dim=0)
    if how == "mean":
        return mean
    return torch.cat([mean, values.amax(dim=0) - values.amin(dim=0)], dim=1)

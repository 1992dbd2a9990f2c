"""From overlapping windows of tokens to one embedding per frame, without repeating anything.

Letters: n frames of a recording, L frames of a window, P tokens of a window at one level,
D features, B windows of a batch. A token spans L / P frames.

The original repeats every token over its frames for all n + L - 1 windows of a recording before
it averages them (3.3 GB become 6.6 GB for one Shot7M2 episode). Here a token is added once, at
the first of its frames, as soon as it is computed; at the end the sums are widened to
the token's span. Memory is one array of n + 2 (L - 1) frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from behaviorzoo.windows import overlap_counts, window_count, window_starts


class WindowRun(NamedTuple):
    """Windows with evenly spaced starts.

    Attributes:
        first: Start of the first window, in padded frames.
        step: Frames from one start to the next.
        windows: Number of windows.
    """

    first: int
    step: int
    windows: int


class Padding(NamedTuple):
    """How a recording is prepared for its windows.

    Attributes:
        front: Copies of the first frame in front.
        behind: Copies of the last frame behind.
        stride: Frames between two window starts.
    """

    front: int
    behind: int
    stride: int


def averaging_padding(length: int, stride: int = 1) -> Padding:
    """Padding of the averaging mode: every frame lies in L / stride windows.

    Args:
        length: L.
        stride: Frames between two window starts; 1 = exact, as published.

    Returns:
        L - 1 frames on both sides.

    Raises:
        ValueError: A stride that would leave frames without a window, or below 1.
    """
    if not 1 <= stride <= length:
        raise ValueError(f"stride {stride} must lie between 1 and the window of {length} frames")
    return Padding(length - 1, length - 1, stride)


def fast_padding(n_frames: int, length: int) -> Padding:
    """Padding of the fast mode: one window per 2 frames (L even) or per frame (L odd).

    Each window describes only the frames at its middle.

    Args:
        n_frames: n.
        length: L.

    Returns:
        (L - step) / 2 frames on both sides, and one step more behind if n is no multiple of it.
    """
    step = 2 if length % 2 == 0 else 1
    pad = (length - step) // 2
    return Padding(pad, pad + (step if n_frames % step else 0), step)


def window_runs(n_windows: int, stride: int, batch: int) -> Iterator[WindowRun]:
    """Cut the windows of a recording into batches.

    Args:
        n_windows: Number of windows; window w starts at w * stride.
        stride: Frames between two window starts.
        batch: Most windows of one batch.

    Yields:
        Runs that together hold every window once, in order.
    """
    for first in range(0, n_windows, batch):
        yield WindowRun(first * stride, stride, min(batch, n_windows - first))


class OverlapMean:
    """Mean over the windows that contain each frame, batch by batch.

    Args:
        n_frames: n.
        length: L.
        parts: P tokens of a window along time; divides L.
        features: D.
        stride: Frames between the starts of all windows that will be added.
        device: Where the sums live.
    """

    def __init__(
        self,
        n_frames: int,
        length: int,
        parts: int,
        features: int,
        *,
        stride: int = 1,
        device: torch.device | str = "cpu",
    ):
        self._n_frames = n_frames
        self._length = length
        self._span = length // parts
        self._stride = stride
        padded = n_frames + 2 * (length - 1)
        self._sums = torch.zeros(padded, features, device=device)

    def add(self, run: WindowRun, values: Tensor) -> None:
        """Add the tokens of a batch of windows.

        Args:
            run: Where the windows start.
            values: Tokens (B, P, D).
        """
        count, parts, _ = values.shape
        if count <= parts:
            for b in range(count):
                start = run.first + b * run.step
                self._sums[start : start + self._length : self._span] += values[b]
        else:
            reach = (count - 1) * run.step + 1
            for p in range(parts):
                start = run.first + p * self._span
                self._sums[start : start + reach : run.step] += values[:, p]

    def result(self) -> np.ndarray:
        """Embeddings of the frames, float32 (n, D)."""
        front = self._length - 1
        # A frame is described by the tokens that begin at it or up to span - 1 frames before it.
        total = self._sums[front : front + self._n_frames].clone()
        for offset in range(1, self._span):
            total += self._sums[front - offset : front - offset + self._n_frames]
        starts = window_starts(len(self._sums), self._length, self._stride)
        counts = overlap_counts(len(self._sums), self._length, starts)
        counts = counts[front : front + self._n_frames, None].astype(np.float32)
        return (total / torch.from_numpy(counts).to(total.device)).cpu().numpy()


class MiddleTokens:
    """The fast mode: each frame gets the token at the middle of its own window.

    Same use as :class:`OverlapMean`.

    Args:
        n_frames: n.
        length: L.
        parts: P tokens of a window along time; divides L.
        features: D.
        device: Where the embeddings live.
    """

    def __init__(
        self,
        n_frames: int,
        length: int,
        parts: int,
        features: int,
        *,
        device: torch.device | str = "cpu",
    ):
        padding = fast_padding(n_frames, length)
        self._n_frames = n_frames
        self._step = padding.stride
        self._middle = padding.front // (length // parts)
        padded = n_frames + padding.front + padding.behind
        windows = window_count(padded, length, padding.stride)
        self._values = torch.zeros(windows, features, device=device)

    def add(self, run: WindowRun, values: Tensor) -> None:
        """Take the middle tokens of a batch of windows (B, P, D)."""
        first, step = run.first // self._step, run.step // self._step
        reach = (run.windows - 1) * step + 1
        self._values[first : first + reach : step] = values[:, self._middle].float()

    def result(self) -> np.ndarray:
        """Embeddings of the frames, float32 (n, D)."""
        frames = self._values.repeat_interleave(self._step, dim=0)
        return frames[: self._n_frames].cpu().numpy()

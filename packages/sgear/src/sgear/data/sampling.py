"""Which frames of a video make a clip.

Two steps, both plain arithmetic: the span of seconds that is read (:func:`clip_span`), and which of
the frames found there become the T frames of the clip (:func:`kept_frames`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from sgear.data.config import Strategy


class Span(NamedTuple):
    """Seconds of a video."""

    start: float
    end: float


@dataclass(frozen=True)
class Sampling:
    """How clips are cut.

    Attributes:
        n_frames: Frames T of a clip.
        frame_rate: Frames per second of a clip; None = of the video.
        strategy: Which part of a longer segment.
        shorten: Cut a random part, up to a half, off the start of the segment.
    """

    n_frames: int
    frame_rate: float | None
    strategy: Strategy
    shorten: bool = False

    def rate(self, fps: float) -> tuple[float, float]:
        """Frames per second of the video and of the clip; one stands in for the other."""
        wanted = self.frame_rate if self.frame_rate is not None else fps
        return (fps if fps > 0 else wanted), wanted


class Draws:
    """Random numbers of one item.

    Args:
        seed: Makes them a function of this number (a callable gives it when it is needed: most
            items draw nothing); None takes torch's global generator, as the original does.
    """

    def __init__(self, seed: int | Callable[[], int] | None = None):
        self._seed = seed

    @cached_property
    def _generator(self) -> torch.Generator | None:
        seed = self._seed() if callable(self._seed) else self._seed
        return None if seed is None else torch.Generator().manual_seed(seed)

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return torch.rand(1, generator=self._generator).item()

    def integer(self, high: int) -> int:
        """A number in 0 ... high - 1."""
        return int(torch.randint(high, (1,), generator=self._generator).item())

    def permutation(self, n: int) -> list[int]:
        """0 ... n - 1 in some order."""
        return torch.randperm(n, generator=self._generator).tolist()


def clip_span(start: float, end: float, fps: float, how: Sampling, draws: Draws) -> Span:
    """The seconds of a segment that are read.

    Args:
        start: Start of the segment; what lies before 0 is cut.
        end: Its end.
        fps: Frames per second of the video or the features; not positive = unknown.
        how: Frames, rate and strategy.
        draws: Random numbers for ``shorten`` and ``random_clip``.

    Returns:
        A span inside the segment.
    """
    fps, rate = how.rate(fps)
    start, end = max(start, 0.0), max(end, 0.0)
    n_segment = int(fps * (end - start))
    if how.shorten:
        start += 0.5 * draws.uniform() * (end - start)
    # round() takes halves to the even neighbour, as the original's does
    n_read = round(how.n_frames * fps / rate)
    first = _first_frame(n_segment - n_read, how.strategy, draws)
    new_start, new_end = start + first / fps, start + (first + n_read) / fps
    new_end = max(min(end, new_end), 0.0)
    return Span(min(max(new_start, 0.0), new_end), new_end)


def _first_frame(surplus: int, strategy: Strategy, draws: Draws) -> int:
    """First frame that is read of a segment with ``surplus`` more frames than are needed."""
    if strategy == "first_clip" or surplus <= 0:
        return 0
    if strategy == "center_clip":
        return surplus // 2
    return surplus if strategy == "last_clip" else draws.integer(surplus)


def frame_times(span: Span, n_found: int, kept: np.ndarray) -> np.ndarray:
    """Seconds of some of the frames found in a span, which are spread evenly over it.

    Args:
        span: The seconds that were read; both ends have a frame.
        n_found: Frames found in it.
        kept: Numbers of the wanted ones, int64 (T,).

    Returns:
        float64 (T,).
    """
    if n_found == 1 or span.start >= span.end:
        return np.full(len(kept), span.start)
    times = kept * ((span.end - span.start) / (n_found - 1)) + span.start
    times[kept == n_found - 1] = span.end
    return times


def kept_frames(n_found: int, fps: float, how: Sampling) -> np.ndarray:
    """Which of the frames found in a span are the T frames of the clip.

    Every k-th frame, k = natural rate / wanted rate. ``last_clip`` counts from the end; too few are
    filled up by repeating the first one in front, otherwise the last one behind.

    Args:
        n_found: Frames found, at least 1.
        fps: Their rate.
        how: Frames, rate and strategy.

    Returns:
        Numbers of the frames, int64 (T,), ascending.
    """
    fps, rate = how.rate(fps)
    step = max(round(fps / rate), 1)
    T = how.n_frames
    if how.strategy == "last_clip":
        kept = np.arange(n_found - 1, -1, -step)[:T][::-1]
        return np.concatenate([np.full(T - len(kept), kept[0]), kept])
    kept = np.arange(0, n_found, step)[:T]
    return np.concatenate([kept, np.full(T - len(kept), kept[-1])])


def stored_frames(span: Span, fps: float) -> np.ndarray:
    """Numbers (from 1) of the feature frames of a span, ascending, int64 (n,).

    Frames before the first one are that of the smallest number in the span.
    """
    frames = np.arange(math.floor(span.start * fps) + 1, math.floor(span.end * fps) + 1)
    return _from_one(frames)


def rulstm_frames(span: Span, fps: float) -> np.ndarray:
    """The 11 frames before the end of a span, a quarter of a second apart: int64 (11,)."""
    times = span.end - 0.25 * np.arange(10, -1, -1)
    return _from_one(np.floor(times * fps).astype(np.int64))


def _from_one(frames: np.ndarray) -> np.ndarray:
    """Replace numbers below 1; empty if there is no other."""
    inside = frames[frames >= 1]
    return np.maximum(frames, inside.min()) if len(inside) else inside

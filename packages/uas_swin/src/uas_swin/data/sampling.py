"""Which frames of a video make its clips.

Two rules exist. ``0.x`` is what the published numbers were made with (mmaction2 before 1.0);
``1.x`` is the rule of the mmaction2 of today. They differ in testing only. Letters: N frames of
the video, K clips, T frames of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError, suggest

Offsets = NDArray[np.floating]
"""Frame numbers that are not rounded yet."""

RULES = ("0.x", "1.x")
OUT_OF_BOUND = ("loop", "repeat_last")


@dataclass(frozen=True)
class SamplingConfig:
    """How clips are laid over a video.

    Attributes:
        clip_len: Frames of a clip, T.
        frame_interval: Frames from one frame of the clip to the next.
        num_clips: Clips per video, K.
        test_mode: Fixed places instead of random ones.
        out_of_bound_opt: A clip beyond the end begins anew (``loop``) or repeats its last frame
            that exists (``repeat_last``).
        rule: ``0.x`` or ``1.x``, see the module.
        temporal_jitter: Each frame is moved by a random part of the interval.
        twice_sample: In testing, every clip is taken with and without its shift.
    """

    clip_len: int
    frame_interval: int = 1
    num_clips: int = 1
    test_mode: bool = False
    out_of_bound_opt: str = "loop"
    rule: str = "0.x"
    temporal_jitter: bool = False
    twice_sample: bool = False

    def __post_init__(self) -> None:
        for key in ("clip_len", "frame_interval", "num_clips"):
            value = getattr(self, key)
            if value < 1:
                raise UserError(f"{key}={value}: must be at least 1")
        if self.out_of_bound_opt not in OUT_OF_BOUND:
            hint = suggest(self.out_of_bound_opt, OUT_OF_BOUND)
            raise UserError(f"out_of_bound_opt: unknown {self.out_of_bound_opt!r}; {hint}")
        if self.rule not in RULES:
            raise UserError(f"rule: unknown {self.rule!r}; {suggest(self.rule, RULES)}")


def sample_frames(
    n_frames: int, config: SamplingConfig, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Frame numbers of every clip, counted from 0.

    Args:
        n_frames: Frames of the video, N >= 1.
        config: The rule.
        rng: Draws the places of training clips.

    Returns:
        (K, T); 2 K clips with ``twice_sample`` in testing (in the 0.x rule only where the video is
        as long as a clip).

    Raises:
        UserError: The video has no frame.
    """
    if n_frames < 1:
        raise UserError(f"a clip cannot be taken from a video of {n_frames} frames")
    if not config.test_mode:
        offsets = _train_offsets(n_frames, config, rng)
    elif config.rule == "0.x":
        offsets = _test_offsets_0x(n_frames, config)
    else:
        offsets = _test_offsets_1x(n_frames, config)
    frames = offsets[:, None] + config.frame_interval * np.arange(config.clip_len)
    if config.temporal_jitter:
        jitter = rng.randint(config.frame_interval, size=frames.size)
        frames = frames + jitter.reshape(frames.shape)
    return _within(frames, n_frames, config.out_of_bound_opt).astype(np.int64)


def _train_offsets(n_frames: int, config: SamplingConfig, rng: np.random.RandomState) -> Offsets:
    """One random place in each of K equal parts of the video; both rules agree here."""
    n_clips, length = config.num_clips, config.clip_len * config.frame_interval
    places = n_frames - length + 1
    step = places // n_clips
    if step > 0:
        return np.arange(float(n_clips)) * step + rng.randint(step, size=n_clips)
    if n_frames > max(n_clips, length):
        return np.sort(rng.randint(places, size=n_clips)).astype(float)
    if step == 0:
        return np.around(np.arange(n_clips) * (places / n_clips))
    return np.zeros(n_clips)


def _test_offsets_0x(n_frames: int, config: SamplingConfig) -> Offsets:
    """The middles of K equal parts; the length counts the gap after the last frame too."""
    length = config.clip_len * config.frame_interval
    if n_frames <= length - 1:
        return np.zeros(config.num_clips)
    step = (n_frames - length + 1) / config.num_clips
    starts = np.arange(config.num_clips) * step
    middles = np.floor(starts + step / 2)
    return np.concatenate([middles, starts]) if config.twice_sample else middles


def _test_offsets_1x(n_frames: int, config: SamplingConfig) -> Offsets:
    """From the first to the last possible place; a single clip lies in the middle."""
    n_clips = config.num_clips
    if config.clip_len == 1:
        step = n_frames / n_clips
        starts = np.arange(n_clips) * step
        middles = starts + step / 2
        return np.concatenate([middles, starts]) if config.twice_sample else middles
    last = max(n_frames - ((config.clip_len - 1) * config.frame_interval + 1), 0)
    if n_clips == 1 and not config.twice_sample:
        return np.array([last // 2], dtype=float)
    # mmaction2 divides by the clips asked for even where it takes twice as many.
    return np.round(np.arange(n_clips * (1 + config.twice_sample)) * (last / max(n_clips - 1, 1)))


def _within(frames: Offsets, n_frames: int, policy: str) -> Offsets:
    if policy == "loop":
        return np.mod(frames, n_frames)
    exists = frames < n_frames
    last = np.max(np.where(exists, frames, 0), axis=1, keepdims=True)
    return np.where(exists, frames, last)

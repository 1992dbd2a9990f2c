"""Makes the videos that the tests read, and reads them the slow way.

A test loads this file by its path, because the folder of tests is not a package.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from behaviorzoo.synthetic_video import make_clip

RATE = 25


def pictures(count: int = 60, seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames (T, H, W, 3) no two of which are alike."""
    frames = make_clip("circle", "star", count, max(height, width), seed)[:, :height, :width].copy()
    frames[:, :4, :4] = (np.arange(count)[:, None, None, None] * 4) % 256
    return frames


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    *,
    options: dict[str, str] | None = None,
    times: np.ndarray | None = None,
    unit: Fraction = Fraction(1, 50),
    pixels: str = "yuv420p",
    group: int = 12,
    between: int | None = 2,
    matrix: list[int] | None = None,
    container: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write a video with a codec of choice; skips the test where FFmpeg does not have it.

    Args:
        path: Target.
        frames: (T, H, W, 3).
        codec: Name of the encoder.
        options: Of the encoder.
        times: When each frame is shown, in ``unit``; default: 25 per second.
        unit: Seconds.
        pixels: Pixel format.
        group: Frames from one key frame to the next.
        between: B-frames in a row; None leaves it to the encoder.
        matrix: Display matrix, 9 numbers.
        container: Options of the container.
        title: Of the video, in the file's metadata.
    """
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    with av.open(str(path), "w", options=container or {}) as file:
        if title:
            file.metadata["title"] = title
        stream: Any = file.add_stream(codec, rate=RATE, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = pixels, group
        if between is not None:
            stream.codec_context.max_b_frames = between
        if times is not None:
            stream.codec_context.time_base = unit
        if matrix is not None:
            if not hasattr(stream, "set_display_matrix"):
                pytest.skip("this PyAV cannot write a display matrix")
            stream.set_display_matrix(matrix)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def decode_all(path: Path) -> tuple[np.ndarray, list[float | None]]:
    """Every frame (T, H, W, 3) as it comes out of the decoder, and its time in seconds."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1
        images, times = [], []
        for frame in file.decode(stream):
            images.append(frame.to_ndarray(format="rgb24"))
            times.append(None if frame.pts is None else float(frame.pts * stream.time_base))
    return np.stack(images), times


def sound(path: Path) -> Path:
    """A file with a second of silence and nothing to see."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path

"""Videos as arrays: exact frames, read anywhere, from files as they are found in the wild.

    from behaviorzoo.video import VideoReader, read_frames, read_span, video_info

    info = video_info("mouse.mp4")              # size as shown, rate, frame count, times
    clip = read_frames("mouse.mp4", [0, 8, 16])  # uint8 (3, H, W, 3), RGB

Frames are numbered in the order in which they are shown, from 0. Needs the extra ``[video]``.
"""

from behaviorzoo.video.errors import VideoError, VideoWarning
from behaviorzoo.video.info import VideoInfo, video_info
from behaviorzoo.video.reader import (
    VideoCheck,
    VideoReader,
    check_video,
    read_frames,
    read_span,
)

__all__ = [
    "VideoCheck",
    "VideoError",
    "VideoInfo",
    "VideoReader",
    "VideoWarning",
    "check_video",
    "read_frames",
    "read_span",
    "video_info",
]

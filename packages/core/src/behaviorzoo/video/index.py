"""Which packet holds which frame: counted and timed without decoding.

A video file is a sequence of packets in the order of decoding. A frame is shown at the
presentation time of its packet, so sorting these times numbers the frames. Decoding can start
at a key packet; frames that are shown before their key packet, though they follow it in the file
(the leading pictures of an open group), need the key packet before that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.video.errors import video_error
from behaviorzoo.video.opening import OpenVideo, open_video

# One packet, one frame: with other codecs (VP8 has packets that show nothing) only decoding tells.
_CODECS = """
    h264 hevc mpeg4 mpeg1video mpeg2video vp9 av1 gif apng mjpeg png ffv1 prores dnxhd rawvideo
    huffyuv ffvhuff utvideo qtrle msmpeg4v2 msmpeg4v3 h263 flv1 wmv1 wmv2
"""
PACKET_IS_FRAME = frozenset(_CODECS.split())


@dataclass(frozen=True)
class FrameIndex:
    """Where the N frames of a video are.

    Attributes:
        times: Time stamps of the frames (N,) in units of ``time_base``, ascending.
        packets: Position of each frame's packet among all packets of the stream (N,).
        key_packets: Positions of the packets where decoding can start (K,), ascending.
        key_times: Time stamps of these (K,).
        time_base: Seconds per unit.
        origin: Time stamp that counts as 0 seconds.
        numbered: Frames bear no usable time stamps and can only be counted from the start;
            ``times`` then holds what the frame rate suggests.
        problem: Why the file ends before its time, if it does.
    """

    times: NDArray[np.int64]
    packets: NDArray[np.int64]
    key_packets: NDArray[np.int64]
    key_times: NDArray[np.int64]
    time_base: Fraction
    origin: int = 0
    numbered: bool = False
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Seconds of each frame (N,)."""
        seconds = (self.times - self.origin) * float(self.time_base)
        return seconds.astype(np.float64)

    def starts(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each frame the number of the last key packet from which it can be decoded."""
        packets, times = self.packets[frames], self.times[frames]
        key = np.searchsorted(self.key_packets, packets, side="right") - 1
        while True:
            leading = (key > 0) & (self.key_times[key] > times)
            if not leading.any():
                return key
            key = key - leading


def build_index(path: Path) -> FrameIndex:
    """Read through the packets of a file.

    Raises:
        VideoError: There is no frame in it.
    """
    video = open_video(path)
    try:
        index = _from_packets(video)
    finally:
        video.close()
    index = index or _from_frames(path)
    if len(index) == 0:
        raise video_error(path, "no frame in the video stream; the recording was cut off")
    return index


def origin_of(video: OpenVideo) -> int:
    """The time stamp that is shown at 0 seconds.

    Broadcast formats start their clock anywhere, all others at 0.
    """
    from av.format import Flags

    start, base = video.container.start_time, video.stream.time_base
    anywhere = Flags(video.container.format.flags) & Flags.ts_discont
    if not anywhere or start is None or base is None:
        return 0
    return int(Fraction(start, 1_000_000) / base)


def _from_packets(video: OpenVideo) -> FrameIndex | None:
    """The index, or None where packets do not tell."""
    from av.error import FFmpegError

    stream = video.stream
    times, keys, shown, problem = [], [], [], None
    try:
        for packet in video.container.demux(stream):
            if packet.size:
                times.append(packet.pts)
                keys.append(packet.is_keyframe)
                shown.append(not packet.is_discard)
                if packet.is_corrupt:
                    problem = f"the file is cut off in packet {len(times)}"
    except FFmpegError as error:
        problem = f"the file cannot be read after packet {len(times)} ({error.strerror})"
    if problem and shown:
        shown[-1] = False  # the packet at the break is incomplete
    codec = stream.codec_context.codec.canonical_name
    if None in times or codec not in PACKET_IS_FRAME or not times:
        return None
    time, key, show = np.array(times, np.int64), np.array(keys, bool), np.array(shown, bool)
    key_packets = np.flatnonzero(key)
    if not key[0] or len(np.unique(time)) < len(time) or (time[show] < time[0]).any():
        return None  # starts in the middle of things: the decoder drops what it cannot show
    frames = np.flatnonzero(show)
    frames = frames[np.argsort(time[frames])]
    return FrameIndex(
        times=time[frames],
        packets=frames,
        key_packets=key_packets,
        key_times=time[key_packets],
        time_base=_time_base(video),
        origin=origin_of(video),
        problem=problem,
    )


def _from_frames(path: Path) -> FrameIndex:
    """Count by decoding: slow, for files whose packets do not tell."""
    from av.error import FFmpegError

    times: list[int | None] = []
    problem = None
    video = open_video(path, threads=1)
    try:
        base, origin = _time_base(video), origin_of(video)
        rate = video.stream.guessed_rate or video.stream.average_rate or Fraction(25)
        try:
            for frame in video.container.decode(video.stream):
                times.append(frame.pts)
        except FFmpegError as error:
            times += [frame.pts for frame in video.stream.codec_context.decode(None)]
            problem = f"frame {len(times)} cannot be decoded ({error.strerror})"
    finally:
        video.close()
    known = np.array([time for time in times if time is not None], np.int64)
    if len(known) < len(times) or (np.diff(known) <= 0).any():
        known = (np.arange(len(times)) * float(1 / (rate * base)) + 0.5).astype(np.int64)
        origin = 0
    return FrameIndex(
        times=known,
        packets=np.arange(len(times)),
        key_packets=np.zeros(1, np.int64),
        key_times=known[:1],
        time_base=base,
        origin=origin,
        numbered=True,
        problem=problem,
    )


def _time_base(video: OpenVideo) -> Fraction:
    return video.stream.time_base or Fraction(1, 1_000_000)

"""Which packet holds which frame: counted and timed without decoding wherever that is possible.

A video file is a sequence of packets in the order of decoding. A frame is shown at the
presentation time of its packet, so sorting these times numbers the frames. Decoding can start
at a key packet; frames that are shown before their key packet, though they follow it in the file
(the leading pictures of an open group), need the key packet before that one.

Containers that state no presentation times (AVI, raw streams, ...) get theirs from FFmpeg by
guesswork, and after a seek it may guess differently. There the decoder itself has to say in which
order frames are shown, unless the stream does not reorder them.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.video.errors import video_error
from behaviorzoo.video.mp4_tables import read_sample_table
from behaviorzoo.video.opening import OpenVideo, open_video, with_data

if TYPE_CHECKING:
    from av.packet import Packet

# One packet, one frame: with other codecs (VP8 has packets that show nothing) only decoding tells.
_CODECS = """
    h264 hevc mpeg4 mpeg1video mpeg2video vp9 av1 gif apng mjpeg png ffv1 prores dnxhd rawvideo
    huffyuv ffvhuff utvideo qtrle msmpeg4v2 msmpeg4v3 h263 flv1 wmv1 wmv2
"""
PACKET_IS_FRAME = frozenset(_CODECS.split())
# Containers that store the presentation time of every frame.
TIMED_FORMATS = ("mov", "matroska", "flv", "asf", "gif", "apng")
SMALL_FILE = 8 << 20  # bytes; reading through a small file takes no longer than its tables
FEW_PACKETS = 32
NOT_CODED = 8  # bytes of an MPEG-4 packet that says "as before" and shows nothing


@dataclass(frozen=True)
class FrameIndex:
    """Where the N frames of a video are.

    Attributes:
        times: Time stamps of the frames (N,) in units of ``time_base``, ascending.
        packets: Position of each frame's packet among all packets of the stream (N,).
        key_packets: Positions of the packets where decoding can start (K,), ascending.
        key_frames: Numbers of the frames that these show (K,).
        key_times: Time stamps by which to seek these (K,).
        key_places: Byte positions that identify these (K,); None where time stamps do.
        time_base: Seconds per unit.
        origin: Time stamp that counts as 0 seconds.
        counted: A packet may show several frames, so frames are counted from the start.
        problem: Why the file ends before its time, if it does.
    """

    times: NDArray[np.int64]
    packets: NDArray[np.int32]
    key_packets: NDArray[np.int64]
    key_frames: NDArray[np.int64]
    key_times: NDArray[np.int64]
    key_places: NDArray[np.int64] | None
    time_base: Fraction
    origin: int = 0
    counted: bool = False
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
        packets = self.packets[frames]
        key = np.searchsorted(self.key_packets, packets, side="right") - 1
        while True:
            leading = (key > 0) & (self.key_frames[key] > frames)
            if not leading.any():
                return key
            key = key - leading

    def identify(self, packet: Packet) -> int | None:
        """Position of a packet that a seek led to, as far as it is known."""
        mark, marks = packet.pts, self.key_times
        if self.key_places is not None:
            # In a raw stream a seek may lead into the middle of a picture.
            mark = packet.pos if packet.is_keyframe else None
            marks = self.key_places
        if mark is None:
            return None
        found = np.flatnonzero(marks == mark)
        if len(found):
            return int(self.key_packets[found[0]])
        if self.key_places is None:
            # FFmpeg knows of another start. It may still lie before the one we want.
            frame = int(np.searchsorted(self.times, mark))
            if frame < len(self) and self.times[frame] == mark:
                return int(self.packets[frame])
        return None


@dataclass(frozen=True)
class Packets:
    """The P packets of a stream in the order of the file, each array (P,).

    Attributes:
        times: Presentation times; -1 where there is none.
        decoded: Decoding times; -1 where there is none.
        places: Byte positions; -1 where unknown.
        sizes: Bytes.
        keys: Whether decoding can start there.
        shown: Whether the container wants it shown.
        broken: Whether the file could not give all of it.
    """

    times: NDArray[np.int64]
    decoded: NDArray[np.int64]
    places: NDArray[np.int64]
    sizes: NDArray[np.int64]
    keys: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    broken: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Packets:
        """From a row for each packet, see :func:`_row`."""
        kinds = (np.int64, np.int64, np.int64, np.int64, np.bool_, np.bool_, np.bool_)
        columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
        arrays: list[Any] = [
            np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)
        ]
        return cls(*arrays)

    def __len__(self) -> int:
        return len(self.times)


def _row(packet: Packet) -> tuple[Any, ...]:
    time = packet.dts if packet.pts is None else packet.pts
    marks = [-1 if mark is None else mark for mark in (time, packet.dts, packet.pos)]
    return *marks, packet.size, packet.is_keyframe, not packet.is_discard, packet.is_corrupt


def build_index(path: Path) -> FrameIndex:
    """Find the frames of a file.

    The tables of a large MP4 or MOV file say where, all packets of any other file, and where these
    leave a doubt, decoding.

    Raises:
        VideoError: There is no frame in it.
    """
    index = _from_tables(path) if path.stat().st_size > SMALL_FILE else None
    index = index or _from_packets(path) or _from_frames(path)
    if len(index) == 0:
        raise video_error(path, "no frame in the video stream; the recording was cut off")
    return index


def _from_tables(path: Path) -> FrameIndex | None:
    """The index by the tables of the file, or None where they are not the whole truth."""
    from av.error import FFmpegError

    video = open_video(path)
    try:
        stream = video.stream
        if not video.container.format.name.startswith("mov") or not _packet_is_frame(video):
            return None
        table = read_sample_table(path, stream.id)
        if table is None or _time_base(video) != Fraction(1, table.timescale):
            return None
        last = int(np.flatnonzero(table.keys)[-1])
        # Do the packets at both ends come as the tables say, and is the last one there?
        if not _come_as(video, table.times[:FEW_PACKETS]):
            return None
        video.container.seek(int(table.times[last]), stream=stream)
        if not _come_as(video, table.times[last:], to_the_end=True):
            return None
        everything = np.ones(len(table.times), bool)
        return _by_time(video, table.times, table.keys, everything)
    except FFmpegError:
        return None
    finally:
        video.close()


def _come_as(video: OpenVideo, times: NDArray[np.int64], to_the_end: bool = False) -> bool:
    """Whether the next packets are whole, shown, and bear these time stamps."""
    packets = with_data(video)
    for time in times.tolist():
        packet = next(packets, None)
        if packet is None or packet.pts != time or packet.is_discard or packet.is_corrupt:
            return False
    return not to_the_end or next(packets, None) is None


def _from_packets(path: Path) -> FrameIndex | None:
    """The index by all packets, or None where they do not tell."""
    video = open_video(path)
    try:
        packets, problem = _scan(video)
        if len(packets) == 0 or not _packet_is_frame(video, packets):
            return None
        shown = packets.shown & ~packets.broken if problem else packets.shown
        if video.container.format.name.startswith(TIMED_FORMATS):
            if problem:
                # What is missing is decoded, hence shown, later than all that is there. Frames
                # beyond may have a gap before them, and their numbers would be wrong.
                shown = shown & (packets.times <= packets.decoded[~packets.broken].max(initial=-1))
            return _by_time(video, packets.times, packets.keys, shown, problem)
        if not packets.keys[0] or video.stream.codec_context.has_b_frames:
            return None
        return _by_order(video, packets, np.flatnonzero(shown), problem)
    finally:
        video.close()


def _scan(video: OpenVideo) -> tuple[Packets, str | None]:
    """All packets, and why there are no more of them if there should be."""
    from av.error import FFmpegError

    rows, empty, problem = [], 0, None
    listed = len(getattr(video.stream, "index_entries", ()))
    try:
        for packet in video.container.demux(video.stream):
            if packet.size:
                rows.append(_row(packet))
            elif packet.pts is not None:
                empty += 1
    except FFmpegError as error:
        problem = f"the file cannot be read after packet {len(rows)} ({error.strerror})"
    packets = Packets.of(rows)
    if packets.broken[-1:].any():
        problem = f"the file is cut off in packet {len(rows)}"
    elif problem is None and listed > len(rows) + empty:
        problem = f"the file is cut off after packet {len(rows)} of {listed}"
    return packets, problem


def _from_frames(path: Path) -> FrameIndex:
    """The index by decoding everything: slow, and right where nothing else is."""
    from av.error import FFmpegError

    rows, shown, problem = [], [], None
    video = open_video(path, threads=1)
    try:
        codec = video.stream.codec_context
        try:
            for position, packet in enumerate(with_data(video)):
                rows.append(_row(packet))
                packet.pts = position
                shown += [frame.pts for frame in codec.decode(packet)]
        except FFmpegError as error:
            problem = f"packet {len(rows)} cannot be decoded ({error.strerror})"
        with suppress(FFmpegError):
            shown += [frame.pts for frame in codec.decode(None)]
        positions = np.array([-1 if mark is None else mark for mark in shown], np.int64)
        return _by_order(video, Packets.of(rows), positions, problem)
    finally:
        video.close()


def _by_time(
    video: OpenVideo,
    times: NDArray[np.int64],
    keys: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    problem: str | None = None,
) -> FrameIndex | None:
    """The index where presentation times can be relied upon; None if they cannot after all.

    Args:
        video: The open file.
        times: Of each packet (P,).
        keys: Whether decoding can start there (P,).
        shown: Whether it is shown (P,).
        problem: Why the file ends before its time.
    """
    if not keys[0] or len(np.unique(times)) < len(times) or (times[shown] < times[0]).any():
        return None  # starts in the middle of things: the decoder drops what it cannot show
    frames = np.flatnonzero(shown)
    frames = frames[np.argsort(times[frames])]
    key_packets = np.flatnonzero(keys)
    return FrameIndex(
        times=times[frames],
        packets=frames.astype(np.int32),
        key_packets=key_packets,
        key_frames=np.searchsorted(times[frames], times[key_packets]),
        key_times=times[key_packets],
        key_places=None,
        time_base=_time_base(video),
        problem=problem,
    )


def _by_order(
    video: OpenVideo, packets: Packets, frames: NDArray[np.int64], problem: str | None
) -> FrameIndex:
    """The index where only the order is sure in which packets are shown: ``frames`` (N,)."""
    times, base = np.sort(packets.times[frames]), _time_base(video)
    timed = video.container.format.name.startswith(TIMED_FORMATS)
    origin = 0 if timed or len(times) == 0 else int(times[0])
    if (times < 0).any() or (np.diff(times) <= 0).any():
        rate = video.stream.guessed_rate or video.stream.average_rate or Fraction(25)
        times = np.rint(np.arange(len(frames)) * float(1 / (rate * base))).astype(np.int64)
        origin = 0
    counted = len(np.unique(frames)) < len(frames) or (frames < 0).any()
    if counted:
        frames = np.arange(len(frames))
    number = np.full(max(len(packets.times), len(frames)), -1)
    number[frames] = np.arange(len(frames))
    key_packets = np.flatnonzero(packets.keys & (number[: len(packets.keys)] >= 0))
    if counted or len(key_packets) == 0 or (np.diff(number[key_packets]) <= 0).any():
        key_packets = np.zeros(1, np.int64)
    return FrameIndex(
        times=times,
        packets=frames.astype(np.int32),
        key_packets=key_packets,
        key_frames=np.maximum(number[key_packets], 0),
        key_times=packets.times[key_packets],
        key_places=packets.places[key_packets],
        time_base=base,
        origin=origin,
        counted=bool(counted),
        problem=problem,
    )


def _packet_is_frame(video: OpenVideo, packets: Packets | None = None) -> bool:
    """Whether every packet of the stream shows one frame."""
    codec = video.stream.codec_context.codec.canonical_name
    if codec == "mpeg4" and packets is not None and (packets.sizes <= NOT_CODED).any():
        return False
    return codec in PACKET_IS_FRAME


def _time_base(video: OpenVideo) -> Fraction:
    return video.stream.time_base or Fraction(1, 1_000_000)

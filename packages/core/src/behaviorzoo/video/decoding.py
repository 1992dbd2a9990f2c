"""Decoding chosen frames and no more of a video than they need."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.video.errors import VideoError, video_error
from behaviorzoo.video.h264 import spare_pictures
from behaviorzoo.video.index import FrameIndex
from behaviorzoo.video.info import frame_index
from behaviorzoo.video.opening import OpenVideo, open_video, with_data

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame


INTRA = 1  # AV_PICTURE_TYPE_I


@dataclass(frozen=True)
class Run:
    """Frames that are decoded in one go.

    Attributes:
        key: Number of the key packet where decoding starts.
        stop: Position after the last packet that is needed.
        frames: The wanted frames (n,), ascending.
    """

    key: int
    stop: int
    frames: NDArray[np.int64]


def plan(index: FrameIndex, frames: NDArray[np.int64], join: bool = True) -> list[Run]:
    """Split wanted frames into runs, each from a key packet to the last packet it needs.

    Args:
        index: The frame index.
        frames: Wanted frames, ascending, each once.
        join: Make one run of groups that follow each other: going on is cheaper than seeking.
    """
    runs: list[Run] = []
    keys = index.starts(frames)
    for part in np.split(frames, np.flatnonzero(np.diff(keys)) + 1) if len(frames) else []:
        key = int(index.starts(part[:1])[0])
        stop = int(index.packets[part].max()) + 1
        if join and runs and index.key_packets[key] <= runs[-1].stop:
            last = runs.pop()
            key, stop = last.key, max(stop, last.stop)
            part = np.concatenate([last.frames, part])
        runs.append(Run(key, stop, part))
    return runs


class Decoder:
    """Decodes wanted frames of one file, which it keeps open in between.

    Args:
        path: The file.
        threads: See :func:`~behaviorzoo.video.opening.open_video`.
        skip: Leave out pictures that nobody asked for and that no other refers to.
    """

    def __init__(self, path: Path, threads: int | None = None, skip: bool = True) -> None:
        self.path, self.threads, self.skip = path, threads, skip
        self._video: OpenVideo | None = None
        self._opened_with: int | None = None
        self._untouched = False
        self._packets: Iterator[Packet] = iter(())
        self._trouble: str | None = None

    @cached_property
    def index(self) -> FrameIndex:
        """Where the frames are."""
        return frame_index(self.path)

    def close(self) -> None:
        """Give the file back; the next use opens it again."""
        if self._video is not None:
            self._video.close()
        self._video = None

    def frames(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode frames.

        Args:
            wanted: Frame numbers, ascending, each once.

        Yields:
            Number and frame, ascending.

        Raises:
            VideoError: A frame cannot be decoded; its attribute ``frame`` is the number. The
                wanted frames before it have been given.
        """
        for run in plan(self.index, wanted):
            left = yield from self._attempt(run, self.threads)
            if len(left):
                yield from self._patiently(left)

    def _patiently(self, frames: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
        """Group by group, so that a break in one does not spoil the next.

        In one thread, as several report an error late and with another packet. Some key packets
        begin a gradual refresh that is complete only later: then it helps to start further back.
        """
        for run in plan(self.index, frames, join=False):
            left = run.frames
            for key in dict.fromkeys((run.key, max(run.key - 1, 0), 0)):
                left = yield from self._attempt(Run(key, run.stop, left), threads=1)
                if len(left) == 0 or self._trouble:
                    break
            if len(left):
                raise self._broken(int(left[0]))

    def _attempt(
        self, run: Run, threads: int | None
    ) -> Generator[tuple[int, VideoFrame], None, NDArray[np.int64]]:
        """Decode a run as far as it goes; returns the frames that are still missing."""
        left = run.frames
        decoded = self._decode(run, threads)
        try:
            for number, frame in decoded:
                if number == left[0]:
                    left = left[1:]
                    yield number, frame
                    if len(left) == 0:
                        break
                elif number > left[0]:
                    break
        finally:
            decoded.close()
        return left

    def _decode(
        self, run: Run, threads: int | None
    ) -> Generator[tuple[int, VideoFrame], None, None]:
        """Everything the decoder gives for a run, until it gives something damaged."""
        from av.error import FFmpegError

        self._trouble = None
        index, counted = self.index, 0
        first = int(index.key_frames[run.key])
        sent: list[int] = []  # a heap: frames that have to come, the next one on top
        begun = False
        try:
            for frame in self._feed(run, threads, sent):
                number, counted = counted, counted + 1
                if not index.counted:
                    number = self._number(frame)
                    if number < first:
                        continue  # a leading picture of the group, without what it refers to
                if not begun and not self._is_clean(run.key, number, frame):
                    return
                begun = True
                while sent and sent[0] < first:
                    heappop(sent)
                # A decoder may drop a broken picture in silence, and go on with what refers to it.
                if frame.is_corrupt or (sent and sent[0] < number):
                    self._trouble = "its data are damaged"
                    return
                if sent:
                    heappop(sent)
                yield number, frame
        except FFmpegError as error:
            self._trouble = str(error.strerror)

    def _feed(self, run: Run, threads: int | None, sent: list[int]) -> Iterator[VideoFrame]:
        """Send the packets of a run to the decoder; ``pts`` of a frame is the packet's position.

        Raises:
            FFmpegError: A packet is broken; what was complete before it has been given.
        """
        from av.error import FFmpegError

        index = self.index
        codec = self._start(run.key, threads).stream.codec_context
        spare = spare_pictures(codec) if self.skip and not index.counted else None
        needed = set(index.packets[run.frames].tolist())
        position = int(index.key_packets[run.key])
        try:
            for packet in self._packets:
                if position >= run.stop and not index.counted:
                    break
                if position in needed or spare is None or not spare(packet):
                    if not index.counted and self._numbers[position] >= 0:
                        heappush(sent, int(self._numbers[position]))
                    packet.pts = position
                    yield from codec.decode(packet)
                position += 1
        except FFmpegError:
            if codec.thread_count == 1:
                yield from codec.decode(None)
            raise
        yield from codec.decode(None)

    @cached_property
    def _numbers(self) -> NDArray[np.int32]:
        """Frame number by position of the packet, -1 for packets that show nothing."""
        packets = self.index.packets
        numbers = np.full(int(packets.max()) + 1, -1, np.int32)
        numbers[packets] = np.arange(len(packets), dtype=np.int32)
        return numbers

    def _number(self, frame: VideoFrame) -> int:
        known = frame.pts is not None and 0 <= frame.pts < len(self._numbers)
        return int(self._numbers[frame.pts]) if known else -1

    def _is_clean(self, key: int, number: int, frame: VideoFrame) -> bool:
        """Whether decoding began with a whole picture, and not within a gradual refresh."""
        index = self.index
        first = index.key_frames[key]
        if key == 0 or index.packets[first] != index.key_packets[key]:
            return True  # the start of the file, or a key packet that is not shown
        return number == first and frame.pict_type == INTRA

    def _start(self, key: int, threads: int | None) -> OpenVideo:
        """Stand before a key packet with an empty decoder."""
        from av.error import FFmpegError

        target = int(self.index.key_packets[key])
        video = self._video
        if video is None or self._opened_with != threads:
            video = self._open(threads)
        if self._untouched and target == 0:
            self._untouched = False
            return video
        self._untouched = False
        for earlier in range(key, max(key - 3, -1), -1):
            try:
                video.container.seek(int(self.index.key_times[earlier]), stream=video.stream)
                landed = self._landed(video)
            except FFmpegError:
                break  # not every container can be sought
            if landed is not None and landed <= target:
                self._pass_over(target - landed)
                return video
        video = self._open(threads)
        self._untouched = False
        self._pass_over(target)
        return video

    def _open(self, threads: int | None) -> OpenVideo:
        self.close()
        self._video = video = open_video(self.path, threads)
        self._opened_with, self._untouched = threads, True
        self._packets = with_data(video)
        return video

    def _landed(self, video: OpenVideo) -> int | None:
        """Position of the packet that a seek led to, which stays the next one."""
        packets = with_data(video)
        packet = next(packets, None)
        if packet is None:
            return None
        self._packets = chain([packet], packets)
        return self.index.identify(packet)

    def _pass_over(self, count: int) -> None:
        for _ in range(count):
            next(self._packets, None)

    def _broken(self, frame: int) -> VideoError:
        reason = self._trouble or "the decoder gives no picture for it"
        return video_error(
            self.path,
            f"frame {frame} of {len(self.index)} cannot be decoded ({reason}); "
            "get a whole copy, or read with partial=True what comes before",
            frame,
        )

"""Opening a video file, and saying in one line why that is impossible."""

from __future__ import annotations

import multiprocessing
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behaviorzoo.errors import UserError, require
from behaviorzoo.files import existing_file
from behaviorzoo.video.errors import video_error

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

_OPEN: weakref.WeakSet[OpenVideo] = weakref.WeakSet()
_INHERITED: list[OpenVideo] = []


@dataclass(eq=False)
class OpenVideo:
    """An open container and the stream of its moving picture; closed when nobody holds it."""

    container: InputContainer
    stream: VideoStream

    def __post_init__(self) -> None:
        # Container and stream hold each other: left alone, file and threads would stay until the
        # next garbage collection, which may be that of a forked child.
        weakref.finalize(self, self.container.close).atexit = False
        _OPEN.add(self)

    def close(self) -> None:
        """Give file and decoder back."""
        self.container.close()


def video_path(path: str | Path) -> Path:
    """``path`` if it is a file that is not empty.

    Raises:
        VideoError: It is not.
    """
    try:
        return existing_file(path, "video")
    except UserError as error:
        reason = str(error).removeprefix(f"{Path(path).expanduser()}: ")
        raise video_error(Path(path), reason) from error


def open_video(path: Path, threads: int | None = None) -> OpenVideo:
    """Open the file and choose its video stream.

    FFmpeg's own messages are off from then on, whoever wanted them.

    Args:
        path: An existing file, see :func:`video_path`.
        threads: Decoder threads, 0 for as many as there are cores; None: see
            :func:`default_threads`.

    Raises:
        VideoError: The file is no video, or holds no moving picture.
    """
    require("av", "video", "reading a video")
    import av
    import av.logging
    from av.error import FFmpegError
    from av.video.stream import VideoStream

    # Once another library sends FFmpeg's messages to Python (torchvision did for long), freeing a
    # decoder hangs: it holds the interpreter, for which a thread with a message waits.
    av.logging.set_level(None)
    try:
        container = av.open(str(path), mode="r", **_any_metadata())
    except FFmpegError as error:
        raise video_error(
            path, f"not a video, or its beginning is broken ({error.strerror}); check the file"
        ) from error
    pictures = [s for s in container.streams.video if isinstance(s, VideoStream)]
    stream = next((s for s in pictures if not _is_cover(s)), None)
    if stream is None or stream.codec_context is None:
        kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
        container.close()
        raise video_error(path, f"no video stream, only {', '.join(kinds)}; give a video")
    count = default_threads() if threads is None else threads
    stream.codec_context.thread_count = count
    stream.codec_context.thread_type = "SLICE" if count == 1 else "AUTO"
    _keep_in_children()
    return OpenVideo(container, stream)


@cache
def _any_metadata() -> dict[str, Any]:
    """Options with which titles and comments in any encoding are no reason to refuse a video."""
    import av

    # From PyAV 19 on that is so by itself, and the option is gone.
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@cache
def _keep_in_children() -> None:
    """From now on, forked children never free what is open in their parent.

    The threads of a decoder stay behind in the parent; whoever frees the decoder in the child waits
    for them for ever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _INHERITED.extend(_OPEN))


def with_data(video: OpenVideo) -> Iterator[Packet]:
    """Packets that hold something; an empty one would tell the decoder that the video ends."""
    return (packet for packet in video.container.demux(video.stream) if packet.size)


def default_threads() -> int:
    """Threads of a decoder: all cores, but one in a child process.

    Processes of a data loader already share the cores among them.
    """
    return 0 if multiprocessing.parent_process() is None else 1


def _is_cover(stream: VideoStream) -> bool:
    """Whether this is the cover picture of a sound file."""
    import av.stream

    return bool(stream.disposition & av.stream.Disposition.attached_pic)

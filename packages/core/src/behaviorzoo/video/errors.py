"""What is wrong with a video, in one line that names the file."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo.errors import UserError


class VideoError(UserError):
    """A video, or a frame of it, that cannot be had.

    Attributes:
        path: The file.
        frame: Number of the first frame that cannot be had; None where no frame is to blame.
        reason: The message without the name of the file.
    """

    # Loader processes send an exception over as class and message: one string must be enough.
    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        frame: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.frame = frame
        self.reason = message if reason is None else reason


class VideoWarning(UserWarning):
    """Part of a broken video was left out, because ``partial=True`` allows it."""


def video_error(path: Path, reason: str, frame: int | None = None) -> VideoError:
    """The error with its message put together."""
    return VideoError(f"{path}: {reason}", path=path, frame=frame, reason=reason)

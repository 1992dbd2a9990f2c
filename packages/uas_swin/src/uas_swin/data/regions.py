"""A part of the picture as an example of its own: ``clip.mp4#450:900``.

Some videos hold several examples side by side. What follows the last ``#`` of a path, columns
``x0:x1`` and optionally rows ``y0:y1``, in pixels of the picture as shown, the end exclusive,
chooses one::

    orient_L_hstacked.mp4#0:450        columns 0 to 449, all rows
    cages.mp4#450:900,0:360            columns 450 to 899 of rows 0 to 359
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from behaviorzoo.errors import UserError

_SUFFIX = re.compile(r"(\d+):(\d+)(?:,(\d+):(\d+))?")


@dataclass(frozen=True)
class Region:
    """Columns and rows of a picture.

    Attributes:
        x0: First column.
        x1: One past the last column.
        y0: First row.
        y1: One past the last row; None for the last row of the picture.
    """

    x0: int
    x1: int
    y0: int = 0
    y1: int | None = None

    def __str__(self) -> str:
        columns = f"{self.x0}:{self.x1}"
        return columns if self.y1 is None else f"{columns},{self.y0}:{self.y1}"

    def cut(self, frames: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        """The part of every frame.

        Args:
            frames: (F, H, W, 3).
            where: The video, for the message.

        Raises:
            UserError: The region reaches beyond the picture.
        """
        height, width = frames.shape[1:3]
        y1 = height if self.y1 is None else self.y1
        if self.x1 > width or y1 > height or self.y0 >= y1:
            raise UserError(
                f"{where}: the region {self} reaches beyond the picture of {width}x{height}; "
                "it is columns first:end or columns,rows in pixels"
            )
        return frames[:, self.y0 : y1, self.x0 : self.x1]


def parse_region(text: str, where: str) -> Region:
    """Read ``x0:x1`` or ``x0:x1,y0:y1``.

    Raises:
        UserError: It is something else, or empty; with ``where``.
    """
    match = _SUFFIX.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{where}: {text!r} is not a region; write x0:x1 or x0:x1,y0:y1 in pixels")
    x0, x1, y0, y1 = (None if part is None else int(part) for part in match.groups())
    region = Region(x0 or 0, x1 or 0, y0 or 0, y1)
    if region.x1 <= region.x0 or (region.y1 is not None and region.y1 <= region.y0):
        raise UserError(f"{where}: the region {text!r} is empty; the end must be after the start")
    return region


def split_region(name: str, where: str) -> tuple[str, Region | None]:
    """Part the region, if any, from a path.

    Only a suffix of exactly that form counts, so that a ``#`` in a file name does no harm.
    """
    path, mark, text = name.rpartition("#")
    if not mark or _SUFFIX.fullmatch(text) is None:
        return name, None
    return path, parse_region(text, where)

"""Which of the videos or features that are annotated are there: said before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from sgear.data.readers import ClipReader

_LISTED = 10


@dataclass(frozen=True)
class Presence:
    """Videos or features of a data set.

    Attributes:
        what: videos or features.
        expected: Videos that are annotated.
        missing: Those that are not there.
        rows: Actions in all videos.
        rows_missing: Actions in the missing ones.
        places: Where was looked.
    """

    what: str
    expected: int
    missing: list[str]
    rows: int
    rows_missing: int
    places: str

    @property
    def found(self) -> int:
        """Videos that are there."""
        return self.expected - len(self.missing)

    def lines(self) -> list[str]:
        """What to tell the user."""
        head = f"{self.what}: {self.found} of {self.expected} found in {self.places}"
        if not self.missing:
            return [head]
        shown = ", ".join(self.missing[:_LISTED])
        more = len(self.missing) - _LISTED
        return [
            f"{head}; {self.rows_missing} of {self.rows} actions are left out",
            f"missing: {shown}" + (f" and {more} more" if more > 0 else ""),
        ]


def check_presence(reader: ClipReader, table: pd.DataFrame) -> Presence:
    """Look for the videos of a table.

    Raises:
        UserError: Not one of them is there.
    """
    videos = list(dict.fromkeys(table["video_path"]))
    missing = reader.missing(videos)
    presence = Presence(
        reader.what,
        len(videos),
        missing,
        len(table),
        int(np.isin(table["video_path"].to_numpy(dtype=str), missing).sum()),
        reader.places(),
    )
    if presence.found == 0:
        first = str(videos[0])
        bare = reader.what == "videos" and not PurePath(first).suffix
        todo = f"give names with their ending, {first}.mp4" if bare else "give the right folder"
        raise UserError(
            f"{reader.what}: none of {len(videos)} found in {presence.places} (looked for {first}, "
            f"...); {todo}"
        )
    return presence

"""What every reader of annotation files hands over, and what is done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from behaviorzoo.labels import COLUMNS


@dataclass
class Annotation:
    """Annotations of one recording.

    Attributes:
        recording: Name of the recording.
        table: Rows with ``task, start, stop, label``; frames of the source, stop exclusive.
        extent: Annotated frames (first, stop), when the file says how long it is.
        exclusive: Whether a task has at most one label per frame.
        notes: What the user should know: one line each.
    """

    recording: str
    table: pd.DataFrame
    extent: tuple[int, int] | None = None
    exclusive: bool = True
    notes: list[str] = field(default_factory=list)

    def tidy(self) -> pd.DataFrame:
        """The label table of this recording."""
        table = self.table.assign(recording=self.recording).reindex(columns=list(COLUMNS))
        return table.astype({"start": "Int64", "stop": "Int64"})

    def span(self) -> tuple[int, int]:
        """The annotated frames: as stated, else from 0 to the last annotated frame."""
        if self.extent is not None:
            return self.extent
        stop = self.table["stop"].dropna().to_numpy(dtype=np.int64)
        return 0, int(stop.max(initial=0))


def rows(task: str, start: object, stop: object, label: object) -> pd.DataFrame:
    """Rows of an annotation's table."""
    return pd.DataFrame({"task": task, "start": start, "stop": stop, "label": label})


def fill_tracks(annotation: Annotation, fill: Mapping[str, str]) -> None:
    """Give a task that the file lacks one label over all annotated frames.

    Args:
        annotation: Changed in place.
        fill: Task -> label.
    """
    first, stop = annotation.span()
    for task, label in fill.items():
        if task not in set(annotation.table["task"]) and stop > first:
            filled = rows(task, [first], [stop], [label])
            annotation.table = pd.concat([annotation.table, filled], ignore_index=True)
            annotation.notes.append(
                f"no track {task!r}: filled with {label!r} ({stop - first} frames)"
            )


def clip(annotation: Annotation, first: int, stop: int) -> None:
    """Cut annotations to the frames of the recording, and count what was cut.

    Args:
        annotation: Changed in place.
        first: First frame of the recording.
        stop: One after its last frame.
    """
    table = annotation.table
    whole = table["start"].isna().to_numpy(dtype=bool)  # a label of the whole recording
    begin = table["start"].fillna(first).to_numpy(dtype=np.int64)
    end = table["stop"].fillna(stop).to_numpy(dtype=np.int64)
    new_begin, new_end = np.maximum(begin, first), np.minimum(end, stop)
    inside = np.maximum(new_end - new_begin, 0)
    lost = (end - begin) - inside
    for task in dict.fromkeys(table["task"]):
        count = lost[np.asarray(table["task"] == task)].sum()
        if count:
            annotation.notes.append(
                f"{count} frames of {task!r} lie outside the recording (frames {first} to "
                f"{stop - 1}); clipped"
            )
    clipped = table.assign(
        start=pd.Series(new_begin, index=table.index, dtype="Int64").mask(whole),
        stop=pd.Series(new_end, index=table.index, dtype="Int64").mask(whole),
    )
    annotation.table = clipped.loc[whole | (inside > 0)].reset_index(drop=True)
    annotation.extent = (first, stop)

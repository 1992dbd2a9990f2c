"""From a checkpoint and clips or recordings to the embedding file, uncertainty included.

Clips (prepared data, rows of a label table) get one row each. Recordings without labelled clips
get one row per frame, the mean over sliding windows. Letters: N clips, L frames, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from behaviorzoo.embeddings import EmbeddingWriter
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from behaviorzoo.labels import write_labels
from hysp.data.dataset import SkeletonData
from hysp.embed_windows import WindowedRecordings, frame_means
from hysp.encoding import HYPERBOLIC, UNCERTAINTY, ClipEncoder, chosen_levels

MAX_POINTS = 6000
"""Points of the ball that are kept for the pictures."""

DEFAULT_BATCH = 128


@dataclass
class Embedded:
    """What an embedding run gives, besides the file.

    Attributes:
        path: The embedding file.
        table: A row per sequence (clip or window): name, labels, radius, uncertainty.
        points: Points of the ball of the rows ``rows`` of the table, for pictures (P, D).
        rows: int64 (P,).
        classes: Task -> names of its classes.
        notes: What the user should know.
    """

    path: Path
    table: pd.DataFrame
    points: np.ndarray
    rows: np.ndarray
    classes: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)

    @property
    def uncertainty(self) -> np.ndarray:
        """1 - radius of every sequence (N,)."""
        return self.table["uncertainty"].to_numpy(dtype=float)


class _Keeper:
    """Keeps an even sample of points for the pictures, however many come."""

    def __init__(self, total: int) -> None:
        self.step = max(1, -(-total // MAX_POINTS))
        self.seen = 0
        self.parts: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []

    def add(self, points: np.ndarray) -> None:
        rows = np.arange(self.seen, self.seen + len(points))
        chosen = rows % self.step == 0
        self.parts.append(points[chosen])
        self.rows.append(rows[chosen])
        self.seen += len(points)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.parts), np.concatenate(self.rows)


def embed_clips(
    encoder: ClipEncoder,
    data: SkeletonData,
    out: str | Path,
    *,
    levels: Sequence[str] | None = None,
    attrs: dict[str, Any] | None = None,
    batch_size: int = DEFAULT_BATCH,
    progress: bool = True,
) -> Embedded:
    """Embed clips, a row each: the recordings of the file are the clips.

    Args:
        encoder: The network.
        data: The clips.
        out: Embedding file (.nc). Beside it, ``NAME_sequences.csv`` and, where the clips have
            labels, ``NAME_labels.csv`` for ``behaviorzoo probe``.
        levels: Which levels; all by default.
        attrs: What else the file says of its origin.
        batch_size: Clips at a time.
        progress: Show a bar.

    Raises:
        UserError: No such level, clips that do not fit, or a file that cannot be written.
    """
    out, chosen = Path(out), chosen_levels(encoder.sizes, levels)
    widths = {level: encoder.sizes[level] for level in chosen}
    keeper, uncertain = _Keeper(len(data)), []
    starts = _numbers(data.table, "start")
    bar = tqdm(total=len(data), desc="embed", unit="clip", disable=not progress)
    with bar, EmbeddingWriter(out, widths, {**_attrs(encoder), **(attrs or {})}) as writer:
        for first in range(0, len(data), batch_size):
            rows = np.arange(first, min(first + batch_size, len(data)))
            values = encoder(data.batch(rows).x)
            keeper.add(values[HYPERBOLIC])
            uncertain.append(values[UNCERTAINTY][:, 0])
            for place, row in enumerate(rows.tolist()):
                own = {level: values[level][place : place + 1] for level in chosen}
                writer.write(data.names[row], starts[row], own)
            bar.update(len(rows))
    table = _sequence_table(data.table, np.concatenate(uncertain))
    labels = label_table(data)
    if len(labels):
        write_labels(labels, _beside(out, "labels"))
    return _finished(out, table, keeper, data.tasks, [])


def embed_recordings(
    encoder: ClipEncoder,
    recordings: WindowedRecordings,
    out: str | Path,
    *,
    levels: Sequence[str] | None = None,
    attrs: dict[str, Any] | None = None,
    batch_size: int = DEFAULT_BATCH,
    progress: bool = True,
) -> Embedded:
    """Embed whole recordings, a row per frame; memory is bounded by one recording's output.

    The arguments are those of :func:`embed_clips`. A frame has the mean of the windows over it; a
    frame without one (a gap that the policy for missing points leaves out) is NaN.

    Raises:
        UserError: See :func:`embed_clips`; recordings that are all shorter than a window.
    """
    out, chosen = Path(out), chosen_levels(encoder.sizes, levels)
    widths = {level: encoder.sizes[level] for level in chosen}
    origin = {
        **_attrs(encoder), "window": recordings.window, "stride": recordings.stride, **(attrs or {})
    }  # fmt: skip
    keeper = _Keeper(recordings.frames // recordings.stride + 1)
    tables, notes = [], []
    bar = tqdm(total=recordings.frames, unit="frame", unit_scale=True, disable=not progress)
    with bar, EmbeddingWriter(out, widths, origin, allow_missing=True) as writer:
        for source in recordings:
            bar.set_description(f"embed {source.name}")
            n_frames = len(source.positions)
            found = list(_window_values(encoder, recordings, source, batch_size, keeper, chosen))
            bar.update(n_frames)
            if not found:
                notes.append(
                    f"{source.name}: no window of {recordings.window} frames in its {n_frames}; "
                    "left out"
                )
                continue
            starts = np.concatenate([part for part, _ in found])
            frames = {
                level: frame_means(
                    np.concatenate([values[level] for _, values in found]),
                    starts,
                    recordings.window,
                    recordings.stride,
                    n_frames,
                )
                for level in {*chosen, UNCERTAINTY}
            }
            writer.write(source.name, source.first_frame, {n: frames[n] for n in chosen})
            empty = int(np.isnan(frames[UNCERTAINTY][:, 0]).sum())
            if empty:
                notes.append(f"{source.name}: {empty} of {n_frames} frames are in no window: NaN")
            uncertain = np.concatenate([values[UNCERTAINTY][:, 0] for _, values in found])
            begin = starts + source.first_frame
            rows = pd.DataFrame(
                {"name": source.name, "start": begin, "stop": begin + recordings.window}
            )
            tables.append(_sequence_table(rows, uncertain))
        if not tables:
            raise UserError(
                f"no recording has a whole window of {recordings.window} frames "
                f"(data.clips.window); {notes[0]}"
            )
    table = pd.concat(tables, ignore_index=True)
    return _finished(out, table, keeper, {}, notes)


def label_table(data: SkeletonData) -> pd.DataFrame:
    """Labels of the clips as whole recordings, in the core's format."""
    parts = []
    for task in data.tasks:
        own = data.table.loc[data.table[task].astype(str) != ""]
        empty = pd.array([pd.NA] * len(own), dtype="Int64")
        parts.append(
            pd.DataFrame(
                {
                    "recording": own["name"].to_numpy(),
                    "task": task,
                    "start": empty,
                    "stop": empty,
                    "label": own[task].to_numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _window_values(
    encoder: ClipEncoder,
    recordings: WindowedRecordings,
    source: Any,
    batch_size: int,
    keeper: _Keeper,
    chosen: Sequence[str],
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    for windows in recordings.windows(source, batch_size):
        values = encoder(torch.from_numpy(windows.clips))
        keeper.add(values[HYPERBOLIC])
        yield windows.starts, {level: values[level] for level in {*chosen, UNCERTAINTY}}


def _finished(
    out: Path,
    table: pd.DataFrame,
    keeper: _Keeper,
    classes: dict[str, list[str]],
    notes: list[str],
) -> Embedded:
    with atomic_path(_beside(out, "sequences")) as temporary:
        table.to_csv(temporary, index=False)
    points, rows = keeper.result()
    return Embedded(out, table, points, rows, classes, notes)


def _sequence_table(table: pd.DataFrame, uncertainty: np.ndarray) -> pd.DataFrame:
    return table.reset_index(drop=True).assign(radius=1 - uncertainty, uncertainty=uncertainty)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}_{what}.csv")


def _numbers(table: pd.DataFrame, column: str) -> list[int]:
    """First frames of clips; 0 where the data do not say them."""
    if column not in table:
        return [0] * len(table)
    return [int(value) if str(value).lstrip("-").isdigit() else 0 for value in table[column]]


def _attrs(encoder: ClipEncoder) -> dict[str, Any]:
    return {
        "method": "hysp",
        "stream": encoder.stream,
        "compat": encoder.compat,
        "precision": encoder.precision,
        "embedding_sizes": encoder.sizes,
    }


def command(words: list[str]) -> None:
    """Write the embedding and the uncertainty of every sequence.

    Args:
        words: What stands behind ``hysp embed``.

    Raises:
        UserError: Wrong options, checkpoint or data.
    """
    from hysp.embed_command import run

    run(words)

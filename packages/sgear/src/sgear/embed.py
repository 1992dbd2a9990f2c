"""From a trained network to the embedding file: what it expects at moments of videos.

A recording is a video. Its rows are annotated segments in the order of time, or moments at equal
distances (``every``). Levels: ``future`` is what is expected next (the vector that is classified),
``past`` the mean of what was seen; ``similarities`` (on demand) to the prototypes of all classes.

Letters: D features, N classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from behaviorzoo.embeddings import EmbeddingWriter
from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import atomic_path
from behaviorzoo.labels import write_labels
from sgear.data.dataset import ActionDataset
from sgear.data.tables import unique_names
from sgear.trained_run import TrainedRun

OUTPUTS = {
    "future": "future_agg",
    "past": "past_mean_representation",
    "similarities": "similarities",
}
"""Level -> output of the network."""

LEVELS = ("future", "past")
KINDS = ("action", "verb", "noun")
_TIMES = ("start", "end", "orig_start", "orig_end")


@dataclass
class Embedded:
    """What an embedding run gives, besides the file.

    Attributes:
        path: The embedding file.
        segments: A row per embedding: recording, row in it, uid, times in seconds.
        labels: Labels of the rows, in the core's table.
        notes: What the user should know.
    """

    path: Path
    segments: pd.DataFrame
    labels: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def embed_dataset(
    trained: TrainedRun,
    dataset: ActionDataset,
    out: str | Path,
    *,
    levels: Sequence[str] = LEVELS,
    labels: pd.DataFrame | None = None,
    attrs: dict[str, Any] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Embedded:
    """Embed the clips of a data set, video by video.

    Args:
        trained: The network.
        dataset: The clips.
        out: Embedding file (.nc). Beside it ``NAME_segments.csv``, and ``NAME_labels.csv`` where
            there are labels, for ``behaviorzoo probe``.
        levels: Which of ``future``, ``past``, ``similarities``.
        labels: Labels of the rows in place of those of the data set, see
            :func:`sgear.moments.labels_at_moments`.
        attrs: What else the file says of its origin.
        batch_size: Clips at a time.
        progress: Show a bar.

    Raises:
        UserError: No such level, no clip that can be read, or a file that cannot be written.
    """
    out, chosen = Path(out), _checked(levels)
    table = dataset.table
    if table.empty:
        raise UserError("no clip to embed: all segments begin too early in their videos")
    names = recording_names(table)
    sizes = {"future": trained.network.config.dim, "past": trained.network.config.dim}
    sizes["similarities"] = len(trained.network.get_parameter("vis_prototypes"))
    origin = {
        "method": "sgear",
        "checkpoint": trained.checkpoint.path.name,
        "levels_of": {level: OUTPUTS[level] for level in chosen},
        **(attrs or {}),
    }
    notes: list[str] = []
    order = _in_order(table, names)
    bar = tqdm(total=len(table), desc="embed", unit="clip", disable=not progress)
    with bar, EmbeddingWriter(out, {name: sizes[name] for name in chosen}, origin) as writer:
        buffer = _Recording(writer, table, chosen)
        for batch, outputs in trained.outputs(dataset, order, batch_size):
            notes += [f"left out: {clip.message}" for clip in batch["broken"]]
            bar.update(len(batch["idx"]) + len(batch["broken"]))
            values = {level: outputs[OUTPUTS[level]].numpy() for level in chosen if outputs}
            buffer.add(batch["idx"].numpy(), names, values)
        buffer.write()
        if not buffer.segments:
            raise UserError(f"not one of {len(table)} clips can be read; {notes[0]}")
    segments = pd.concat(buffer.segments, ignore_index=True)
    with atomic_path(_beside(out, "segments")) as temporary:
        segments.drop(columns="item").to_csv(temporary, index=False)
    if labels is None:
        labels = segment_labels(dataset, segments)
    if len(labels):
        write_labels(labels, _beside(out, "labels"))
    return Embedded(out, segments.drop(columns="item"), labels, notes)


def recording_names(table: pd.DataFrame) -> np.ndarray:
    """A name of the recording of each row: the video's, with its folder where that is needed."""
    paths = [str(path) for path in table["video_path"]]
    short = [str(name) for name in table["video_id"]] if "video_id" in table else paths
    return np.array(unique_names(short, paths), dtype=object)


def segment_labels(dataset: ActionDataset, segments: pd.DataFrame) -> pd.DataFrame:
    """Labels of annotated segments: row k of a recording is frame k of the core's table."""
    parts = []
    rows = segments["item"].to_numpy()
    for kind in KINDS:
        if f"{kind}_class" not in dataset.table or not dataset.classes.get(kind):
            continue
        names = {code: str(name).strip() for name, code in dataset.classes[kind].items()}
        codes = dataset.table[f"{kind}_class"].to_numpy(dtype=np.int64)[rows]
        labelled = np.array([code in names for code in codes.tolist()], dtype=bool)
        place = segments["row"].to_numpy()[labelled]
        parts.append(
            pd.DataFrame(
                {
                    "recording": segments["recording"].to_numpy()[labelled],
                    "task": kind,
                    "start": place,
                    "stop": place + 1,
                    "label": [names[code] for code in codes[labelled].tolist()],
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


class _Recording:
    """Rows of one recording until the next begins, then into the file."""

    def __init__(self, writer: EmbeddingWriter, table: pd.DataFrame, levels: Sequence[str]) -> None:
        self.writer, self.table, self.levels = writer, table, levels
        self.name = ""
        self.rows: list[int] = []
        self.values: dict[str, list[np.ndarray]] = {level: [] for level in levels}
        self.segments: list[pd.DataFrame] = []

    def add(self, rows: np.ndarray, names: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Take rows of the data set that follow each other, with values (rows, D) per level."""
        for place, row in enumerate(rows.tolist()):
            if names[row] != self.name:
                self.write()
                self.name = str(names[row])
            self.rows.append(row)
            for level in self.levels:
                self.values[level].append(values[level][place])

    def write(self) -> None:
        """Write what is there."""
        if not self.rows:
            return
        self.writer.write(self.name, 0, {n: np.stack(rows) for n, rows in self.values.items()})
        self.segments.append(_segments(self.table, self.name, np.array(self.rows)))
        self.rows, self.values = [], {level: [] for level in self.levels}


def _in_order(table: pd.DataFrame, names: np.ndarray) -> np.ndarray:
    """Rows by recording, recordings as they come first, and within one in the order of time."""
    number, _ = pd.factorize(names)
    return np.lexsort((table["end"].to_numpy(dtype=np.float64), number))


def _segments(table: pd.DataFrame, recording: str, rows: np.ndarray) -> pd.DataFrame:
    own = table.iloc[rows]
    columns: dict[str, Any] = {"recording": recording, "row": np.arange(len(rows)), "item": rows}
    for name in ("uid", "narration_id", *_TIMES):
        if name in own:
            columns[name] = own[name].to_numpy()
    return pd.DataFrame(columns)


def _checked(levels: Sequence[str]) -> list[str]:
    for level in levels:
        if level not in OUTPUTS:
            raise UserError(f"level {level!r}: {suggest(level, OUTPUTS)}")
    if not levels:
        raise UserError(f"no level: choose among {', '.join(OUTPUTS)}")
    return [level for level in OUTPUTS if level in levels]


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}_{what}.csv")

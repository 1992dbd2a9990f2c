"""The data side of S-GEAR laid out as in the authors' code: what an item costs there.

Same results as ours: filters over the whole table for every item, every frame of the span read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

FPS = 30.0
N_FRAMES = 15


def with_paths(table: pd.DataFrame) -> pd.DataFrame:
    """The table as the authors keep it: path objects, and all columns of the annotations."""
    names = [Path(path).stem for path in table["video_path"]]
    return table.assign(
        video_path=[Path(path) for path in table["video_path"]],
        video_id=names,
        participant_id=[name[:3] for name in names],
        narration_id=[f"{name}_{row}" for row, name in enumerate(names)],
        narration="take plate",
        **dict.fromkeys(("start_timestamp", "stop_timestamp"), "00:00:01.890"),
        **dict.fromkeys(("verb", "noun", "all_nouns", "all_noun_classes"), "take"),
        **dict.fromkeys(("start_frame", "stop_frame", "verb_class", "noun_class"), 1),
    )


class Language:
    """Rows of language tables that the authors put into every item."""

    def __init__(self, n_classes: int, n_features: int):
        self.encodings = {n: torch.rand(n_features) for n in range(n_classes)}
        self.similarities = {n: torch.rand(1, n_classes) for n in range(n_classes)}

    def rows(self, label: int, past: list[int]) -> dict[str, torch.Tensor]:
        """Of the label and of those of the past."""
        return {
            "target_embeddings": self.encodings[abs(label)],
            "target_similarities": self.similarities[abs(label)],
            "past_reference_embedding": torch.stack([self.encodings[abs(n)] for n in past]),
            "past_reference_similarities": torch.stack([self.similarities[abs(n)] for n in past]),
        }


def original_item(
    table: pd.DataFrame, environment: Any, index: int, language: Language
) -> dict[str, torch.Tensor]:
    """An item of 15 frames at 1 per second, the last of the segment, with past labels."""
    row = table.iloc[index]
    start, end = max(row["start"], 0.0), max(row["end"], 0.0)
    n_read = round(N_FRAMES * FPS)
    first = max(int(FPS * (end - start)) - n_read, 0)
    new_end = max(min(end, start + (first + n_read) / FPS), 0.0)
    new_start = min(max(start + first / FPS, 0.0), new_end)
    frames = _all_frames(new_start, new_end)
    features = _read(environment, Path(row["video_path"]).stem, frames)
    times = np.linspace(new_start, new_end, len(frames))
    kept = np.arange(len(frames) - 1, -1, -int(FPS))[::-1]
    video, seconds = features[kept.copy()], times[kept]
    while len(video) < N_FRAMES:
        video = torch.cat([video[:1], video])
        seconds = np.concatenate([seconds[:1], seconds])
    video, seconds = video[-N_FRAMES:], seconds[-N_FRAMES:].astype(np.float32)
    labels = original_past_labels(table, row["video_path"], seconds)
    item = {"video": video[:, :, None, None, None], "past": torch.tensor(labels)}
    return item | language.rows(int(row["action_class"]), labels)


def original_past_labels(table: pd.DataFrame, video: Path, seconds: np.ndarray) -> list[int]:
    """Labels at some times of a video: a filter over all rows, then one per time."""
    same = table[table["video_path"] == video]
    labels = []
    for t in seconds.tolist():
        found = same[(same["orig_start"] <= t) & (same["orig_end"] >= t)]
        if len(found) == 0:
            labels.append(-1)
        elif len(found) == 1:
            labels.append(int(found.iloc[0]["action_class"]))
        else:
            distance = (t - (found["orig_end"] - found["orig_start"]) / 2).abs()
            labels.append(int(found.loc[distance.idxmin(), "action_class"]))
    return labels


def _all_frames(start: float, end: float) -> np.ndarray:
    frames = np.arange(int(np.floor(end * FPS)), int(np.floor(start * FPS)), -1)[::-1].copy()
    frames[frames < 1] = frames[frames >= 1].min()
    return frames


def _read(environment: Any, video: str, frames: np.ndarray) -> torch.Tensor:
    """Every frame of the span, a missing one replaced by an earlier one."""
    features = []
    with environment.begin() as transaction:
        for frame in frames:
            value = None
            for back in range(10):
                key = f"{video}_frame_{frame - back:010d}.jpg"
                value = transaction.get(key.encode("utf-8"))
                if value is not None:
                    break
            features.append(np.frombuffer(value, "float32"))
    return torch.from_numpy(np.array(features))

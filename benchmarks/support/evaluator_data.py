"""Embeddings and labels of the size of Shot7M2, with structure at the timescales of its labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from behaviorzoo.mabe import save_dictionary
from hieras_eval import load_benchmark

WIDTH = 64
_NOISE = 3.0
# Level of the label hierarchy -> shares of positive frames, frames between two changes.
_ACTIONS = (0.02, 0.4), (20, 90)
_MOVEMES = (0.05, 0.5), (5, 40)


def write(folder: Path, *, every: int = 1, frames: int = 1800, seed: int = 0) -> None:
    """Write ``test_submission_0.npy``, ``labels.npy`` and a metadata folder.

    Args:
        folder: Where.
        every: Take every so many-th of the 2,720 episodes.
        frames: Frames per episode.
        seed: Seed of everything.
    """
    benchmark = load_benchmark("Shot7M2")
    names = list(benchmark.clips)[::every]
    clips = {name: (i * frames, (i + 1) * frames) for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    labels = _labels(names, frames, rng)
    tasks = [task.name for task in benchmark.tasks]
    contents = {
        "vocabulary": tasks,
        "task_type": ["Discrete"] * len(tasks),
        "label_array": labels,
        "frame_number_map": clips,
    }
    save_dictionary(folder / "labels.npy", contents)
    embeddings = np.empty((len(names) * frames, WIDTH), dtype=np.float32)
    directions = rng.standard_normal((len(tasks), WIDTH), dtype=np.float32)
    for start, stop in clips.values():
        noise = rng.standard_normal((frames, WIDTH), dtype=np.float32)
        signal = labels[:, start:stop].T.astype(np.float32) @ directions
        embeddings[start:stop] = signal + _NOISE * noise + 2.0
    save_dictionary(
        folder / "test_submission_0.npy", {"frame_number_map": clips, "embeddings": embeddings}
    )
    (folder / "metadata").mkdir()
    split = {
        part: [name for name in listed if name in clips]
        for part, listed in benchmark.splits.items()
    }
    for file, content in {"frame_number_map": clips, "split": split}.items():
        (folder / "metadata" / f"{file}.json").write_text(json.dumps(content))


def _labels(names: list[str], frames: int, rng: np.random.Generator) -> np.ndarray:
    """Labels (30, N) float64: one activity per episode, actions and movemes in runs."""
    n = len(names) * frames
    activity = np.array([name.split("_")[0] for name in names])
    activities = [
        np.repeat(activity == kind, frames)
        for kind in ("casual", "intense", "dribbling", "notplaying")
    ]
    runs = []
    for count, (shares, lengths) in ((12, _ACTIONS), (14, _MOVEMES)):
        for _ in range(count):
            share, length = rng.uniform(*shares), rng.uniform(*lengths)
            pieces = rng.geometric(1 / length, size=int(2 * n / length) + 2)
            runs.append(np.repeat(rng.random(len(pieces)) < share, pieces)[:n])
    return np.stack([*activities, *runs]).astype(np.float64)

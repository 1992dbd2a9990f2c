"""Scores of all tasks from the counts: the published ones and the corrected ones beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from behaviorzoo.metrics import f1_from_counts
from hieras_eval.benchmarks import Task
from hieras_eval.counting import ANY, MAJORITY, Counts
from hieras_eval.fitting import Models
from hieras_eval.truth import Truth

PARTS = ("public", "private", "private+public")
"""The last one is what the published tables call private: both lists after one another."""
_BOTH = 2


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Scores of one task.

    Attributes:
        task: The task.
        votes: Merged predictions -> scores (3 parts, A penalties): ``any`` and ``majority`` for
            classes, ``mean`` for values. NaN where there is nothing to fit or to score.
        single: Scores of each seed alone (3, A, S).
        frames: Labelled rows of each part (3,).
        positives: Rows of class 1 of each part (3,); 0 for values.
        flags: What to know of the scores of each part (3,); empty = nothing.
        notes: The same in sentences.
    """

    task: Task
    votes: dict[str, np.ndarray]
    single: np.ndarray
    frames: np.ndarray
    positives: np.ndarray
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def task_scores(truth: Truth, models: Models, counts: Counts) -> list[TaskScores]:
    """Scores of every task, each once."""
    frames = _with_both(counts.frames)
    n_tasks = len(truth.tasks)
    positives = np.zeros((3, n_tasks), dtype=np.int64)
    positives[:, truth.class_tasks] = _with_both(counts.positives)
    votes: list[dict[str, np.ndarray]] = [{} for _ in range(n_tasks)]
    single: list[np.ndarray] = [np.empty(0)] * n_tasks
    predicted, hits = _with_both(counts.predicted), _with_both(counts.hits)
    f1 = f1_from_counts(hits, predicted, positives[:, None, None, truth.class_tasks])
    for c, k in enumerate(truth.class_tasks):
        of_task = _blank(f1[..., c], frames[:, k], models.trained[k])
        votes[k] = {"any": of_task[:, :, ANY], "majority": of_task[:, :, MAJORITY]}
        single[k] = of_task[:, :, :ANY]
    squares = _with_both(counts.squares)
    for v, k in enumerate(truth.value_tasks):
        mse = squares[..., v] / np.maximum(frames[:, k], 1)[:, None, None]
        of_task = _blank(mse, frames[:, k], models.trained[k])
        votes[k] = {"mean": of_task[:, :, -1]}
        single[k] = of_task[:, :, :-1]
    scored = []
    for k, task in enumerate(truth.tasks):
        trained = _training(task, models.rows[:, k], models.positives[:, k], truth.benchmark.seeds)
        tested = [_testing(task, frames[p, k], positives[p, k]) for p in range(3)]
        scored.append(
            TaskScores(
                task=task,
                votes=votes[k],
                single=single[k],
                frames=frames[:, k],
                positives=positives[:, k],
                flags=tuple("; ".join(filter(None, (trained, test))) for test in tested),
                notes=_notes(task, trained, tested),
            )
        )
    return scored


def _with_both(parts: np.ndarray) -> np.ndarray:
    """Public, private, and both together (3, ...); rows in both lists then count twice."""
    return np.concatenate([parts, parts.sum(axis=0, keepdims=True)])


def _blank(scores: np.ndarray, frames: np.ndarray, trained: bool | np.bool_) -> np.ndarray:
    """NaN instead of scores (3, A, V) that do not exist."""
    exists = (frames > 0) & trained
    return np.where(exists[:, None, None], scores, np.nan)


def _training(task: Task, rows: np.ndarray, positives: np.ndarray, seeds: tuple[int, ...]) -> str:
    """What is degenerate about the fits of a task; empty = nothing."""
    if not rows.all():
        return f"no labels in training{_of(seeds, rows == 0)}"
    if task.kind == "value":
        return ""
    flags = []
    if not positives.all():
        flags.append(f"no positive in training{_of(seeds, positives == 0)}")
    if (positives == rows).any():
        flags.append(f"all positive in training{_of(seeds, positives == rows)}")
    return "; ".join(flags)


def _of(seeds: tuple[int, ...], concerned: np.ndarray) -> str:
    """Which seeds, if not all."""
    if concerned.all():
        return ""
    named = [str(seed) for seed, yes in zip(seeds, concerned, strict=True) if yes]
    return f" (seed {', '.join(named)})"


def _testing(task: Task, frames: int, positives: int) -> str:
    if not frames:
        return "no labels in test"
    if task.kind == "value":
        return ""
    if not positives:
        return "no positive in test"
    return "all positive in test" if positives == frames else ""


def _notes(task: Task, trained: str, tested: list[str]) -> tuple[str, ...]:
    """Sentences for the reader of the table."""
    name = f"task {task.name!r}"
    if trained.startswith("no labels"):
        return (f"{name} is not available: {trained}.",)
    notes = []
    if tested[_BOTH].startswith("no labels"):
        notes.append(f"{name} is not available: {tested[_BOTH]}.")
    elif trained or tested[_BOTH]:
        notes.append(f"{name} is degenerate: {'; '.join(filter(None, (trained, tested[_BOTH])))}.")
    if not tested[_BOTH]:
        for part, flag in zip(PARTS[:_BOTH], tested, strict=False):
            if flag:
                state = "not available" if flag.startswith("no labels") else "degenerate"
                notes.append(f"the {part} score of {name} is {state}: {flag}.")
    return tuple(notes)

"""The protocol: embeddings and labels in, the table of scores out.

For every seed a part of the training clips is set aside; on the others one ridge model is fitted
per task and penalty. The models of the seeds are merged on the test clips, and scored by F1 or by
the mean squared error. Nothing is tuned, and everything follows from the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.mabe import release_pages
from hieras_eval.benchmarks import Benchmark, Compat
from hieras_eval.counting import Counts, count
from hieras_eval.fitting import Models, fit
from hieras_eval.pooled import NOT_POOLED, PooledScore, pooled_score
from hieras_eval.scores import PARTS, TaskScores, task_scores
from hieras_eval.submissions import Submission, check_submission
from hieras_eval.tables import TIDY_COLUMNS
from hieras_eval.truth import UNLABELLED, Progress, Truth, read_truth

__all__ = ["Evaluation", "evaluate", "read_truth", "scored_evaluation"]

_PUBLIC, _PRIVATE, _BOTH = range(3)
_CUTS = ("aligned", "upstream")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of one submission.

    Attributes:
        benchmark: Name of the benchmark.
        submission: Name of the submission's file.
        level: Level of the hierarchy that the submission holds, as the caller named it.
        authors: The published table: its columns, its order; averaged where the benchmark says.
        unaveraged: The same before averaging; None where nothing is averaged.
        tidy: One row per score: ``vote`` (any, majority, mean, single), ``part`` (public,
            private, private+public), ``pooled`` (no, aligned, upstream), ``penalty``, ``seed``
            (a number, or all), ``value`` (NaN = not available), ``n_frames`` and ``n_positive``
            (clips, where pooled), ``flag``.
        notes: Warnings, degenerate and unavailable tasks, one sentence each.
    """

    benchmark: str
    submission: str
    level: str
    authors: pd.DataFrame
    unaveraged: pd.DataFrame | None
    tidy: pd.DataFrame
    notes: tuple[str, ...]


def evaluate(
    truth: Truth,
    submission: Submission,
    *,
    threshold: float = 0.5,
    compat: Compat = "upstream",
    level: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate one submission.

    The tidy table holds the published and the corrected scores in any case; ``compat`` says
    which fill the authors' table. ``upstream``: a vote of any seed, "private" = private and
    public together, pooled scores cut from shuffled clips. ``corrected``: the majority of the
    seeds, private alone, pooled scores of the clip's own rows.

    Args:
        truth: Benchmark and labels, from :func:`read_truth`; serves any number of submissions.
        submission: Embeddings of all frames.
        threshold: From which mean on a clip is of class 1 (pooled scores only).
        compat: Which scores fill the authors' table.
        level: Name of the level, for the tables.
        progress: Told stage, how much is done, and of how much.

    Raises:
        UserError: The submission does not belong to the benchmark, see
            :func:`~hieras_eval.submissions.check_submission`.
    """
    notes = check_submission(submission, truth.benchmark, truth.n_frames, progress)
    models = fit(submission.embeddings, truth, progress)
    counts = count(submission.embeddings, truth, models, progress)
    release_pages(submission.embeddings)
    return scored_evaluation(
        truth,
        models,
        counts,
        submission=submission.path.name,
        threshold=threshold,
        compat=compat,
        level=level,
        notes=notes,
    )


def scored_evaluation(
    truth: Truth,
    models: Models,
    counts: Counts,
    *,
    submission: str,
    threshold: float = 0.5,
    compat: Compat = "upstream",
    level: str = "",
    notes: Sequence[str] = (),
) -> Evaluation:
    """Scores of what was fitted and counted; the last step of :func:`evaluate`.

    Args:
        truth: Benchmark and labels.
        models: What was fitted.
        counts: What was counted on the test rows.
        submission: Name of what was evaluated.
        threshold: See :func:`evaluate`.
        compat: See :func:`evaluate`.
        level: See :func:`evaluate`.
        notes: Sentences to begin with.
    """
    benchmark = truth.benchmark
    scored = {scores.task.name: scores for scores in task_scores(truth, models, counts)}
    pooled = _pooled(truth, counts, scored, threshold)
    table = pd.DataFrame(
        [
            _authors_row(scored[task.name], pooled.get(task.name), benchmark, compat)
            for task in benchmark.tasks
        ]
    )
    averaged = _averaged(table, benchmark.averaged_pattern) if benchmark.averaged_pattern else None
    rows = [
        {"level": level, **row}
        for name, scores in scored.items()
        for row in _tidy_rows(scores, pooled.get(name, {}), benchmark)
    ]
    return Evaluation(
        benchmark=benchmark.name,
        submission=submission,
        level=level,
        authors=table if averaged is None else averaged,
        unaveraged=None if averaged is None else table,
        tidy=pd.DataFrame(rows, columns=list(TIDY_COLUMNS)),
        notes=(*notes, *(note for scores in scored.values() for note in scores.notes)),
    )


def _pooled(
    truth: Truth, counts: Counts, scored: dict[str, TaskScores], threshold: float
) -> dict[str, dict[tuple[str, str], PooledScore]]:
    """Sequence-level task -> (vote, cut) -> score over clips."""
    found = {}
    for k, merged in counts.merged.items():
        task = truth.tasks[k]
        if task.kind == "class":
            codes = truth.codes[truth.class_tasks.index(k)]
            labels = np.where(codes == UNLABELLED, np.nan, codes)
        else:
            labels = truth.values[truth.value_tasks.index(k)]
        available = np.isfinite(scored[task.name].single[_BOTH]).all()
        found[task.name] = {
            (vote, cut): pooled_score(
                labels,
                predictions,
                truth.benchmark,
                classes=task.kind == "class",
                threshold=threshold,
                cut=cut,
            )
            if available
            else PooledScore(float("nan"), 0, 0)
            for vote, predictions in merged.items()
            for cut in _CUTS
        }
    return found


def _authors_row(
    scores: TaskScores,
    pooled: dict[tuple[str, str], PooledScore] | None,
    benchmark: Benchmark,
    compat: Compat,
) -> dict[str, Any]:
    """Row of the published table."""
    task, reported, upstream = scores.task, benchmark.reported, compat == "upstream"
    vote = "mean" if task.kind == "value" else "any" if upstream else "majority"
    part = _BOTH if upstream else _PRIVATE
    cut = "upstream" if upstream else "aligned"
    return {
        "Task ID": task.name,
        "Private Score": scores.votes[vote][part, reported],
        "Public Score": scores.votes[vote][_PUBLIC, reported],
        "Metric": "f1_score" if task.kind == "class" else "mean_mse",
        "No Ensemble Score": scores.single[part, reported].mean(),
        "Pooled Score": NOT_POOLED if pooled is None else pooled[vote, cut].value,
        "Sequence Level Task": task.sequence_level,
        **{
            f"Score Alpha {penalty}": scores.votes[vote][part, a]
            for a, penalty in enumerate(benchmark.penalties)
        },
    }


def _averaged(table: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Average the rows whose names hold the pattern, by the name before it.

    The averages follow the other rows in alphabetical order. Whatever is no score is that of the
    first row: the published tables average -1 (not pooled) with real pooled scores, and so does
    this one.
    """
    bases = table["Task ID"].str.split(pattern, n=1, regex=False).str[0]
    several = table["Task ID"].str.contains(pattern, regex=False)
    scores = [column for column in table if "Score" in str(column)]
    groups = table.assign(**{"Task ID": bases})[several].groupby("Task ID", sort=True)
    means = groups.first()
    means[scores] = groups[scores].mean()
    means["Metric"] = "f1_score"
    averages = means.reset_index().reindex(columns=table.columns)
    return pd.concat([table.loc[~several], averages], ignore_index=True)


def _tidy_rows(
    scores: TaskScores,
    pooled: dict[tuple[str, str], PooledScore],
    benchmark: Benchmark,
) -> Iterator[dict[str, Any]]:
    """One row per score; of single seeds those at the reported penalty."""
    common = {
        "task": scores.task.name,
        "group": scores.task.group,
        "metric": "f1" if scores.task.kind == "class" else "mse",
        "pooled": "no",
    }
    for p, part in enumerate(PARTS):
        of_part = {
            **common,
            "part": part,
            "n_frames": int(scores.frames[p]),
            "n_positive": int(scores.positives[p]),
            "flag": scores.flags[p],
        }
        for vote, values in scores.votes.items():
            for a, penalty in enumerate(benchmark.penalties):
                yield {
                    **of_part,
                    "vote": vote,
                    "penalty": penalty,
                    "seed": "all",
                    "value": values[p, a],
                }
        for s, seed in enumerate(benchmark.seeds):
            value = scores.single[p, benchmark.reported, s]
            yield {
                **of_part,
                "vote": "single",
                "penalty": benchmark.reported_penalty,
                "seed": str(seed),
                "value": value,
            }
    for (vote, cut), score in pooled.items():
        yield {
            **common,
            "part": PARTS[_BOTH],
            "pooled": cut,
            "vote": vote,
            "penalty": benchmark.reported_penalty,
            "seed": "all",
            "value": score.value,
            "n_frames": score.clips,
            "n_positive": score.positive,
            "flag": scores.flags[_BOTH],
        }

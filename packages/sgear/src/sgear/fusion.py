"""Late fusion: the scores of several runs, added with weights, item by item.

Items meet by uid. fused[uid] = sum over the runs that have the uid of weight * scores; nothing is
renormalised where a run lacks an item. Verbs and nouns are probabilities, actions are logits, so
one weight acts on different scales; ``p`` divides every score vector by its p-norm first.

Letters: R runs, N items, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from sgear.evaluation_set import EvaluationSet
from sgear.marginalise import SPACES
from sgear.scores import TOP

NORM_EPS = 1e-6

GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Weights that the search tries for a run."""

_SWEEPS = 8


@dataclass
class ScoredRun:
    """Scores of one run.

    Attributes:
        name: For tables and messages.
        uids: N names of items, each once.
        scores: Space -> float (N, C).
        items: What the run was evaluated on, where it is known; all items, in their own order.
        heads: Spaces with a head of their own.
        notes: What the reader should know.
    """

    name: str
    uids: list[str]
    scores: dict[str, np.ndarray]
    items: EvaluationSet | None = None
    heads: tuple[str, ...] = ("action",)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(set(self.uids)) != len(self.uids):
            seen: set[str] = set()
            twice = next(uid for uid in self.uids if uid in seen or seen.add(uid))
            raise UserError(f"{self.name}: item {twice!r} has scores twice")
        for space, values in self.scores.items():
            if values.ndim != 2 or len(values) != len(self.uids):
                raise UserError(
                    f"{self.name}: {space} scores {values.shape} for {len(self.uids)} items"
                )


def fuse(
    runs: Sequence[ScoredRun], weights: float | Sequence[float] = 1.0, p: float | None = None
) -> ScoredRun:
    """Add the scores of runs.

    Args:
        runs: At least one; spaces that are not in all of them are left out.
        weights: One per run, or one for all.
        p: Order of the norm by which every score vector is divided; None leaves them.

    Returns:
        Scores of the union of the items, in the order in which they first occur.

    Raises:
        UserError: Other numbers of weights or of classes, no common space, a wrong ``p``, or runs
            on other clips.
    """
    weights = checked_weights(weights, len(runs))
    check_same_items(runs)
    if p is not None and not p > 0:
        raise UserError(f"normalise: the order of a norm is above 0, not {p:g}")
    rows: dict[str, int] = {}
    for run in runs:
        for uid in run.uids:
            rows.setdefault(uid, len(rows))
    fused = {}
    for space in common_spaces(runs):
        widths = {run.scores[space].shape[1] for run in runs}
        if len(widths) > 1:
            each = ", ".join(f"{run.name} {run.scores[space].shape[1]}" for run in runs)
            raise UserError(f"the runs differ in their number of {space} classes: {each}")
        total = np.zeros((len(rows), widths.pop()))
        for run, weight in zip(runs, weights, strict=True):
            own = np.array([rows[uid] for uid in run.uids], dtype=np.int64)
            total[own] += weight * normalised(run.scores[space], p)
        fused[space] = total
    heads = tuple(space for space in fused if all(space in run.heads for run in runs))
    return ScoredRun("fused", list(rows), fused, heads=heads)


def common_spaces(runs: Sequence[ScoredRun]) -> list[str]:
    """Spaces that all runs have, in the order of the first.

    Raises:
        UserError: There is no run, or no common space.
    """
    if not runs:
        raise UserError("nothing to fuse: give at least one run")
    spaces = [s for s in runs[0].scores if all(s in run.scores for run in runs)]
    if not spaces:
        each = "; ".join(f"{run.name}: {', '.join(run.scores)}" for run in runs)
        raise UserError(f"the runs have no scores of the same kind ({each})")
    return spaces


def checked_weights(weights: float | Sequence[float], number: int) -> list[float]:
    """A weight for each run.

    Raises:
        UserError: Another number of weights, or one that is no number.
    """
    given = [float(weights)] * number if np.ndim(weights) == 0 else list(map(float, weights))  # pyright: ignore[reportArgumentType]
    if len(given) != number:
        raise UserError(f"{len(given)} weights for {number} runs")
    if not np.isfinite(given).all():
        raise UserError(f"weights {given}: a weight is a finite number")
    return given


def normalised(scores: np.ndarray, p: float | None) -> np.ndarray:
    """Score vectors (N, C) over their p-norm (plus 1e-6, for vectors of zeros)."""
    scores = np.asarray(scores, dtype=np.float64)
    if p is None:
        return scores
    norms = np.linalg.norm(scores, ord=p, axis=1, keepdims=True)
    return scores / (norms + NORM_EPS)


def aligned(run: ScoredRun, items: EvaluationSet) -> tuple[ScoredRun, list[str]]:
    """The scores of a run in the order of some items.

    Returns:
        The run, its ``items`` those that have scores, and notes on what was left out.

    Raises:
        UserError: No item has scores.
    """
    place = {uid: row for row, uid in enumerate(run.uids)}
    wanted = items.uids
    kept = [at for at, uid in enumerate(wanted) if uid in place]
    if not kept:
        raise UserError(
            f"{run.name}: none of the {len(wanted)} items of {items.where} has scores; the first "
            f"item is {wanted[0] if wanted else '?'!r}, the first score is of "
            f"{run.uids[0] if run.uids else '?'!r}"
        )
    rows = np.array([place[wanted[at]] for at in kept])
    table = items.table.iloc[kept].reset_index(drop=True)
    found = ScoredRun(
        run.name,
        [wanted[at] for at in kept],
        {space: values[rows] for space, values in run.scores.items()},
        replace(items, table=table),
        run.heads,
        run.notes,
    )
    notes = []
    if len(kept) < len(wanted):
        missing = len(wanted) - len(kept)
        notes.append(f"{missing} of {len(wanted)} items have no score in any run: left out")
    if len(kept) < len(run.uids):
        notes.append(f"{len(run.uids) - len(kept)} scored items are not in {items.where}: left out")
    return found, notes


def check_same_items(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs whose items have the same names and are not the same clips.

    Items are named by numbers in some data sets, so that names meet between data sets as well.

    Raises:
        UserError: An item of a run has another label or video than in the last run.
    """
    told = [run for run in runs if run.items is not None]
    for run in told[:-1]:
        ours, theirs = (_facts(one) for one in (run, told[-1]))
        columns = ours.columns.intersection(theirs.columns)
        common = ours.index.intersection(theirs.index)
        differ = ours.loc[common, columns] != theirs.loc[common, columns]
        if differ.to_numpy().any():
            uid = common[differ.any(axis=1)][0]
            column = columns[differ.loc[uid]][0]
            raise UserError(
                f"{run.name}, {told[-1].name}: runs on different clips, item {uid!r} has {column} "
                f"{ours.loc[uid, column]} in one and {theirs.loc[uid, column]} in the other; fuse "
                "runs that were evaluated on the same data set"
            )


def _facts(run: ScoredRun) -> pd.DataFrame:
    """What an item must have in common with its namesake: label and video, by uid."""
    assert run.items is not None
    items = run.items
    facts: dict[str, Any] = {}
    if "video_id" in items.table:
        facts["video_id"] = items.table["video_id"].astype(str).to_numpy()
    for space in SPACES:
        labels = items.labels(space)
        if labels is not None:
            facts[f"{space}_class"] = labels
    table = pd.DataFrame(facts, index=pd.Index(items.uids))
    return table.loc[~table.index.duplicated()]


@dataclass(frozen=True)
class FoundWeights:
    """What a search for weights gives.

    Attributes:
        weights: (R,), the first is not rescaled.
        value: The figure with these weights, percent.
        equal: The figure with equal weights.
        tried: How many sets of weights were looked at.
    """

    weights: tuple[float, ...]
    value: float
    equal: float
    tried: int


def search_weights(
    scores: Sequence[np.ndarray],
    labels: np.ndarray,
    metric: str = "AR5",
    grid: Sequence[float] = GRID,
) -> FoundWeights:
    """Weights with the best figure, by coordinate ascent from equal weights.

    One run after the other tries every weight of the grid while the others are kept, until a sweep
    changes nothing. For two runs this is the search of all ratios. Ties keep what is there.

    Args:
        scores: R arrays (N, C) of the same items and classes.
        labels: int (N,), negative items do not count. They must not be those that are reported.
        metric: ``AR5`` (class-mean recall at 5), ``top1`` or ``top5``.
        grid: Weights to try.

    Raises:
        UserError: An unknown figure, arrays that do not fit, or no label.
    """
    if metric not in ("AR5", "top1", "top5"):
        raise UserError(f"metric {metric!r}: choose one of AR5, top1, top5")
    labels = np.asarray(labels, dtype=np.int64)
    if len({values.shape for values in scores}) != 1 or len(scores[0]) != len(labels):
        raise UserError("the runs differ in their items or classes, so no weights can be searched")
    known = labels >= 0
    if not known.any():
        raise UserError("no item has a label, so no weights can be searched")
    labels = labels[known]
    # Only distances to the true class count, and they add up as the scores do.
    lead = []
    for values in scores:
        values = np.asarray(values[known], dtype=np.float32)
        lead.append(values - values[np.arange(len(labels)), labels][:, None])
    cache: dict[tuple[float, ...], float] = {}

    def value(weights: Sequence[float]) -> float:
        key = tuple(weights)
        if key not in cache:
            total = sum(w * part for w, part in zip(weights, lead, strict=True) if w)
            cache[key] = _figure(np.asarray(total), labels, metric) if any(weights) else -1.0
        return cache[key]

    best = [1.0] * len(scores)
    equal = value(best)
    for _ in range(_SWEEPS):
        before = list(best)
        for run in range(1 if len(scores) == 2 else 0, len(scores)):
            options = [[*best[:run], weight, *best[run + 1 :]] for weight in grid]
            if len(scores) == 2:  # the other end of the ratios: the first run alone left out
                options += [[0.0, 1.0]] if 0.0 in grid else []
            best = max([best, *options], key=value)
        if best == before:
            break
    return FoundWeights(tuple(best), value(best), equal, len(cache))


def _figure(lead: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """Percent, from the distances (N, C) of all classes to the true one."""
    ahead = np.count_nonzero(lead > 0, axis=1)
    if metric != "AR5":
        return 100.0 * float((ahead < (1 if metric == "top1" else TOP)).mean())
    items = np.bincount(labels)
    within = np.bincount(labels[ahead < TOP], minlength=len(items))
    return 100.0 * float((within[items > 0] / items[items > 0]).mean())


def search_in_folds(
    runs: Sequence[ScoredRun],
    labels: np.ndarray,
    groups: Sequence[str],
    folds: int = 5,
    metric: str = "AR5",
    space: str = "action",
    p: float | None = None,
) -> tuple[np.ndarray, list[FoundWeights]]:
    """Weights for the items of each fold, found on all other folds.

    Groups (videos) are kept whole, so that no frame helps to choose its own weights.

    Args:
        runs: With the same items in the same order.
        labels: int (N,).
        groups: N names.
        folds: Number of folds.
        metric: See :func:`search_weights`.
        space: Space that the labels and the search are about.
        p: See :func:`fuse`.

    Returns:
        Weights (N, R) and what was found for each fold.

    Raises:
        UserError: Fewer groups than folds.
    """
    names = list(dict.fromkeys(groups))
    if folds < 2 or len(names) < folds:
        raise UserError(f"{folds} folds of {len(names)} videos: give fewer folds, or --validation")
    fold_of = _balanced_folds([list(groups).count(name) for name in names], folds)
    fold = np.array([fold_of[names.index(group)] for group in groups])
    scores = [normalised(run.scores[space], p) for run in runs]
    weights = np.empty((len(labels), len(runs)))
    found = []
    for k in range(folds):
        rest = fold != k
        searched = search_weights([values[rest] for values in scores], labels[rest], metric)
        weights[~rest] = searched.weights
        found.append(searched)
    return weights, found


def fuse_itemwise(
    runs: Sequence[ScoredRun], weights: np.ndarray, p: float | None = None
) -> ScoredRun:
    """Add scores with weights (N, R) of their own for each item; runs have the same items."""
    fused = {
        space: sum(
            weights[:, r : r + 1] * normalised(run.scores[space], p) for r, run in enumerate(runs)
        )
        for space in common_spaces(runs)
    }
    scores = {space: np.asarray(values) for space, values in fused.items()}
    return ScoredRun("fused", list(runs[0].uids), scores, runs[0].items, runs[0].heads)


def together(runs: Sequence[ScoredRun], items: EvaluationSet) -> list[ScoredRun]:
    """The runs with the items that all of them have, in the order of ``items``.

    Raises:
        UserError: They have no item in common.
    """
    shared = set(runs[0].uids).intersection(*(run.uids for run in runs[1:]))
    rows = [row for row, uid in enumerate(items.uids) if uid in shared]
    if not rows:
        raise UserError(f"the runs have none of the items of {items.where} in common")
    common = replace(items, table=items.table.iloc[rows].reset_index(drop=True))
    return [aligned(run, common)[0] for run in runs]


def labels_of(items: EvaluationSet, space: str = "action") -> np.ndarray:
    """Labels of items.

    Raises:
        UserError: They are not known.
    """
    labels = items.labels(space)
    if labels is None:
        raise UserError(f"{items.where}: the {space} labels of the items are not known")
    return labels


def _balanced_folds(sizes: Sequence[int], folds: int) -> list[int]:
    """Fold of each group: the largest first, always into the smallest fold."""
    load = [0] * folds
    fold = [0] * len(sizes)
    for group in sorted(range(len(sizes)), key=lambda g: (-sizes[g], g)):
        fold[group] = load.index(min(load))
        load[fold[group]] += sizes[group]
    return fold

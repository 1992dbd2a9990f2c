"""Summaries of the scores: the originals' printed numbers, and the corrected ones beside them.

What the originals print as "+-" is the deviation over the five penalties (population formula, per
task, averaged over the tasks). It says nothing of chance; the corrected figures carry the standard
deviation over the seeds instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hieras_eval.tables import (
    F1,
    METRIC,
    MSE,
    PRIVATE,
    SEQUENCE,
    TASK,
    alpha_columns,
)

ALL = "all"
# How the scores of a summary were made: merged vote, and the clips they were counted on.
PUBLISHED = {"vote": ("any", "mean"), "part": "private+public"}
CORRECTED = {"vote": ("majority", "mean"), "part": "private"}
REPORTED_PENALTY = 1.0
# Left and right, or bending and stretching, are one movement in the authors' "Our" means.
_PAIRS = {
    **dict.fromkeys(("action_LSpin", "action_RSpin"), "action_Spin"),
    **dict.fromkeys(("action_LTurn", "action_Rturn"), "action_Turn"),
    **{
        f"moveme_{joint}_{way}": f"moveme_{joint}"
        for joint in ("Lelbow", "Relbow", "Lknee", "Rknee")
        for way in ("flex", "ext")
    },
}
_SHOT_PREFIXES = {"activity": "activity_Episode", "action": "action_", "moveme": "moveme_"}
_SHOT_SIZES = {"activity": 4, "action": 12, "moveme": 14}
_TOP = {"frame": (10, 30, 60, 90), "seg": (10, 30, 90)}
# Fine to coarse; other groups follow in the order of their tasks.
_FINE_TO_COARSE = ("moveme", "action", "activity", "frame", "segment", "sequence")

Summary = dict[str, Any]


def published_summary(task: str, table: pd.DataFrame) -> Summary:
    """The numbers that the original prints below a table, rounded as it rounds them.

    Args:
        task: Benchmark, such as ``"Shot7M2"``.
        table: The authors' table.

    Returns:
        Name -> number. ``..._std`` is the deviation over penalties. For benchmarks whose original
        prints nothing: the same kinds of means. A group without tasks is left out.
    """
    if task == "Shot7M2":
        return _shot_summary(table)
    if task == "hBABEL":
        return _hbabel_summary(table)
    return _mabe_summary(table)


def _mabe_summary(table: pd.DataFrame) -> Summary:
    """All values (MSE), all classes, and the classes of frames and of sequences apart."""
    values, classes = _where(table, table[METRIC] == MSE), _where(table, table[METRIC] == F1)
    sequence = classes[SEQUENCE].to_numpy(dtype=bool)
    parts = {
        "all_mse": (values, 4),
        "all_f1": (classes, 3),
        "frame_f1": (_where(classes, ~sequence), 3),
        "seq_f1": (_where(classes, sequence), 3),
    }
    return _joined(
        _mean(rows, name, f"{name}_std_over_alpha", digits)
        for name, (rows, digits) in parts.items()
    )


def _shot_summary(table: pd.DataFrame) -> Summary:
    summary = _mean(table, "all_f1", "all_f1_std_over_alpha")
    rows = {
        group: _where(table, table[TASK].str.startswith(prefix))
        for group, prefix in _SHOT_PREFIXES.items()
    }
    for group, part in rows.items():
        summary |= _mean(part, f"{group}_f1", f"{group}_f1_std")
    # The authors' code merges by position, so only the thirty tasks have "our" means.
    whole = {group: len(part) for group, part in rows.items()} == _SHOT_SIZES
    if whole and set(_PAIRS) <= set(table[TASK]):
        ours = {
            group: _mean_of_units(part, TASK, PRIVATE, merge=True) for group, part in rows.items()
        }
        ours["activity"] = summary["activity_f1"]  # the only one that is rounded
        summary["our_all_f1"] = float(np.mean(list(ours.values())))
        summary |= {f"our_{group}_f1": value for group, value in ours.items()}
    return summary


def _hbabel_summary(table: pd.DataFrame) -> Summary:
    """All and the most frequent labels of frames and segments; tasks stand in ascending order."""
    summary: Summary = {}
    for group, tops in _TOP.items():
        rows = _where(table, table[TASK].str.endswith(f"_{group}"))
        own = _mean(rows, "all", "all_std")
        for top in tops:
            own |= _mean(rows.iloc[-top:], f"top{top}", f"top{top}_std")
        if own:
            summary[group] = own
    return summary | _mean(table, "all_f1", "all_f1_std")


def _mean(rows: pd.DataFrame, name: str, std_name: str, digits: int = 3) -> Summary:
    """Mean of the private scores, and the mean over tasks of the deviation over penalties."""
    if rows.empty:
        return {}
    alphas = rows[alpha_columns(rows)].to_numpy(dtype=float)  # (tasks, penalties)
    known = ~np.isnan(rows[PRIVATE].to_numpy(dtype=float))
    if not known.any():
        return {}
    mean = np.mean(rows[PRIVATE].to_numpy(dtype=float)[known])
    summary = {name: float(np.round(mean, digits))}
    if alphas.size:
        summary[std_name] = float(np.round(np.mean(np.std(alphas[known], axis=1)), digits))
    return summary


def chosen_scores(
    tidy: pd.DataFrame, kind: Mapping[str, Any], *, pooled: str = "no"
) -> pd.DataFrame:
    """Rows of the tidy table with one score per level and task.

    Args:
        tidy: Tidy table.
        kind: ``PUBLISHED`` or ``CORRECTED``.
        pooled: ``"no"`` for frames, ``"aligned"`` or ``"upstream"`` for whole clips, which are
            always scored over public and private clips together.
    """
    part = kind["part"] if pooled == "no" else "private+public"
    rows = (
        tidy["vote"].isin(kind["vote"])
        & (tidy["part"] == part)
        & (tidy["pooled"] == pooled)
        & np.isclose(tidy["penalty"].to_numpy(dtype=float), REPORTED_PENALTY)
        & (tidy["seed"] == ALL)
    )
    return tidy.loc[rows].drop_duplicates(["level", "task", "metric"])


def seed_scores(tidy: pd.DataFrame, part: str) -> pd.DataFrame:
    """Rows of the tidy table with one score per level, task and seed."""
    rows = (
        (tidy["seed"] != ALL)
        & (tidy["part"] == part)
        & (tidy["pooled"] == "no")
        & np.isclose(tidy["penalty"].to_numpy(dtype=float), REPORTED_PENALTY)
    )
    return tidy.loc[rows].drop_duplicates(["level", "task", "metric", "seed"])


def group_means(
    tidy: pd.DataFrame, kind: Mapping[str, Any], *, merge: bool = False
) -> pd.DataFrame:
    """Mean score of each level and group, and what it varies by between seeds.

    Single-fly tasks of one behaviour count as one task, as in the authors' tables.

    Args:
        tidy: Tidy table.
        kind: ``PUBLISHED`` or ``CORRECTED``.
        merge: Average left with right and bending with stretching first (Shot7M2).

    Returns:
        Columns level, group, metric, value, sd (over seeds, n - 1), tasks (with a score),
        missing (tasks without one). The group ``all`` holds every task of a metric where there
        are several groups of it; then, with the metric ``f1 of clips``, the tasks that are scored
        per clip. Levels in the order of the table, groups from fine to coarse.
    """
    scores, seeds = chosen_scores(tidy, kind), seed_scores(tidy, kind["part"])
    clips = chosen_scores(tidy, kind, pooled="aligned").dropna(subset=["value"])
    rows = []
    for level in tidy["level"].unique():
        own, own_seeds = _where(scores, scores["level"] == level), seeds["level"] == level
        for group, metric in panels(tidy):
            inside = own["metric"] == metric
            chosen = own_seeds & (seeds["metric"] == metric)
            if group != ALL:
                inside, chosen = (
                    inside & (own["group"] == group),
                    chosen & (seeds["group"] == group),
                )
            rows.append(
                {"level": level, "group": group, "metric": metric}
                | _group_row(_where(own, inside), _where(seeds, chosen), merge)
            )
        whole = _where(clips, clips["level"] == level)
        if len(whole):
            rows.append(
                {"level": level, "group": ALL, "metric": "f1 of clips"}
                | _group_row(_where(whole, whole["metric"] == "f1"), seeds.iloc[:0], merge)
            )
    columns = ["level", "group", "metric", "value", "sd", "tasks", "missing"]
    return pd.DataFrame(rows, columns=columns)


def panels(tidy: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (group, metric), fine to coarse; values after classes; ``all`` after the groups."""
    known = list(dict.fromkeys(zip(tidy["group"], tidy["metric"], strict=True)))
    # Groups of a user's own labels stay in their order, even where they bear such a name.
    ours = all(group in _FINE_TO_COARSE for group, _ in known)
    order = {group: position for position, group in enumerate(_FINE_TO_COARSE * ours)}
    found: list[tuple[str, str]] = []
    for metric in sorted({metric for _, metric in known}):
        groups = [group for group, other in known if other == metric]
        groups.sort(key=lambda group: order.get(group, len(order)))
        found += [(group, metric) for group in groups] if metric == "f1" else []
        found += [(ALL, metric)] if len(groups) > 1 or metric != "f1" else []
    return found


def _group_row(scores: pd.DataFrame, seeds: pd.DataFrame, merge: bool) -> dict[str, Any]:
    known, known_seeds = scores.dropna(subset=["value"]), seeds.dropna(subset=["value"])
    by_seed = [
        _mean_of_units(_where(known_seeds, known_seeds["seed"] == seed), "task", "value", merge)
        for seed in known_seeds["seed"].unique()
    ]
    return {
        "value": _mean_of_units(known, "task", "value", merge),
        "sd": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan,
        "tasks": len({_unit(str(task), merge) for task in known["task"]}),
        "missing": len(scores) - len(known),
    }


def _mean_of_units(rows: pd.DataFrame, task: str, value: str, merge: bool) -> float:
    """Mean over tasks, after the mean over those that count as one; NaN without tasks."""
    units: dict[str, list[float]] = {}
    for name, score in zip(rows[task], rows[value], strict=True):
        units.setdefault(_unit(str(name), merge), []).append(float(score))
    return float(np.mean([np.mean(scores) for scores in units.values()])) if units else np.nan


def _unit(task: str, merge: bool) -> str:
    base = task.partition("_singletask")[0]
    return _PAIRS.get(base, base) if merge else base


def authors_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of an authors' table with the group each task belongs to, told by its name.

    Returns:
        Columns task, group, metric (``f1`` or ``mse``) and value (the private score).
    """
    rows = [
        (str(task), _group_of(str(task), bool(sequence)), "mse" if metric == MSE else "f1", value)
        for task, sequence, metric, value in zip(
            table[TASK], table[SEQUENCE], table[METRIC], table[PRIVATE], strict=True
        )
    ]
    return pd.DataFrame(rows, columns=["task", "group", "metric", "value"])


def _group_of(task: str, sequence: bool) -> str:
    for group in _SHOT_PREFIXES:
        if task.startswith(f"{group}_"):
            return group
    if task.endswith(("_seg", "_frame")):
        return "segment" if task.endswith("_seg") else "frame"
    group, found, _ = task.partition(":")
    return group if found else ("sequence" if sequence else "frame")


def _where(table: pd.DataFrame, rows: Any) -> pd.DataFrame:
    return pd.DataFrame(table.loc[rows])


def _joined(parts: Any) -> Summary:
    return {name: value for part in parts for name, value in part.items()}

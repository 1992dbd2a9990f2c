"""Several runs as one: their scores fused, evaluated, and written as a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from sgear.evaluate import Evaluation, evaluate_scores
from sgear.evaluation_set import EvaluationSet
from sgear.fusion import (
    FoundWeights,
    ScoredRun,
    aligned,
    fuse,
    fuse_itemwise,
    labels_of,
    normalised,
    search_in_folds,
    search_weights,
    together,
)
from sgear.fusion_inputs import RESULTS
from sgear.results import ResultsWriter

FOLDS = 5
"""Of videos, in a search without a validation split."""

FUSION = "fusion.json"
"""What was fused, beside the fused results."""


@dataclass
class Fusion:
    """A fusion and what it is worth.

    Attributes:
        fused: Scores, with the items.
        evaluation: Figures of the fused scores.
        alone: Name and figures of every run, on its items among those of the fusion.
        weights: One per run.
        how: Where the weights come from.
        folds: What was found in each fold of a search.
        notes: What the user should know.
    """

    fused: ScoredRun
    evaluation: Evaluation
    alone: list[tuple[str, Evaluation]]
    weights: list[float]
    how: str
    folds: list[FoundWeights] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fusion(
    runs: Sequence[ScoredRun],
    weights: float | Sequence[float] = 1.0,
    *,
    p: float | None = None,
    search: str | None = None,
    validation: Sequence[ScoredRun] | None = None,
    folds: int = FOLDS,
) -> Fusion:
    """Fuse runs and evaluate the sum on the items of the last run that knows its items.

    Args:
        runs: At least one.
        weights: One per run or one for all; not used by a search.
        p: Order of the norm, see :func:`sgear.fusion.fuse`.
        search: ``AR5``, ``top1`` or ``top5``: search weights for this figure of the actions.
        validation: Scores of the same networks on another split, to search on.
        folds: Folds of videos where there is no validation split.

    Raises:
        UserError: Runs that do not belong together.
    """
    items = _items(runs)
    notes = [f"{run.name}: {note}" for run in runs for note in run.notes]
    found_folds: list[FoundWeights] = []
    if search is None:
        fused, how = fuse(runs, weights, p), "given"
    elif validation is not None:
        weights, how = _on_validation(runs, validation, search, p)
        fused = fuse(runs, weights, p)
    else:
        shared = together(runs, items)
        common = _items(shared)
        truth, groups = labels_of(common), _videos(common)
        each, found_folds = search_in_folds(shared, truth, groups, folds, search, p=p)
        fused = fuse_itemwise(shared, each, p)
        scores = [normalised(run.scores["action"], p) for run in shared]
        weights = search_weights(scores, truth, search).weights
        how = f"searched in {folds} folds of videos, each scored with weights of the others"
    fused, more = aligned(fused, items)
    assert fused.items is not None
    evaluation = evaluate_scores(fused.scores, fused.items, heads=fused.heads, may_lack_labels=True)
    alone = []
    for run in runs:
        own, _ = aligned(run, fused.items)
        assert own.items is not None
        figures = evaluate_scores(own.scores, own.items, heads=run.heads, may_lack_labels=True)
        alone.append((run.name, figures))
    given = np.broadcast_to(np.asarray(weights, dtype=float), (len(runs),)).tolist()
    notes = list(dict.fromkeys([*notes, *more, *evaluation.notes]))
    return Fusion(fused, evaluation, alone, given, how, found_folds, notes)


def refuse_results_of_others(out: str | Path) -> None:
    """Keep the scores of a run from being replaced by those of a fusion.

    Args:
        out: Folder that a fusion is to be written into.

    Raises:
        UserError: It holds results that no fusion wrote.
    """
    out = Path(out)
    if (out / RESULTS).exists() and not (out / FUSION).exists():
        raise UserError(f"--out {out}: holds the results of a run; choose another folder")


def write_fusion(result: Fusion, out: str | Path) -> Path:
    """Write the fused scores as a run: ``results/0.h5`` with its items, and ``fusion.json``.

    Raises:
        UserError: The folder holds results of a run, or cannot be written.
    """
    refuse_results_of_others(out)
    out, fused = Path(out), result.fused
    assert fused.items is not None
    folder = out / RESULTS
    rows = np.arange(len(fused.uids))
    targets = {
        space: labels for space in fused.scores if (labels := fused.items.labels(space)) is not None
    }
    with ResultsWriter(folder) as writer:
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            writer.append(
                {f"logits/{space}": values[part] for space, values in fused.scores.items()},
                idx=part,
                uid=[fused.uids[row] for row in part],
                target={space: values[part] for space, values in targets.items()},
            )
    fused.items.save(folder)
    content = {
        "runs": [name for name, _ in result.alone],
        "weights": result.weights,
        "weights_from": result.how,
        "weights_of_folds": [found.weights for found in result.folds],
        "metrics": _json_numbers(result.evaluation),
        "alone": {name: _json_numbers(evaluation) for name, evaluation in result.alone},
        "notes": result.notes,
    }
    with atomic_path(out / FUSION) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return out


def fusion_text(result: Fusion) -> str:
    """The figures of every run and of all together, as text."""
    parts = [f"note: {note}" for note in result.notes]
    pairs = zip(result.alone, result.weights, strict=True)
    shown = ", ".join(f"{name} x {weight:g}" for (name, _), weight in pairs)
    parts.append(f"weights: {shown} ({result.how})")
    for number, found in enumerate(result.folds):
        weights = ", ".join(f"{weight:g}" for weight in found.weights)
        parts.append(f"  fold {number}: {weights}")
    for name, evaluation in [*result.alone, ("fused", result.evaluation)]:
        parts.append(f"\n{name}\n{evaluation.table}")
    return "\n".join(parts)


def _on_validation(
    runs: Sequence[ScoredRun], validation: Sequence[ScoredRun], search: str, p: float | None
) -> tuple[list[float], str]:
    if len(validation) != len(runs):
        raise UserError(f"{len(validation)} validation runs for {len(runs)} runs")
    shared = together(validation, _items(validation))
    labels = labels_of(_items(shared))
    scores = [normalised(run.scores["action"], p) for run in shared]
    found = search_weights(scores, labels, search)
    how = f"searched on {len(labels)} validation items, {search} {found.value:.1f}"
    return list(found.weights), how


def _items(runs: Sequence[ScoredRun]) -> EvaluationSet:
    """Items of the last run that knows its own."""
    for run in reversed(runs):
        if run.items is not None:
            return run.items
    raise UserError("none of the runs says what its items are")


def _videos(items: EvaluationSet) -> list[str]:
    """What is kept whole in folds: videos, else every item by itself."""
    table = items.table
    return [str(v) for v in table["video_id"]] if "video_id" in table else items.uids


def _json_numbers(evaluation: Evaluation) -> dict[str, float | None]:
    """Figures; json has no nan."""
    return {key: None if np.isnan(value) else value for key, value in evaluation.metrics.items()}

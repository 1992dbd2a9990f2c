"""The whole comparison: every level against every task, split by recording.

One pass over the training recordings collects sums per fold; all models follow from them. A
second pass scores every penalty on left-out folds. One pass over the test recordings predicts all
tasks with one matrix product per level.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.errors import UserError
from behaviorzoo.labels import COLUMNS as LABEL_COLUMNS
from behaviorzoo.probes.fitting import fit_rounds
from behaviorzoo.probes.inputs import Features, Targets, group_files, read_targets
from behaviorzoo.probes.predicting import Baselines, Tested
from behaviorzoo.probes.scores import score_table
from behaviorzoo.probes.settings import ProbeSettings
from behaviorzoo.probes.splits import Split, make_split


@dataclass
class ProbeResult:
    """What a probe found.

    Attributes:
        scores: The score table, see :mod:`behaviorzoo.probes.scores`.
        predictions: Label table of the test recordings with the column ``level``.
        details: Split, penalties and notes, ready for JSON.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbePlan:
    """What is probed: the labels of the recordings, and which of these train and test.

    Attributes:
        spans: Recording -> (first frame, number of frames).
        targets: Labels of all tasks.
        split: Rounds of training and testing.
        notes: What a reader of the results should know.
    """

    spans: dict[str, tuple[int, int]]
    targets: Targets
    split: Split
    notes: list[str]


def probe(
    embeddings: Sequence[str | Path], labels: pd.DataFrame, settings: ProbeSettings
) -> ProbeResult:
    """Probe embeddings for the labels.

    Args:
        embeddings: Embedding files. Files with the same levels and other recordings are read as
            one; else the files are compared, and their names stand before the level names.
        labels: Label table.
        settings: How to probe.

    Returns:
        Scores, predictions and details.

    Raises:
        UserError: No file, no recording with both embeddings and labels, see also
            :func:`make_split` and :func:`read_targets`.
    """
    if not embeddings:
        raise UserError("no embedding file was given")
    with ExitStack() as stack:
        files = [stack.enter_context(open_embeddings(path)) for path in embeddings]
        kinds = [
            Features(
                prefix,
                kind,
                context=settings.context,
                levels=settings.levels,
                combine=settings.combine,
            )
            for prefix, kind in group_files(files)
        ]
        return probe_planned(kinds, plan_probe(kinds, labels, settings), settings)


def plan_probe(
    kinds: Sequence[Features], labels: pd.DataFrame, settings: ProbeSettings
) -> ProbePlan:
    """Read the labels of the recordings that have embeddings of every kind, and split these.

    Args:
        kinds: Open embeddings.
        labels: Label table.
        settings: Tasks, and the split.

    Raises:
        UserError: See :func:`probe`.
    """
    spans, notes = _common_recordings(kinds, labels)
    notes += [note for kind in kinds for note in kind.notes]
    targets = read_targets(labels, spans, tasks=settings.tasks, regression=settings.regression)
    notes += [f"task {task} is not probed: {why}" for task, why in targets.skipped.items()]
    split = make_split(
        {name: n for name, (_, n) in spans.items()}, test=settings.test, folds=settings.folds
    )
    return ProbePlan(spans, targets, split, notes)


def probe_planned(
    kinds: Sequence[Features], plan: ProbePlan, settings: ProbeSettings
) -> ProbeResult:
    """Fit and test the probes of a plan, see :func:`probe`."""
    spans, targets, split = plan.spans, plan.targets, plan.split
    baselines = Baselines(targets, split, settings.every)
    rows: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    penalties: dict[str, Any] = {}
    for kind in kinds:
        models = list(fit_rounds(kind, targets, split, settings))
        tested = Tested(kind, targets, models, split, spans, baselines)
        rows += tested.rows(settings.background)
        tables += tested.predictions
        for level in kind.columns:
            penalties[level] = {
                task.name: [fitted[level][t].penalties for fitted in models]
                for t, task in enumerate(targets.tasks)
            }
    details = {
        "split": split.description,
        "train": [[name for c in train for name in split.cells[c]] for train, _ in split.rounds],
        "test": [[name for c in test for name in split.cells[c]] for _, test in split.rounds],
        "penalties": penalties,
        "notes": plan.notes,
    }
    empty = pd.DataFrame(columns=[*LABEL_COLUMNS, "level"])
    predictions = pd.concat(tables, ignore_index=True) if tables else empty
    return ProbeResult(score_table(rows), predictions, details)


def _common_recordings(
    kinds: Sequence[Features], labels: pd.DataFrame
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Frames of the recordings that have labels and every kind of embeddings; and the others."""
    labelled = set(labels["recording"])
    spans = {
        name: kinds[0].span(name)
        for name in kinds[0].files
        if name in labelled and all(name in kind.files for kind in kinds)
    }
    for name, span in spans.items():
        for kind in kinds:
            if kind.span(name) != span:
                raise UserError(
                    f"recording {name!r}: frames (first, number) are {kind.span(name)} in "
                    f"{kind.files[name].path} but {span} in {kinds[0].files[name].path}"
                )
    embedded = list(dict.fromkeys(name for kind in kinds for name in kind.files))
    if not spans:
        raise UserError(
            "no recording has both embeddings and labels: embeddings of "
            f"{_some(embedded)}; labels of {_some(sorted(labelled))}; the names must be the same"
        )
    notes = []
    without_labels = [name for name in embedded if name not in labelled]
    without_embeddings = sorted(labelled - set(embedded))
    partly = [name for name in embedded if name in labelled and name not in spans]
    for names, what in (
        (without_labels, "have embeddings but no labels"),
        (without_embeddings, "have labels but no embeddings"),
        (partly, "are not in all embedding files"),
    ):
        if names:
            notes.append(f"{len(names)} recordings {what} and are left out: {_some(names)}")
    return spans, notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

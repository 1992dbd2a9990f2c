"""One page on a run, on several, or on a fusion: figures, curves, confusions, anticipations.

Everything comes from what the run has written (results with their items, ``metrics.csv``,
``fusion.json``); neither data nor network are needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo import plots
from behaviorzoo.errors import UserError
from behaviorzoo.metrics import confusion_matrix
from behaviorzoo.report.page import Report
from sgear.anticipation_pictures import examples_html, validation_curves, video_timeline
from sgear.evaluate import COLUMNS, Evaluation, evaluate_scores, mean_over_folds
from sgear.evaluation_set import EvaluationSet
from sgear.fused_run import FUSION
from sgear.fusion import ScoredRun, aligned

METRICS = "metrics.csv"
SETTINGS = (".hydra/config.yaml", "config.yaml")
CONFUSED = 14
"""Classes that a confusion matrix shows; all others are one."""

EXAMPLES = 12
TIMELINES = 3
OTHERS = "all others"


@dataclass
class ReportedRun:
    """A run that is shown.

    Attributes:
        name: What it is called.
        scores: Space -> (N, C), rows as ``items``.
        items: What it was evaluated on.
        evaluation: Its figures.
        folder: Run folder, for curves and settings; may hold neither.
    """

    name: str
    scores: dict[str, np.ndarray]
    items: EvaluationSet
    evaluation: Evaluation
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)


def reported(run: ScoredRun, folder: Path | None = None) -> ReportedRun:
    """Evaluate a run for its page.

    Raises:
        UserError: It does not say what its items are, or none has a label.
    """
    if run.items is None:
        raise UserError(f"{run.name}: nothing says what its items are, so there is nothing to show")
    own, notes = aligned(run, run.items)
    assert own.items is not None
    evaluation = evaluate_scores(own.scores, own.items, heads=own.heads)
    return ReportedRun(run.name, own.scores, own.items, evaluation, folder, [*run.notes, *notes])


def build_report(runs: Sequence[ReportedRun], title: str = "") -> Report:
    """Make the page.

    Args:
        runs: The first is shown in detail; several are compared and averaged (folds).
        title: Heading.

    Raises:
        UserError: No run, or a file of it that cannot be read.
    """
    if not runs:
        raise UserError("a report needs at least one run")
    first = runs[0]
    fusion = _fusion(first.folder)
    names = ", ".join(Path(run.name).name or run.name for run in runs)
    subtitle = f"{first.evaluation.n_items:,} anticipated actions. Made from {names}."
    report = Report(title or "Action anticipation: report", subtitle)
    _tiles(report, first)
    _figures(report, runs, fusion)
    left_out: list[str] = []
    _training(report, first.folder, left_out)
    for space in first.evaluation.accuracies:
        _confusions(report, first, space)
    _classes(report, first)
    _anticipations(report, first, left_out)
    _how(report, runs, fusion, left_out)
    return report


def _tiles(report: Report, run: ReportedRun) -> None:
    metrics, primary = run.evaluation.metrics, run.evaluation.primary
    figure = COLUMNS[primary.rpartition("/")[2]]
    space = primary.split("/")[1]
    if primary in metrics:
        report.add_tile(f"{space}: {figure}", f"{metrics[primary]:.1f} %", "the figure that counts")
    for name in run.evaluation.accuracies:
        value = metrics[f"final_acc/{name}/top5"]
        note = f"top-1 {metrics[f'final_acc/{name}/top1']:.1f} %"
        report.add_tile(f"{name}: top-5", f"{value:.1f} %", note)


def _figures(report: Report, runs: Sequence[ReportedRun], fusion: dict[str, Any]) -> None:
    report.section("Figures")
    report.add_text(
        "Percent. Recall@5 is the mean over classes of the share of items whose class is among "
        "the five best. Class mean top-1 counts classes without items as 0."
    )
    parts: list[tuple[str, pd.DataFrame]] = []
    for name, metrics in (fusion.get("alone") or {}).items():
        evaluation = Evaluation(metrics, runs[0].evaluation.accuracies, "", 0)
        parts.append((name, evaluation.frame))
    parts += [(run.name, run.evaluation.frame) for run in runs]
    if len(runs) > 1:
        mean = mean_over_folds([run.evaluation for run in runs])
        parts.append((f"mean over {len(runs)} runs", mean.frame))
    tables = [frame.assign(run=Path(name).name or name) for name, frame in parts]
    table = pd.concat(tables, ignore_index=True).rename(columns={"": "space"})
    table = table.drop(columns="run") if len(parts) == 1 else table
    order = [name for name in ("run", "space") if name in table]
    table = table.reindex(columns=[*order, *(name for name in table if name not in order)])
    report.add_table(table, formats=dict.fromkeys(COLUMNS.values(), _one_decimal))
    if fusion:
        pairs = zip(fusion["runs"], fusion["weights"], strict=True)
        words = ", ".join(f"{Path(name).name} x {weight:g}" for name, weight in pairs)
        report.add_text(f"Fused: {words}. Weights: {fusion['weights_from']}.")


def _training(report: Report, folder: Path | None, left_out: list[str]) -> None:
    path = None if folder is None else folder / METRICS
    if path is None or not path.exists():
        left_out.append("curves: the run has no metrics.csv")
        return
    try:
        metrics = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a log of metrics ({error})") from error
    report.section("Training")
    losses = [name for name in ("train_loss", "val_loss/cls_action") if name in metrics]
    try:
        figure = plots.loss_curves(metrics, columns=losses or None)
    except UserError as error:
        left_out.append(f"loss curves: {error}")
    else:
        report.add_figure(figure, "Loss over steps", "Faint: as logged. Strong: smoothed.")
    curves = validation_curves(metrics)
    if curves is not None:
        report.add_figure(curves, "Validation figures over epochs", "Percent, on the items above.")


def _confusions(report: Report, run: ReportedRun, space: str) -> None:
    """Frequent classes against predictions, everything else as one class."""
    labels, scores = run.items.labels(space), run.scores[space]
    assert labels is not None
    known = labels >= 0
    labels, predicted = labels[known], scores[known].argmax(axis=1)
    counts = np.bincount(labels, minlength=scores.shape[1])
    frequent = np.argsort(-counts, kind="stable")[:CONFUSED]
    frequent = frequent[counts[frequent] > 0]
    place = np.full(scores.shape[1], len(frequent))
    place[frequent] = np.arange(len(frequent))
    names = [run.items.names(space, scores.shape[1])[code].strip() for code in frequent]
    table = confusion_matrix(place[labels], place[predicted], len(frequent) + 1)
    if np.count_nonzero(counts) > len(frequent) or table[:, -1].any():
        names.append(OTHERS)
    else:
        table = table[:-1, :-1]
    report.section(f"Confusions: {space}")
    share = counts[frequent].sum() / counts.sum()
    report.add_figure(
        plots.confusion_matrix(table, names),
        f"Confusion matrix of the {len(frequent)} most frequent {space} classes",
        f"The {len(frequent)} most frequent of {np.count_nonzero(counts)} classes that occur, "
        f"{share:.0%} of the items. Share of the row as colour.",
    )


def _classes(report: Report, run: ReportedRun) -> None:
    """Recall of every class, folded away."""
    report.section("Classes")
    report.add_text("Recall@5 of every class that occurs, and how often it does.")
    for space, accuracy in run.evaluation.accuracies.items():
        labels = run.items.labels(space)
        assert labels is not None
        counts = np.bincount(labels[labels >= 0], minlength=run.scores[space].shape[1])
        names = run.items.names(space, len(counts))
        rows = [
            {"class": names[code].strip(), "items": int(counts[code]), "recall@5": share}
            for code, share in accuracy.recall5_per_class.items()
            if counts[code]
        ]
        table = pd.DataFrame(rows).sort_values("items", ascending=False, kind="stable")
        report.add_table(table, formats={"recall@5": _one_decimal}, collapsed=f"{space} classes")


def _anticipations(report: Report, run: ReportedRun, left_out: list[str]) -> None:
    space = "action" if "action" in run.scores else next(iter(run.scores))
    columns = {"video_id", "orig_start", "orig_end", "end"}
    if not columns <= set(run.items.table):
        left_out.append("examples: the items have no times")
        return
    report.section("Anticipations")
    report.add_text(
        "What was expected, seconds before it began. The clip ends at the mark; the five best are "
        "those of the network, with their share of the probability."
    )
    report.add_html(examples_html(run.items, run.scores[space], space, EXAMPLES))
    videos = run.items.table["video_id"].astype(str).value_counts(sort=True).index[:TIMELINES]
    for video in videos:
        figure = video_timeline(run.items, run.scores[space], space, str(video))
        report.add_figure(
            figure,
            f"What happened and what was expected in {video}",
            f"{video}. Above: what happened. Below: what was expected for the same time, "
            "full height where it is right.",
        )


def _how(
    report: Report, runs: Sequence[ReportedRun], fusion: dict[str, Any], left_out: list[str]
) -> None:
    report.section("How this was made")
    for run in runs:
        for note in dict.fromkeys([*run.notes, *run.evaluation.notes]):
            report.add_text(f"{Path(run.name).name or run.name}: {note}", "note")
    folder = runs[0].folder
    for name in SETTINGS if folder is not None else ():
        assert folder is not None
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            # A page that is passed on should not tell where its author works.
            lines = [line for line in text.splitlines() if not line.startswith("cwd:")]
            report.add_code("\n".join(lines), collapsed=f"Settings ({name})")
            break
    if fusion:
        plain = {key: value for key, value in fusion.items() if key != "alone"}
        report.add_code(json.dumps(plain, indent=1), collapsed=f"Fusion ({FUSION})")
    for sentence in left_out:
        report.add_text(f"Left out: {sentence}.", "absent")


def _fusion(folder: Path | None) -> dict[str, Any]:
    if folder is None or not (folder / FUSION).exists():
        return {}
    path = folder / FUSION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        nan = float("nan")
        content["alone"] = {
            name: {key: nan if value is None else value for key, value in metrics.items()}
            for name, metrics in (content.get("alone") or {}).items()
        }
        return content
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error})") from error


def _one_decimal(value: float) -> str:
    return f"{value:.1f}"

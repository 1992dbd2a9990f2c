"""The page and the pictures of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from behaviorzoo.plots import confusion_matrix as draw_confusion
from behaviorzoo.plots import save_figure
from behaviorzoo.report.page import Report
from behaviorzoo.score_table import OVERALL, with_overall
from hysp.evaluate.levels import CONFIG, OF_ROWS
from hysp.evaluate.plots import accuracy_bars, training_curves

if TYPE_CHECKING:
    from hysp.evaluate.results import Evaluation, Level

MOST_CLASSES = 30
"""Confusion matrices of more classes cannot be read; the table of classes is there for them."""

FOLDS_OF_ROWS = (
    "Folds of rows are scikit-learn's cv=K: stratified, in the order of the file. Where a file is "
    "sorted by something (all clips of one action in a row), a fold tests another kind of clips "
    "than were trained on, which the folds of whole groups, dealt out at random, do not."
)


def write_page(result: Evaluation, course: pd.DataFrame) -> None:
    """Write ``report.html`` and the pictures ``confusion_*.png`` and ``accuracy.png``."""
    from hysp.evaluate.results import TOP1, file_name

    details, folder = result.details, result.folder
    title = f"HYSP: {details['protocol']} evaluation"
    report = Report(title, f"Encoder {details['checkpoint']}, {details['split']}.")
    scores = with_overall(result.scores)
    overall = scores.loc[scores["label"] == OVERALL]
    for task, rows in overall.loc[overall["metric"] == TOP1].groupby("task", sort=False):
        first = rows.iloc[0]
        report.add_tile(
            f"{task}: top-1",
            f"{first['value']:.1%}",
            f"majority class {first['baseline_value']:.1%}",
        )
    report.section("Accuracy")
    figure = accuracy_bars(overall)
    save_figure(figure, folder / "accuracy.png")
    report.add_figure(
        figure,
        "Bars of the top-1 accuracy of every protocol and baseline, a panel for each task",
        "Top-1 accuracy of every tested sample; the line is the most frequent class.",
    )
    wide = overall.pivot_table(
        index=["task", "level"], columns="metric", values="value", sort=False
    ).reset_index()
    report.add_table(wide.rename_axis(columns=None))
    for name, notes in details["notes"].items():
        for note in notes:
            report.add_text(f"{name}: {note}.", "note")
    if details["folds"]:
        rows = [
            {"task, level": name, "mean": np.mean(folds), "deviation": np.std(folds)}
            | {f"fold {k}": value for k, value in enumerate(folds)}
            for name, folds in details["folds"].items()
        ]
        report.add_table(pd.DataFrame(rows), collapsed="Top-1 accuracy of every fold")
    if any(level.name.endswith(OF_ROWS) for level in result.levels):
        report.add_text(FOLDS_OF_ROWS, "note")
    report.section("Classes")
    for level in result.levels:
        shown = level.name == details["protocol"]  # baselines have theirs as files
        _add_confusion(
            report if shown else None, level, folder / f"confusion_{file_name(level)}.png"
        )
    classes = scores.loc[(scores["label"] != OVERALL) & (scores["metric"] == "recall")]
    for task, rows in classes.groupby("task", sort=False):
        table = rows.pivot_table(index="label", columns="level", values="value", sort=False)
        report.add_table(
            table.reset_index().rename_axis(columns=None),
            f"{task}: share of the samples of a class that are recognised",
            collapsed=f"Recall of every class, {task}",
        )
    if len(course):
        report.section("Training")
        report.add_figure(
            training_curves(course),
            "Curves of the test samples' accuracy over the epochs of the training",
            "Accuracy of the test samples in the course of the training, mean over folds.",
        )
    report.section("How this was made")
    report.add_code((folder / CONFIG).read_text(encoding="utf-8"), collapsed="Settings")
    report.write(folder / "report.html")


def _add_confusion(report: Report | None, level: Level, path: Path) -> None:
    classes = level.data.classes
    if len(classes) > MOST_CLASSES:
        return
    figure = draw_confusion(level.confusion, classes, title=f"{level.task}, {level.name}")
    save_figure(figure, path)
    if report is None:
        return
    report.add_figure(
        figure,
        f"Confusion matrix of {level.task}, {level.name}",
        f"{level.task}, {level.name}: share of each labelled class (row) per prediction.",
    )

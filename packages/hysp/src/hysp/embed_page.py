"""The page of an embedding: the Poincare disk, and how sure the network is of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo.plots import save_figure
from behaviorzoo.report.page import Report
from hysp.disk_plots import poincare_disk, uncertainty_by_class
from hysp.embed import Embedded

SATURATED = 1.05e-5
"""Uncertainty of a point that the map into the ball has put at its outermost radius."""


def write_page(result: Embedded, path: str | Path, network: str) -> Path:
    """Write the page, and its pictures as PNG beside it.

    Args:
        result: The embedding.
        path: Page to write (.html).
        network: Name of the checkpoint, for people.
    """
    path = Path(path)
    uncertainty = result.uncertainty
    report = Report(
        "HYSP: sequences in the Poincare ball",
        f"{len(result.table):,} sequences embedded by {network}, file {result.path.name}.",
    )
    report.add_tile("Sequences", f"{len(result.table):,}")
    report.add_tile("Median uncertainty", f"{np.median(uncertainty):.3g}", "1 - radius")
    saturated = float((uncertainty <= SATURATED).mean())
    report.add_tile("At the rim", f"{saturated:.0%}", "radius cannot grow further")
    report.section("Poincare disk")
    report.add_text(
        "A sequence near the rim is one the network is sure of; near the middle it is uncertain. "
        "The distance from the middle is kept, the angle is that of the plane in which directions "
        "vary most."
    )
    if saturated > 0.5:
        report.add_text(
            f"{saturated:.0%} of the sequences lie at the outermost radius that numbers allow: "
            "their uncertainties cannot be told apart.",
            "note",
        )
    tasks = list(result.classes) or [""]
    for task in tasks:
        classes = result.classes.get(task, [])
        codes = _codes(result.table, task, classes)
        about = f"coloured by {task}" if task else "windows of recordings"
        disk = poincare_disk(result.points, codes[result.rows], classes)
        save_figure(disk, _beside(path, "disk", task))
        report.add_figure(disk, f"Poincare disk, {about}", f"Sequences in the ball, {about}.")
    report.section("Uncertainty")
    for task in tasks:
        classes = result.classes.get(task, [])
        codes = _codes(result.table, task, classes)
        figure = uncertainty_by_class(uncertainty, codes, classes, title=task)
        save_figure(figure, _beside(path, "uncertainty", task))
        report.add_figure(
            figure,
            f"Uncertainty of every sequence {f'by {task}' if task else ''}",
            "Every dot is a sequence; bar: middle half; line: median.",
        )
    columns = [name for name in ("name", "start", "stop", *result.classes) if name in result.table]
    shown = result.table.sort_values("uncertainty").loc[:, [*columns, "radius", "uncertainty"]]
    for what, rows in (("least", shown.iloc[::-1]), ("most", shown)):
        report.add_table(
            rows.head(15),
            formats={"radius": lambda v: f"{v:.6f}", "uncertainty": lambda v: f"{v:.3g}"},
            collapsed=f"The sequences that the network is {what} sure of",
        )
    for note in result.notes:
        report.add_text(note, "note")
    return report.write(path)


def _codes(table: pd.DataFrame, task: str, classes: list[str]) -> np.ndarray:
    if not task:
        return np.full(len(table), -1)
    return np.asarray(pd.Index(classes).get_indexer(table[task].astype(str).to_numpy()))


def _beside(path: Path, what: str, task: str) -> Path:
    return path.with_name(f"{path.stem}_{what}{f'_{task}' if task else ''}.png")

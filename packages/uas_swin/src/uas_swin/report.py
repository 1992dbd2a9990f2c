"""One page about runs, probes, tests and lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.report.page import Report

MOST_CLASSES = 30
"""Confusion matrices of more classes cannot be read; the table of classes is there for them."""


def write_report(sources: Sequence[Path], out: Path, title: str = "UAS-Swin: report") -> Path:
    """Write the page.

    Args:
        sources: Folders of ``uas-swin train``, ``test`` and ``probe``; reports (.json) of
            ``uas-swin prepare``.
        out: The page (.html).
        title: Its title.

    Raises:
        UserError: A source is missing, or nothing is known of it.
    """
    report = Report(title)
    for source in sources:
        report.section(source.name or str(source))
        if not any([_add_lists(report, source), _add_run(report, source),
                    _add_probe(report, source), _add_evaluations(report, source)]):  # fmt: skip
            raise UserError(
                f"{source}: neither a run, a test, a probe, nor a report of uas-swin prepare"
            )
    return report.write(out)


def scores_text(sources: Sequence[Path]) -> str:
    """The scores of probes and tests, a line each: the chosen rate, the mean over seeds.

    Args:
        sources: See :func:`write_report`; those without scores are left out.
    """
    lines = []
    for source in sources:
        if (source / "probe.json").is_file():
            lr = _json(source / "probe.json")["chosen_lr"]
            scores = pd.read_csv(source / "scores.csv")
            shown = scores.loc[scores["lr"].isna() | (scores["lr"] == lr)]  # neighbours have none
            for (split, readout), part in shown.groupby(["split", "readout"], sort=False):
                found = part.groupby("metric", sort=False)["value"].mean().to_dict()
                lines.append((f"{source.name}, {split}, {readout}", found))
        else:
            for file in sorted(source.glob("evaluation*.json")) if source.is_dir() else []:
                found = {k: v for k, v in _json(file)["scores"].items() if v is not None}
                lines.append((source.name, found))
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(
        f"{name:<{width}}  " + "  ".join(f"{metric} {value:.3f}" for metric, value in found.items())
        for name, found in lines
    )


def _add_lists(report: Report, source: Path) -> bool:
    """What is in the lists: counts of the classes, bad videos, doubts."""
    if source.suffix != ".json" or not source.is_file():
        return False
    content = _json(source)
    if "splits" not in content or "classes" not in content:
        return False
    splits = content["splits"]
    table = pd.DataFrame({"class": content["classes"]})
    for split, about in splits.items():
        table[split] = about["counts"]
    report.add_table(table, "Videos of each class")
    frames = content.get("frames")
    if frames:
        report.add_text("Frames: {least} to {most}, median {median}.".format(**frames))
    if content.get("bad"):
        report.add_table(
            pd.DataFrame(content["bad"]), collapsed=f"{len(content['bad'])} bad videos"
        )
    for note in content.get("notes", []):
        report.add_text(f"{note}.", "note")
    return True


def _add_run(report: Report, source: Path) -> bool:
    """Losses and validation scores in the course of a training."""
    from behaviorzoo.plots import loss_curves

    logs = sorted(source.glob("*/vis_data/scalars.json")) if source.is_dir() else []
    rows = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line]
    table = pd.DataFrame(rows)
    if "loss" not in table:
        return False
    steps = table.loc[table["loss"].notna()].drop_duplicates("step", keep="last")
    steps = steps.sort_values("step")
    last = steps.iloc[-1]
    report.add_text(f"{int(last['epoch'])} epochs, {int(last['iter'])} iterations.")
    report.add_figure(
        loss_curves(steps, columns=["loss"]), "Curve of the loss", "Loss of the training clips."
    )
    columns = [name for name in table if str(name).startswith("acc/")]
    if columns:
        own = table.loc[table[columns].notna().any(axis=1), ["step", *columns]]
        report.add_table(own, "Validation")
    configs = sorted(source.glob("*.py"))
    if configs:
        report.add_code(configs[-1].read_text(encoding="utf-8"), collapsed="Configuration")
    return True


def _add_probe(report: Report, source: Path) -> bool:
    """Scores of a probe and its neighbours."""
    file = source / "probe.json"
    if not file.is_file():
        return False
    about, scores = _json(file), pd.read_csv(source / "scores.csv")
    mean = scores.groupby(["split", "readout", "lr", "metric"], sort=False, dropna=False)["value"]
    table = mean.agg(["mean", "std", "count"]).reset_index()
    wide = table.pivot_table(
        index=["split", "readout", "lr"], columns="metric", values="mean", sort=False, dropna=False
    ).dropna(how="all")
    report.add_table(
        wide.reset_index().rename_axis(columns=None), "Mean over seeds", formats={"lr": _rate}
    )
    if len(about["settings"]["seeds"]) > 1:
        spread = table.loc[table["count"] > 1, ["split", "readout", "lr", "metric", "std"]]
        report.add_table(spread, collapsed="Spread over seeds", formats={"lr": _rate})
    report.add_table(_counts(about), "Samples of each class")
    for note in about["notes"]:
        report.add_text(f"{note}.", "note")
    report.add_code(json.dumps(about, indent=1), collapsed="Settings")
    return True


def _add_evaluations(report: Report, source: Path) -> bool:
    """Confusion matrices and recalls of tests and probes."""
    from behaviorzoo.plots import confusion_matrix

    files = sorted(source.glob("evaluation*.json")) if source.is_dir() else []
    for file in files:
        found = _json(file)
        name = file.stem.removeprefix("evaluation").strip("_") or "test"
        for metric, value in found["scores"].items():
            shown = "-" if value is None else f"{value:.3f}"
            report.add_tile(f"{source.name}, {name}: {metric}", shown)
        table = pd.DataFrame(
            {
                "class": found["classes"],
                "samples": found["class_counts"],
                "recall": [np.nan if r is None else r for r in found["class_recall"]],
            }
        )
        report.add_table(table, f"Classes, {name}")
        if found["confusion"] is not None and len(found["classes"]) <= MOST_CLASSES:
            counts = np.array(found["confusion"])
            report.add_figure(
                confusion_matrix(counts, found["classes"]),
                f"Confusion matrix, {name}",
                f"{name}: share of each true class (row) per prediction.",
            )
    return bool(files)


def _counts(about: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame({"class": about["classes"], **about["class_counts"]})


def _rate(value: float) -> str:
    return "" if np.isnan(value) else f"{value:g}"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not json; was it cut off?") from error
    return content if isinstance(content, dict) else {}

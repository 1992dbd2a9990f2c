"""Sections on the training: loss curves, checkpoint, configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from behaviorzoo import plots
from behaviorzoo.errors import UserError
from behaviorzoo.report.page import Report
from behaviorzoo.report.results import Results


def add_training(report: Report, run: Path, results: Results) -> None:
    """Loss curves and what is known of the newest checkpoint.

    Raises:
        UserError: No such run folder, or its log cannot be read.
    """
    if not run.is_dir():
        raise UserError(f"{run}: no such run folder; check the path")
    report.section("Training")
    metrics = _read_metrics(run / "metrics.csv")
    if metrics is None:
        results.left_out.append("loss curves: the run folder has no metrics.csv with rows")
    else:
        try:
            figure = plots.loss_curves(metrics)
        except UserError as error:
            results.left_out.append(f"loss curves: {error}")
        else:
            report.add_figure(
                figure,
                "Loss over training steps",
                "Faint: as logged. Strong: smoothed. A validation loss, where there is one, is "
                "of windows that the training has not seen.",
            )
            _tiles(report, metrics)
    metadata = _newest_metadata(run)
    if metadata is None:
        results.left_out.append("checkpoint: the run folder has no complete checkpoint")
    else:
        report.add_code(
            json.dumps(metadata, indent=2, ensure_ascii=False), collapsed="Newest checkpoint"
        )


def add_config(report: Report, run: Path, results: Results) -> None:
    """The resolved configuration, folded away."""
    path = run / "config.yaml"
    if not path.exists():
        results.left_out.append("configuration: the run folder has no config.yaml")
        return
    report.section("Configuration")
    text = path.read_text(encoding="utf-8", errors="replace")
    report.add_text("Every setting of the run, defaults included.")
    report.add_code(text, collapsed="Resolved configuration (config.yaml)")


def _read_metrics(path: Path) -> pd.DataFrame | None:
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        metrics = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a log of metrics ({error})") from error
    return metrics if len(metrics) else None


def _tiles(report: Report, metrics: pd.DataFrame) -> None:
    if "step" in metrics:
        epochs = f"{metrics['epoch'].max():.3g} epochs" if "epoch" in metrics else ""
        report.add_tile("Training steps", f"{metrics['step'].max():,.0f}", epochs)
    for name in ("val_loss", "train_loss"):
        values = metrics[name].dropna().to_numpy(dtype=float) if name in metrics else []
        if len(values):
            words = f"{'validation' if name == 'val_loss' else 'training'}, from {values[0]:.3g}"
            report.add_tile("Loss at the end", f"{values[-1]:.3g}", words)
            return


def _newest_metadata(run: Path) -> dict[str, Any] | None:
    for path in sorted(run.glob("checkpoints/*/metadata.json"), reverse=True):
        try:
            return {"checkpoint": path.parent.name} | json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None

"""The report of a run, from the files that the steps of the run have written."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError, suggest
from behaviorzoo.files import existing_file
from behaviorzoo.labels import read_labels
from behaviorzoo.recordings import find_recordings
from behaviorzoo.report import data_sections, result_sections, training_sections
from behaviorzoo.report.page import Report
from behaviorzoo.report.results import Results, median_bouts
from behaviorzoo.score_table import add_baseline, read_scores

_PACKAGES = (
    "behaviorzoo-core",
    "behaviorzoo-hbehavemae",
    "torch",
    "lightning",
    "numpy",
    "scikit-learn",
    "xarray",
    "movement",
)


@dataclass
class ReportInputs:
    """What a report is made from; each part may be absent.

    Attributes:
        run: Run folder, with metrics.csv, config.yaml and checkpoints.
        embeddings: Embedding file.
        labels: Label table.
        probe: Folder of a probe, with scores.csv, predictions.csv and probe.json.
        recordings: Recordings: file, folder or pattern.
        baselines: ``NAME`` of a level in the scores, or of an embedding file compared in the
            probe, that shall stand as a baseline; or ``NAME=FOLDER`` of another probe.
        commands: Text file with the commands that led here.
        title: Title of the page.
    """

    run: Path | None = None
    embeddings: Path | None = None
    labels: Path | None = None
    probe: Path | None = None
    recordings: Path | None = None
    baselines: Sequence[str] = ()
    commands: Path | None = None
    title: str = "Behaviour embeddings: report"


def build_report(inputs: ReportInputs) -> Report:
    """Make the report of a run.

    Args:
        inputs: Where the files are.

    Returns:
        The report, ready to be written.

    Raises:
        UserError: Nothing was given, or a given file is absent or damaged.
    """
    given = (inputs.run, inputs.embeddings, inputs.labels, inputs.probe, inputs.recordings)
    if not any(given):
        raise UserError(
            "a report needs something to report: give one or more of --run, --embeddings, "
            "--labels, --probe, --recordings"
        )
    results = _read(inputs)
    report = Report(inputs.title, _subtitle(inputs))
    if results.scores is not None:
        result_sections.add_comparison(report, results)
        result_sections.add_scores(report, results)
    if inputs.embeddings is not None:
        result_sections.add_maps(report, inputs.embeddings, results)
    if results.predictions is not None and results.labels is not None:
        result_sections.add_ethograms(report, results)
    if inputs.run is not None:
        training_sections.add_training(report, inputs.run, results)
    if inputs.recordings is not None:
        data_sections.add_data_quality(report, find_recordings(inputs.recordings))
    if inputs.run is not None:
        training_sections.add_config(report, inputs.run, results)
    _add_how(report, inputs, results)
    return report


def _read(inputs: ReportInputs) -> Results:
    results = Results()
    for name in ("run", "embeddings", "labels", "probe", "recordings"):
        if getattr(inputs, name) is None:
            results.left_out.append(f"no --{name} was given")
    if inputs.labels is not None:
        results.labels = read_labels(inputs.labels)
        results.bouts = median_bouts(results.labels)
        # Labels of whole recordings have no bout; they are the coarsest.
        tasks = map(str, results.labels["task"].unique())
        results.tasks = sorted(tasks, key=lambda task: results.bouts.get(task, np.inf))
    if inputs.probe is not None:
        if not inputs.probe.is_dir():
            raise UserError(f"{inputs.probe}: no such folder of a probe; check the path")
        results.scores = _with_baselines(read_scores(inputs.probe / "scores.csv"), inputs.baselines)
        predictions = inputs.probe / "predictions.csv"
        if predictions.exists():
            results.predictions = read_labels(predictions)
        scored = results.scores["task"].unique().tolist()
        results.tasks += [str(task) for task in scored if task not in results.tasks]
        if results.predictions is None or results.labels is None:
            results.left_out.append("ethograms need --labels and the predictions of a probe")
    return results


def _with_baselines(scores: pd.DataFrame, baselines: Sequence[str]) -> pd.DataFrame:
    for baseline in baselines:
        name, _, folder = baseline.partition("=")
        if folder:
            scores = add_baseline(scores, read_scores(Path(folder) / "scores.csv"), name)
            continue
        levels = scores["level"].unique().tolist()
        chosen = [level for level in levels if level == name or level.startswith(f"{name}/")]
        if not chosen:
            raise UserError(
                f"--baseline {name}: no such level in the scores; {suggest(name, levels)}"
            )
        is_baseline = scores["level"].isin(chosen).to_numpy(dtype=bool)
        if len(chosen) == len(levels):
            raise UserError(f"--baseline {name}: no level would be left to compare with")
        scores = add_baseline(scores.loc[~is_baseline], scores.loc[is_baseline], name)
    return scores


def _subtitle(inputs: ReportInputs) -> str:
    paths = (inputs.recordings, inputs.run, inputs.embeddings, inputs.labels, inputs.probe)
    # Base names only: a report that is passed on should not tell where its author works.
    names = [path.name for path in paths if path is not None]
    return "Made from " + ", ".join(names) + "."


def _add_how(report: Report, inputs: ReportInputs, results: Results) -> None:
    report.section("How this was made")
    if inputs.commands is not None:
        path = existing_file(inputs.commands, "list of commands")
        report.add_code(path.read_text(encoding="utf-8", errors="replace"))
    if inputs.probe is not None and (inputs.probe / "probe.json").exists():
        text = (inputs.probe / "probe.json").read_text(encoding="utf-8", errors="replace")
        report.add_code(text, collapsed="Settings and split of the probe (probe.json)")
    versions: dict[str, Any] = {"python": platform.python_version(), "system": platform.system()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    table = pd.DataFrame(list(versions.items()), columns=["software", "version"])
    report.add_table(table, collapsed="Versions")
    for sentence in results.left_out:
        report.add_text(f"Left out: {sentence}.", "absent")

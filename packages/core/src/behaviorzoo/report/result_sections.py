"""Sections on the results: comparison of the levels, scores, maps, ethograms."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from behaviorzoo import plots
from behaviorzoo.embeddings import Embeddings, open_embeddings
from behaviorzoo.labels import classes_of, dense_labels
from behaviorzoo.metrics import confusion_matrix
from behaviorzoo.projection import fit_projection
from behaviorzoo.report.page import Report
from behaviorzoo.report.results import Results
from behaviorzoo.score_table import Comparison, compare_levels, is_combined

MAP_FRAMES = 6000
MAP_TASKS = 4
ETHOGRAM_FRAMES = 6000
ETHOGRAM_TASKS = 6


def add_comparison(report: Report, results: Results) -> None:
    """The heat table of levels against tasks, the best marked, baselines below."""
    assert results.scores is not None
    comparison = compare_levels(results.scores)
    tasks = [task for task in results.tasks if task in comparison.metrics]
    if not tasks:
        results.left_out.append("the comparison of the levels: no score is about a whole task")
        return
    report.section("Which level tells what")
    report.add_text(
        "Linear probes of every level against every task. Tasks run from the finest timescale to "
        "the coarsest, levels in the order of the embedding file. The best level of a task is "
        "framed; the number beside it is its lead over the best baseline. Combined means all "
        "levels together; it does not compete for the frame."
    )
    report.add_html(_heat_table(comparison, tasks, results.bouts))
    for task in tasks:
        level, score = comparison.best_level(task)
        against = "".join(
            f"; {name} {row[task]:.3f}" for name, row in comparison.baselines.items() if task in row
        )
        report.add_tile(
            f"{task}: best level", level, f"{comparison.metrics[task]} {score:.3f}{against}"
        )


def _heat_table(comparison: Comparison, tasks: list[str], bouts: dict[str, float]) -> str:
    head = ['<th scope="col">level</th>']
    for task in tasks:
        scale = f", median bout {bouts[task]:,.0f} frames" if task in bouts else ""
        note = escape(comparison.metrics[task] + scale)
        head.append(f'<th scope="col">{escape(task)}<small>{note}</small></th>')
    rows = []
    for level in comparison.levels:
        cells = "".join(_heat_cell(comparison, level, task) for task in tasks)
        css = ' class="combined"' if is_combined(level) else ""
        rows.append(f'<tr{css}><th scope="row">{escape(level)}</th>{cells}</tr>')
    for name, row in comparison.baselines.items():
        values = (f"<td>{row[task]:.3f}</td>" if task in row else "<td>-</td>" for task in tasks)
        title = f'<th scope="row">baseline: {escape(name)}</th>'
        rows.append(f'<tr class="baseline">{title}{"".join(values)}</tr>')
    return (
        f'<div class="table"><table><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat_cell(comparison: Comparison, level: str, task: str) -> str:
    """A score; its shade runs from the worst of levels and baselines to the best level."""
    value = comparison.levels[level].get(task)
    if value is None:
        return "<td>-</td>"
    best, highest = comparison.best_level(task)
    everyone = [*comparison.levels.values(), *comparison.baselines.values()]
    lowest = min(row[task] for row in everyone if task in row)
    share = min(max(value - lowest, 0.0) / max(highest - lowest, 1e-9), 1.0)
    css, extra = "heat", ""
    if level == best:
        limit = comparison.best_baseline(task)
        lead = _lead(value - limit[1]) if limit else ""
        css, extra = "heat best", f'<span class="mark">best</span>{lead}'
    return f'<td class="{css}" style="--share:{share:.2f}">{value:.3f}{extra}</td>'


def _lead(difference: float) -> str:
    css = "gain" if difference > 0 else "gain behind"
    return f'<span class="{css}">{difference:+.3f}</span>'


def add_scores(report: Report, results: Results) -> None:
    """Scores of every level and label, as dots and as a table."""
    assert results.scores is not None
    scores = results.scores
    order = [results.tasks.index(str(task)) for task in scores["task"]]
    scores = scores.iloc[np.argsort(order, kind="stable")]
    report.section("Scores per level and label")
    report.add_figure(
        plots.scores_by_level(scores),
        "Scores of every level and label for each task, with baselines",
        "Every dot is a linear probe on the test recordings. Grey marks are baselines: what is "
        "reached without the embedding.",
    )
    report.add_table(scores, collapsed=f"All scores, {len(scores):,} rows")


def add_maps(report: Report, path: Path, results: Results) -> None:
    """Embedding map per level, coloured by each task."""
    report.section("Embedding maps")
    with open_embeddings(path) as embeddings:
        frames = _map_frames(embeddings)
        points, shares = {}, {}
        for level in embeddings.levels:
            values = np.concatenate(
                [embeddings.read(level, name)[rows] for name, (rows, _, _) in frames.items()]
            )
            projection = fit_projection(values)
            points[level], shares[level] = projection(values), projection.shares
        dimensions = ", ".join(f"{name} {embeddings.features(name)}" for name in embeddings.levels)
    codes = {}
    for task in results.tasks[:MAP_TASKS]:
        parts = [
            (results.codes(name, task, first, n), rows) for name, (rows, first, n) in frames.items()
        ]
        coded = [(*part, rows) for part, rows in parts if part is not None]
        if len(coded) < len(parts):
            continue
        values = np.concatenate([frame_codes[rows] for frame_codes, _, rows in coded])
        if (values >= 0).any():
            codes[task] = (values, coded[0][1])
    n_drawn = sum(len(rows) for rows, _, _ in frames.values())
    which = "each task" if len(results.tasks) <= MAP_TASKS else f"the {MAP_TASKS} finest tasks"
    colour = f", coloured by the labels of {which}" if codes else ""
    report.add_figure(
        plots.embedding_map(points, codes, shares=shares, max_points=n_drawn),
        f"Embedding maps of {len(points)} levels{colour}",
        f"The two principal components of each level{colour}; {n_drawn:,} frames taken evenly "
        f"from {len(frames)} recordings. Features: {dimensions}. Two components show only part "
        "of what a probe can use.",
    )
    report.add_tile("Levels", str(len(points)), f"features: {dimensions}")


def _map_frames(embeddings: Embeddings) -> dict[str, tuple[np.ndarray, int, int]]:
    """Recording -> rows to draw, first frame, number of frames; evenly over everything."""
    spans = {name: embeddings.span(name) for name in embeddings.recordings}
    step = -(-sum(n for _, n in spans.values()) // MAP_FRAMES)
    return {name: (np.arange(0, n, step), first, n) for name, (first, n) in spans.items()}


def add_ethograms(report: Report, results: Results) -> None:
    """Labels against predictions of one test recording, and confusions over all of them."""
    predictions, labels = results.predictions, results.labels
    assert predictions is not None
    assert labels is not None
    recordings = [
        name for name in predictions["recording"].unique() if name in set(labels["recording"])
    ]
    tasks = [task for task in results.tasks if task in set(predictions["task"])]
    if not recordings or not tasks:
        results.left_out.append("ethograms: labels and predictions have no recording in common")
        return
    report.section("Labels against predictions")
    if len(tasks) > ETHOGRAM_TASKS:
        report.add_text(f"The {ETHOGRAM_TASKS} finest of {len(tasks)} tasks are shown.", "note")
        tasks = tasks[:ETHOGRAM_TASKS]
    for task in tasks:
        _ethogram(report, results, str(recordings[0]), task)
    report.add_heading("Confusions of the best level")
    report.add_html('<div class="figures">')
    for task in tasks:
        _confusion(report, results, [str(name) for name in recordings], task)
    report.add_html("</div>")


def _ethogram(report: Report, results: Results, recording: str, task: str) -> None:
    assert results.labels is not None
    assert results.predictions is not None
    predictions = results.predictions
    chosen = predictions.loc[
        (predictions["recording"] == recording) & (predictions["task"] == task)
    ]
    first, stop = int(chosen["start"].min()), int(chosen["stop"].max())
    coded = results.codes(recording, task, first, stop - first)
    if coded is None:
        return
    codes, classes = coded
    classes = list(dict.fromkeys([*classes, *sorted(chosen["label"].unique())]))
    rows = {"labels": codes}
    for level in chosen["level"].unique():
        own = chosen.loc[chosen["level"] == level]
        rows[str(level)] = dense_labels(own, recording, task, first, stop - first, classes)[0]
    begin = _richest_window(codes, ETHOGRAM_FRAMES)
    shown = {name: values[begin : begin + ETHOGRAM_FRAMES] for name, values in rows.items()}
    part = "" if len(codes) <= ETHOGRAM_FRAMES else f" of {len(codes):,}"
    report.add_figure(
        plots.ethogram(shown, classes, first_frame=first + begin, title=task),
        f"Ethogram of task {task} in recording {recording}: labels and predictions of each level",
        f"Test recording {recording}, {len(shown['labels']):,}{part} frames. On the right: share "
        "of the frames shown in which the prediction equals the label.",
    )


def _richest_window(codes: np.ndarray, width: int) -> int:
    """Start of the window of ``width`` frames in which most classes occur; the earliest."""
    starts = range(0, max(1, len(codes) - width + 1), max(1, width // 2))
    counts = [len(np.unique(codes[start : start + width])) for start in starts]
    return starts[int(np.argmax(counts))]


def _confusion(report: Report, results: Results, recordings: list[str], task: str) -> None:
    predictions = results.predictions
    assert predictions is not None
    assert results.labels is not None
    rows = predictions.loc[predictions["task"] == task]
    level = _best_level(results, task, [str(name) for name in rows["level"].unique()])
    rows = rows.loc[rows["level"] == level]
    classes = list(
        dict.fromkeys([*classes_of(results.labels, task), *sorted(rows["label"].unique())])
    )
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for recording in recordings:
        own = rows.loc[rows["recording"] == recording]
        if own.empty:
            continue
        first, stop = int(own["start"].min()), int(own["stop"].max())
        truth = results.codes(recording, task, first, stop - first)
        if truth is None:
            return
        predicted, _ = dense_labels(own, recording, task, first, stop - first, classes)
        both = (truth[0] >= 0) & (predicted >= 0)
        counts += confusion_matrix(truth[0][both], predicted[both], len(classes))
    report.add_figure(
        plots.confusion_matrix(counts, classes, title=f"{task}, {level}"),
        f"Confusion matrix of task {task}, {level}",
        f"{int(counts.sum()):,} labelled frames of {len(recordings)} test recordings.",
    )


def _best_level(results: Results, task: str, levels: list[str]) -> str:
    if results.scores is not None:
        comparison = compare_levels(results.scores)
        if task in comparison.metrics and comparison.best_level(task)[0] in levels:
            return comparison.best_level(task)[0]
    return levels[0]

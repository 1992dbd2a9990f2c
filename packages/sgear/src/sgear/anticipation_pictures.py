"""Pictures of anticipations: single examples as text and marks, whole videos as two strips."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from behaviorzoo.palette import UNLABELLED, class_colours
from behaviorzoo.plots.style import WIDTH, patches, styled
from sgear.evaluate import COLUMNS
from sgear.evaluation_set import EvaluationSet
from sgear.marginalise import softmax
from sgear.scores import rank_true_classes

BEST = 5
COLOURED = 11
"""Classes with a colour of their own in a video; all others are grey."""


def example_rows(scores: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    """Items worth a look: right ones, near misses and misses in turn, spread over the items.

    Args:
        scores: (N, C).
        labels: int (N,); negative ones are left out.
        number: How many at most.

    Returns:
        Rows in the order of the items.
    """
    known = np.flatnonzero(labels >= 0)
    ranks = rank_true_classes(scores[known], labels[known]).ranks
    groups = [known[ranks == 0], known[(ranks > 0) & (ranks < BEST)], known[ranks >= BEST]]
    chosen: list[int] = []
    share = -(-number // len(groups))
    for group in groups:
        steps = np.linspace(0, len(group) - 1, min(share, len(group))).round().astype(int)
        chosen += group[steps].tolist()
    return np.array(sorted(chosen)[:number], dtype=np.int64)


def examples_html(items: EvaluationSet, scores: np.ndarray, space: str, number: int) -> str:
    """Examples as a table: time line, what happened, the five best classes with their share."""
    labels = items.labels(space)
    assert labels is not None
    names = [name.strip() for name in items.names(space, scores.shape[1])]
    head = ("video", "time line", "what happened", f"the {BEST} best")
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    rows = [f"<tr>{titles}</tr>"]
    chosen = example_rows(scores, labels, number)
    records = items.table.iloc[chosen].to_dict("records")
    for row, item in zip(chosen.tolist(), records, strict=True):
        best = np.argsort(-scores[row], kind="stable")[:BEST]
        share = softmax(scores[row : row + 1])[0]
        guesses = [_guess(names[code], share[code], code == labels[row]) for code in best.tolist()]
        cells = [
            escape(str(item["video_id"])),
            _marks(item),
            f"<strong>{escape(names[labels[row]])}</strong>",
            "<br>".join(guesses),
        ]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<div class="table"><table>{"".join(rows)}</table></div>'


def _guess(name: str, share: float, right: bool) -> str:
    text = f"{escape(name)} {share:.0%}"
    return f"<strong>{text} &#10003;</strong>" if right else text


def _marks(item: Mapping[Any, Any]) -> str:
    """Seen clip, gap and action as bars on one line, with their times."""
    begin = float(item["start"]) if "start" in item else float(item["end"])
    seen, start, stop = (float(item[name]) for name in ("end", "orig_start", "orig_end"))
    low, high = min(begin, seen, start), max(stop, seen)
    width, scale = 190.0, 190.0 / max(high - low, 1e-9)

    def bar(a: float, b: float, colour: str) -> str:
        x, length = (a - low) * scale, max((b - a) * scale, 1.5)
        return f'<rect x="{x:.1f}" y="3" width="{length:.1f}" height="9" rx="1.5" fill="{colour}"/>'

    x = (seen - low) * scale
    mark = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="15" stroke="currentColor"/>'
    bars = bar(begin, seen, UNLABELLED) + bar(start, stop, "#0072B2") + mark
    words = f"seen {_clock(begin)} to {_clock(seen)}, action {_clock(start)} to {_clock(stop)}"
    return (
        f'<svg viewBox="0 0 {width:.0f} 15" width="{width:.0f}" height="15" role="img" '
        f'aria-label="{words}">{bars}</svg><br><small>{words}</small>'
    )


@styled
def video_timeline(items: EvaluationSet, scores: np.ndarray, space: str, video: str) -> Figure:
    """What happened in a video, and what was expected for the same times.

    Args:
        items: N items with ``video_id``, ``orig_start`` and ``orig_end``.
        scores: (N, C).
        space: Which classes.
        video: Name of the video.
    """
    labels = items.labels(space)
    assert labels is not None
    own = np.flatnonzero((items.table["video_id"].astype(str) == video).to_numpy())
    table = items.table.iloc[own]
    truth, expected = labels[own], scores[own].argmax(axis=1)
    names = items.names(space, scores.shape[1])
    colours = _colours(np.concatenate([truth, expected]), names)
    start = table["orig_start"].to_numpy(dtype=float)
    length = np.maximum(table["orig_end"].to_numpy(dtype=float) - start, 0.05)
    lines = -(-len(colours) // 4)
    figure = Figure(figsize=(WIDTH, 1.5 + 0.2 * lines), layout="constrained")
    axes = figure.subplots()
    _strip(axes, 0, start, length, truth, names, colours, np.ones(len(own), dtype=bool))
    _strip(axes, 1, start, length, expected, names, colours, truth == expected)
    axes.set_ylim(1.5, -0.5)
    axes.set_yticks([0, 1], ["happened", "expected"])
    axes.tick_params(axis="y", length=0)
    axes.spines[["left"]].set_visible(False)
    axes.set_xlabel("seconds")
    right = float(np.mean(truth == expected)) if len(own) else 0.0
    axes.set_title(f"{video}: {right:.0%} of {len(own)} right")
    figure.legend(handles=patches(colours), loc="outside lower center", ncols=4, columnspacing=1.2)
    return figure


@styled
def _curves(epochs: np.ndarray, curves: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.subplots()
    for name, colour in class_colours(list(curves)).items():
        values = curves[name]
        known = ~np.isnan(values)
        label = f"{name}, last {values[known][-1]:.1f}"
        axes.plot(epochs[known], values[known], color=colour, lw=1.8, marker="o", ms=3, label=label)
    axes.legend(loc="best")
    axes.grid(axis="y")
    axes.set_xlabel("epoch")
    axes.set_ylabel("percent")
    return figure


def validation_curves(metrics: pd.DataFrame) -> Figure | None:
    """Top-1, top-5 and recall@5 of the actions over the epochs; None where nothing was logged."""
    curves = {}
    for key in ("top1", "top5", "AR5"):
        name = f"val_final_acc/action/{key}"
        values = np.asarray(metrics[name], dtype=float) if name in metrics else np.array([])
        if not np.isnan(values).all():
            curves[COLUMNS[key]] = values
    if not curves or "epoch" not in metrics:
        return None
    return _curves(metrics["epoch"].to_numpy(dtype=float), curves)


def _colours(codes: np.ndarray, names: list[str]) -> dict[str, str]:
    """Colours of the classes that occur most, by name."""
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    order = found[np.argsort(-counts, kind="stable")]
    chosen = [names[code].strip() for code in order[:COLOURED].tolist()]
    colours = class_colours(list(dict.fromkeys(chosen)))
    return colours | ({"other": UNLABELLED} if len(order) > COLOURED else {})


def _strip(
    axes: Axes,
    row: int,
    start: np.ndarray,
    length: np.ndarray,
    codes: np.ndarray,
    names: list[str],
    colours: dict[str, str],
    strong: np.ndarray,
) -> None:
    """Bars of a row, full height where ``strong``."""
    for height, chosen in ((0.84, strong), (0.34, ~strong)):
        for code in np.unique(codes[chosen & (codes >= 0)]).tolist():
            rows = chosen & (codes == code)
            colour = colours.get(names[code].strip(), UNLABELLED)
            spans = list(zip(start[rows].tolist(), length[rows].tolist(), strict=True))
            axes.broken_barh(spans, (row - height / 2, height), facecolors=colour, lw=0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:04.1f}"

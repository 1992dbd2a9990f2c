"""Section on the recordings: how much there is, and how much of it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from behaviorzoo import plots
from behaviorzoo.missing import missing_report
from behaviorzoo.recordings import load_recording
from behaviorzoo.report.page import Report

_MAX_ROWS = 1000


def add_data_quality(report: Report, paths: Sequence[Path]) -> None:
    """Missing points per recording, individual and key point; poses of the first recording."""
    tables, frames, seconds = [], 0, 0.0
    for path in paths:
        ds = load_recording(path)
        tables.append(missing_report(ds))
        frames += ds.sizes["time"]
        seconds += ds.sizes["time"] / float(ds.attrs["fps"])
    table = pd.concat(tables, ignore_index=True)
    share = table["missing"].to_numpy().sum() / table["frames"].to_numpy().sum()
    longest = int(table["longest_gap"].to_numpy().max())
    report.section("Data quality")
    first = load_recording(paths[0])
    n = first.sizes
    report.add_tile("Recordings", f"{len(paths):,}", f"{frames:,} frames, {_duration(seconds)}")
    animals = n["individuals"]
    report.add_tile(
        "Missing points",
        f"{share:.1%}",
        f"{animals} individual{'s' * (animals != 1)}, {n['keypoints']} key points",
    )
    report.add_text(
        f"{share:.1%} of all points of {len(paths)} recordings are missing. The longest gap is "
        f"{longest:,} frames."
    )
    report.add_figure(
        plots.missing_points(table),
        "Heat map of the share of missing frames per recording, individual and key point",
        "Share of the frames in which a key point is missing.",
    )
    ends = np.linspace(0, n["time"] - 1, 7)[1:-1].astype(int) + int(first["time"][0])
    report.add_figure(
        plots.pose_snapshots(first, ends.tolist()),
        f"Five poses of recording {first.attrs['name']}",
        f"Recording {first.attrs['name']}: poses at five frames, each in a square around the "
        "animals; missing points are not drawn.",
    )
    shown = table.sort_values("share", ascending=False, kind="stable").head(_MAX_ROWS)
    summary = f"Missing points, {len(table):,} rows, most missing first"
    if len(table) > _MAX_ROWS:
        summary += f" (the first {_MAX_ROWS:,} shown)"
    report.add_table(shown, collapsed=summary, formats={"share": lambda value: f"{value:.1%}"})


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

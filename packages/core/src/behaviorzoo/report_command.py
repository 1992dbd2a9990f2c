"""The verb ``behaviorzoo report``: one page with the results of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from behaviorzoo.errors import require

_EPILOG = """example:
  behaviorzoo report --run runs/rats --recordings data/rats --labels labels.csv \\
      --embeddings rats.nc --probe probe --out report.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = (
        "Write one self-contained HTML page. Every input is optional; the page says what was "
        "left out."
    )
    parser.epilog = _EPILOG
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page")
    parser.add_argument("--run", type=Path, metavar="DIR", help="run folder: losses, config")
    parser.add_argument("--embeddings", type=Path, metavar="FILE", help="embedding file: maps")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="label table")
    parser.add_argument("--probe", type=Path, metavar="DIR", help="folder of `behaviorzoo probe`")
    parser.add_argument(
        "--recordings", type=Path, metavar="PATH", help="recordings: poses and missing points"
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME[=DIR]",
        help="level (or embedding file) of the probe to show as a baseline, or another probe's "
        "folder; may be repeated",
    )
    parser.add_argument(
        "--commands", type=Path, metavar="FILE", help="text: the commands that led here"
    )
    parser.add_argument("--title", default="Behaviour embeddings: report")


def run(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    require("matplotlib", "plots", "a report")
    from behaviorzoo.report import ReportInputs, build_report

    inputs = ReportInputs(
        run=args.run,
        embeddings=args.embeddings,
        labels=args.labels,
        probe=args.probe,
        recordings=args.recordings,
        baselines=args.baseline,
        commands=args.commands,
        title=args.title,
    )
    path = build_report(inputs).write(args.out)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")

"""The verb ``sgear report``: one self-contained page on runs or a fusion."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError, require
from sgear.run_options import add_run_options, read_run_options

ABOUT = """\
Write one self-contained HTML page on a run: figures, training curves, confusions of the frequent
classes, examples of anticipations with their time line.

Runs are given as for `sgear fuse`; the folder that `sgear fuse --out` wrote is one, too. With
several runs (folds of 50 Salads) all are in the table, with their mean; the first is shown in
detail."""
EXAMPLE = """\
sgear report expts/ek100_SGEAR_vit.txt --out report.html
sgear report fused --out fused.html
sgear report runs/fold1 runs/fold2 runs/fold3 runs/fold4 runs/fold5 --out salads.html"""


def command(words: list[str]) -> None:
    """Write a page.

    Args:
        words: What stands behind ``sgear report``.

    Raises:
        UserError: Wrong options or files.
    """
    parser = commands.verb_parser("sgear", "report", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="runs to show")
    add("--title", default="", help="heading of the page")
    add_run_options(parser)
    add("--out", type=Path, required=True, metavar="FILE", help="the page (.html)")
    given = parser.parse_intermixed_args(words)
    require("matplotlib", "plots", "a report")

    from sgear.fusion_inputs import locate, parse_source
    from sgear.report import build_report, reported

    sources = [parse_source(word) for word in given.runs]
    if any(source.weight is not None for source in sources):
        raise UserError("a report shows runs as they are; fuse them first with `sgear fuse --out`")
    runs = read_run_options(sources, given)
    shown = []
    for source, run in zip(sources, runs, strict=True):
        place = locate(source.path, given.outputs, given.suffix)
        shown.append(reported(run, place.parent if place.is_dir() else None))
    for run in shown:
        print(f"{run.name}\n{run.evaluation.table}")
    if len(shown) > 1:
        from sgear.evaluate import mean_over_folds

        print(f"mean over {len(shown)} runs")
        print(mean_over_folds([run.evaluation for run in shown]).table)
    path = build_report(shown, given.title).write(given.out)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")

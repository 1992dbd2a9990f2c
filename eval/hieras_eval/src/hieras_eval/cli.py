"""The command ``hieras-eval``: verbs to functions. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError, require, suggest
from hieras_eval import __version__

DESCRIPTION = """\
Linear probes of frame embeddings against the label hierarchies of Shot7M2, hBABEL, MABe 2022, or
against labels of your own. Licence: CC BY-NC 4.0, for non-commercial use only.

  hieras-eval VERB --help     what a verb does, with an example
"""
TASKS = ("Shot7M2", "hBABEL", "mabe_mice", "mabe_flies", "mouse", "flies", "custom")
CUSTOM = "custom"

_parser = partial(commands.verb_parser, "hieras-eval")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; those of the process by default.

    Returns:
        0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    return commands.run_verbs("hieras-eval", __version__, DESCRIPTION, VERBS, argv)


def _run(words: list[str]) -> None:
    """Score submissions, or embeddings with your own labels."""
    parser = _parser(
        "run",
        "Score one submission or the levels of a hierarchy; labels and splits are read once.\n"
        "Writes the authors' table of every level, one tidy table, a record and a figure.",
        "hieras-eval run --task Shot7M2 --submission submissions/ --labels labels.npy "
        "--output-dir results\n"
        "hieras-eval run --task mabe_mice --submission a.npy --labels labels.npy "
        "--metadata mice\n"
        "hieras-eval run --task custom --embeddings mine.nc --labels labels.csv "
        "--output-dir probe",
    )
    add = parser.add_argument
    add("--task", required=True, metavar="TASK", help=", ".join(TASKS))
    add("--labels", required=True, type=Path, metavar="FILE", help="labels (custom: label table)")
    add("--output-dir", type=Path, default=Path("results"), metavar="DIR", help="./results")
    add("--force", "-f", action="store_true", help="replace results of other settings")
    add(
        "--compat",
        choices=("upstream", "corrected"),
        help="the originals' scores or corrected ones in the tables and the figure (upstream; "
        "custom: corrected); both are printed",
    )
    add(
        "--training-size",
        "-ts",
        default="75",
        metavar="PERCENT",
        help="share of the training clips that each seed fits on (75; Shot7M2 and custom)",
    )
    add(
        "--threshold",
        "-th",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of positive frames that makes a clip positive in pooled scores (0.5)",
    )
    add("--json", type=Path, metavar="FILE", help="write the record of the results here too")
    _add_benchmark(parser.add_argument_group("benchmarks"))
    _add_custom(parser.add_argument_group("custom"))
    args = parser.parse_args(words)
    _check(args)
    require("matplotlib", "plots", "the figure")
    if args.task == CUSTOM:
        from hieras_eval.custom_run import run
    else:
        from hieras_eval.benchmark_run import run
    run(args)


def _add_benchmark(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--submission",
        nargs="+",
        metavar="FILE",
        help="submissions, one a level; a folder means its test_submission_* files",
    )
    add("--metadata", type=Path, metavar="DIR", help="clips, splits and tasks (see: prepare)")
    add("--filter", "-fi", action="store_true", help="leave out clips with few labels (hBABEL)")
    add("--beside", action="store_true", help="also write the table beside the submission")


def _add_custom(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--embeddings", nargs="+", metavar="FILE.nc", help="embedding files")
    add("--levels", nargs="+", metavar="LEVEL", help="levels (all, and all together: combined)")
    add("--tasks", nargs="+", metavar="TASK", help="tasks of the label table (all)")
    add(
        "--regression", nargs="+", default=[], metavar="TASK", help="tasks whose labels are numbers"
    )
    add("--baseline", choices=("hand",), help="score hand-made features of --recordings as well")
    add("--recordings", nargs="+", metavar="PATH", help="recordings for --baseline hand")
    split = group.add_mutually_exclusive_group()
    split.add_argument("--test", nargs="+", metavar="RECORDING", help="recordings that test")
    split.add_argument("--folds", type=int, metavar="K", help="folds of recordings (5)")


_ONLY_BENCHMARKS = ("submission", "metadata", "filter", "beside")
_ONLY_CUSTOM = (
    "embeddings",
    "levels",
    "tasks",
    "regression",
    "baseline",
    "recordings",
    "test",
    "folds",
)


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together, before anything is read."""
    if args.task not in TASKS:
        raise UserError(f"--task {args.task}: no such task; {suggest(args.task, TASKS)}")
    custom = args.task == CUSTOM
    for name in _ONLY_BENCHMARKS if custom else _ONLY_CUSTOM:
        if getattr(args, name):
            word = f"--{name}"
            only = "the benchmarks" if custom else "--task custom"
            raise UserError(f"{word} is an option of {only}, not of --task {args.task}")
    needed = "embeddings" if custom else "submission"
    if not getattr(args, needed):
        raise UserError(f"--task {args.task} needs --{needed} FILE")
    if not 0 < args.threshold <= 1:
        raise UserError(f"--threshold {args.threshold}: give a share above 0 and up to 1")
    if args.baseline and not args.recordings:
        raise UserError("--baseline hand needs --recordings, the poses to take features from")


def _report(words: list[str]) -> None:
    """Make one HTML page of the results in a folder."""
    parser = _parser(
        "report",
        "Write one self-contained HTML page of the results that `hieras-eval run` left in a\n"
        "folder: levels against groups of tasks, figure, every task, settings.",
        "hieras-eval report results --out report.html",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the --output-dir of run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (DIR/report.html)")
    parser.add_argument("--title", default="Hierarchical evaluation", help="title of the page")
    args = parser.parse_args(words)
    require("matplotlib", "plots", "a report")

    from hieras_eval.report import build_report

    path = build_report(args.folder, args.title).write(args.out or args.folder / "report.html")
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _summarise(words: list[str]) -> None:
    """Compare levels from the authors' tables, ours or theirs."""
    parser = _parser(
        "summarise",
        "Print the summary of every table and a table of levels against groups of tasks.",
        "hieras-eval summarise results/Shot7M2-round-1--*.csv",
    )
    parser.add_argument("tables", nargs="+", type=Path, metavar="CSV", help="result tables")
    parser.add_argument("--task", metavar="TASK", help="benchmark (told by the names)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write levels x groups as csv")
    args = parser.parse_args(words)

    from hieras_eval.summarise import summarise

    print(summarise(args.tables, args.task, args.out))


def _prepare(words: list[str]) -> None:
    """Take clips, splits and tasks from your checkout of a benchmark."""
    parser = _parser(
        "prepare",
        "Gather the metadata of a benchmark from your own checkout of its evaluator; mice and\n"
        "flies need it, Shot7M2 and hBABEL follow from rules. Nothing is downloaded.",
        "hieras-eval prepare --task mabe_mice --source BehaveMAE/hierAS-eval --out mice",
    )
    parser.add_argument("--task", required=True, metavar="TASK", help=", ".join(TASKS[:-1]))
    parser.add_argument("--source", required=True, type=Path, metavar="DIR", help="the checkout")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="metadata folder")
    args = parser.parse_args(words)

    from hieras_eval.preparing import prepare

    print(f"metadata: {prepare(args.task, args.source, args.out)}")


VERBS: dict[str, commands.Verb] = {
    "run": _run,
    "report": _report,
    "summarise": _summarise,
    "prepare": _prepare,
}


if __name__ == "__main__":
    sys.exit(main())

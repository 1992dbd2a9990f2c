"""The verb ``sgear fuse``: scores of several runs together, with given or searched weights."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from sgear.run_options import add_run_options, read_run_options

ABOUT = """\
Add the scores of several runs, each with a weight, and score the sum.

A run is an experiment (expts/a.txt; expts/a.txt/1 for run 1), a run folder, a results folder, a
challenge file or a folder of such (.json, .zip), or a pickle {verb,noun,action}_scores. A weight
stands behind it, expts/a.txt:2.5 (default 1). The items are those of the last run.

--search finds the weights: on --validation RUNS (the same networks, another split), else in folds
of whole videos, each scored with weights found on the others. It never looks at the labels of the
items that it reports."""
EXAMPLE = """\
sgear fuse expts/ek100_SGEAR_vit.txt:2.5 expts/ek100_SGEAR_tsn_obj.txt:0.5
sgear fuse expts/a.txt/0 expts/b.txt/3 --search --out fused
sgear fuse runs/a/results runs/b/results --search --validation runs/a/val runs/b/val"""


def command(words: list[str]) -> None:
    """Fuse the scores of several runs.

    Args:
        words: What stands behind ``sgear fuse``.

    Raises:
        UserError: Wrong options or files.
    """
    parser = commands.verb_parser("sgear", "fuse", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN[:WEIGHT]", help="runs to fuse")
    add("--normalise", type=float, metavar="P", help="divide every score vector by its P-norm")
    add("--search", nargs="?", const="AR5", metavar="FIGURE", help="AR5 (default), top1 or top5")
    add("--validation", nargs="+", metavar="RUN", help="runs to search weights on, in order")
    add("--folds", type=int, metavar="K", help="folds of videos of a search (5)")
    add_run_options(parser)
    add("--out", type=Path, metavar="DIR", help="folder for the fused run")
    given = parser.parse_intermixed_args(words)
    if given.validation and not given.search:
        raise UserError("--validation is for --search; add it, or leave --validation out")

    from sgear.fused_run import (
        FOLDS,
        fusion,
        fusion_text,
        refuse_results_of_others,
        write_fusion,
    )
    from sgear.fusion_inputs import parse_source

    if given.out is not None:
        refuse_results_of_others(given.out)
    sources = [parse_source(word) for word in given.runs]
    if given.search and any(source.weight is not None for source in sources):
        raise UserError("--search finds the weights; leave them out behind the runs")
    runs = read_run_options(sources, given)
    weights = [1.0 if source.weight is None else source.weight for source in sources]
    validation = None
    if given.validation:
        validation = read_run_options([parse_source(word) for word in given.validation], given)
    result = fusion(
        runs,
        weights,
        p=given.normalise,
        search=given.search,
        validation=validation,
        folds=FOLDS if given.folds is None else given.folds,
    )
    print(fusion_text(result))
    if given.out is not None:
        print(f"\nfused run in {write_fusion(result, given.out)}")

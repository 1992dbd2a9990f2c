"""``hieras-eval run --task custom``: embeddings and a label table in, tables and a figure out.

The split, the labels and the features that are read serve two evaluations: the protocol of the
benchmarks (one binary probe a class), and the core's probe, whose files `behaviorzoo report`
shows with ethograms.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from behaviorzoo.embeddings import open_embeddings
from behaviorzoo.labels import read_labels
from behaviorzoo.probe_command import HAND_BASELINE, hand_baseline, with_baseline, write_result
from behaviorzoo.probes import ProbeResult, ProbeSettings
from behaviorzoo.probes.inputs import group_files
from behaviorzoo.probes.protocol import ProbePlan, plan_probe, probe_planned
from behaviorzoo.recordings import find_recordings
from behaviorzoo.report.results import median_bouts
from hieras_eval import __version__
from hieras_eval.benchmark_run import write_figure
from hieras_eval.benchmarks import inner_test_size, rules
from hieras_eval.custom import SEEDS, FrameMatrix, custom_truths, evaluate_custom
from hieras_eval.printing import results_text
from hieras_eval.protocol import Evaluation
from hieras_eval.results import CUSTOM, ResultsFolder, Source, file_digest
from hieras_eval.stages import Stages
from hieras_eval.tables import authors_name

PROBE_FILES = ("scores.csv", "predictions.csv", "probe.json")


def run(args: argparse.Namespace) -> None:
    """Evaluate all levels, write and print the results."""
    stages = Stages()
    compat = args.compat or "corrected"
    stages.say(f"labels {args.labels}")
    labels = read_labels(args.labels)
    settings = ProbeSettings(
        tasks=_fine_to_coarse(labels, args.tasks, args.regression),
        regression=tuple(args.regression),
        test=None if args.test is None else tuple(args.test),
        folds=args.folds,
    )
    with ExitStack() as stack:
        files = [stack.enter_context(open_embeddings(path)) for path in args.embeddings]
        kinds = [
            FrameMatrix(prefix, kind, levels=args.levels) for prefix, kind in group_files(files)
        ]
        folder = ResultsFolder(
            args.output_dir,
            CUSTOM,
            _settings(args, compat),
            {level: _source(level, kind) for kind in kinds for level in kind.columns}
            | ({HAND_BASELINE: _source(HAND_BASELINE, kinds[0])} if args.baseline else {}),
            force=args.force,
            sort_levels=False,
        )
        notes: list[str] = []
        done = folder.open(PROBE_FILES)
        complete = all((args.output_dir / name).exists() for name in PROBE_FILES)
        if len(done) == len(folder.sources) and complete:
            stages.say("evaluated before with the same settings")
        else:
            result, evaluations = _evaluate(args, kinds, labels, settings, stages)
            for level, evaluation in evaluations.items():
                folder.add(level, evaluation)
            write_result(result, args.output_dir)
            notes = result.details["notes"]
    stages.finish()
    write_figure(folder, compat, folder.settings["baselines"])
    for note in notes:
        print(f"note: {note}")
    print(results_text(folder))
    if args.json is not None:
        folder.write_record(args.json)


def _evaluate(
    args: argparse.Namespace,
    kinds: Sequence[FrameMatrix],
    labels: pd.DataFrame,
    settings: ProbeSettings,
    stages: Stages,
) -> tuple[ProbeResult, dict[str, Evaluation]]:
    """The core's probe and the protocol on one plan; then both on the baseline."""
    result, evaluations = _both(args, kinds, labels, settings, stages)
    result.details = {**_provenance(args), **result.details}
    if args.baseline is None:
        return result, evaluations
    stages.say(f"{HAND_BASELINE}: computing")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path, same = hand_baseline(result, args.recordings, labels, Path(folder))
        hand = FrameMatrix("", [stack.enter_context(open_embeddings(path))])
        other, found = _both(args, [hand], same, settings, stages)
    (baseline,) = found.values()
    return with_baseline(result, other), {
        **evaluations,
        HAND_BASELINE: _renamed(baseline, HAND_BASELINE),
    }


def _both(
    args: argparse.Namespace,
    kinds: Sequence[FrameMatrix],
    labels: pd.DataFrame,
    settings: ProbeSettings,
    stages: Stages,
) -> tuple[ProbeResult, dict[str, Evaluation]]:
    plan: ProbePlan = plan_probe(kinds, labels, settings)
    evaluations: dict[str, Evaluation] = {}
    for kind in kinds:
        test_size = inner_test_size(rules("Shot7M2"), args.training_size)
        truths = custom_truths(plan, kind, args.labels, test_size=test_size)
        evaluations |= evaluate_custom(
            kind,
            truths,
            threshold=args.threshold,
            compat=args.compat or "corrected",
            progress=stages.part,
        )
    stages.say("multi-class probe, for its predictions")
    return probe_planned(kinds, plan, settings), evaluations


def _fine_to_coarse(
    labels: pd.DataFrame, tasks: Sequence[str] | None, regression: Sequence[str]
) -> tuple[str, ...]:
    """Tasks by the median length of a bout; labels of whole recordings come last."""
    bouts = median_bouts(labels)
    chosen = [*(tasks or map(str, labels["task"].unique())), *regression]
    return tuple(sorted(dict.fromkeys(chosen), key=lambda task: bouts.get(task, float("inf"))))


def _source(level: str, kind: FrameMatrix) -> Source:
    name = level.replace("/", "_").replace(" ", "_")
    path = next(iter(kind.files.values())).path
    return Source(path, authors_name(CUSTOM, f"submission_{name}"))


def _settings(args: argparse.Namespace, compat: str) -> dict[str, Any]:
    """What the scores depend on."""
    return {
        "compat": compat,
        "threshold": args.threshold,
        "training_size": str(args.training_size),
        "labels": file_digest(args.labels),
        "embeddings": [file_digest(path) for path in args.embeddings],
        "levels": args.levels,
        "tasks": args.tasks,
        "regression": args.regression,
        "test": args.test,
        "folds": args.folds,
        "seeds": list(SEEDS),
        "baselines": [HAND_BASELINE] if args.baseline else [],
        "recordings": [file_digest(path) for path in find_recordings(args.recordings)]
        if args.baseline
        else [],
    }


def _provenance(args: argparse.Namespace) -> Mapping[str, Any]:
    return {
        "made by": f"hieras-eval {__version__}",
        "embeddings": [Path(path).name for path in args.embeddings],
        "labels": args.labels.name,
        "baseline": args.baseline,
    }


def _renamed(evaluation: Evaluation, level: str) -> Evaluation:
    return replace(evaluation, level=level, tidy=evaluation.tidy.assign(level=level))

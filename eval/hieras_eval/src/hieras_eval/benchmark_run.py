"""``hieras-eval run`` for the published benchmarks: submissions in, tables and a figure out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from behaviorzoo.errors import UserError
from hieras_eval import tables
from hieras_eval.benchmarks import load_benchmark
from hieras_eval.label_files import open_labels
from hieras_eval.printing import results_text
from hieras_eval.protocol import Evaluation, evaluate, read_truth
from hieras_eval.results import ResultsFolder, Source, benchmark_digest, file_digest
from hieras_eval.stages import Stages
from hieras_eval.submissions import open_submission
from hieras_eval.summaries import CORRECTED, PUBLISHED


def run(args: argparse.Namespace) -> None:
    """Evaluate every submission that is not evaluated yet, write and print the results."""
    stages = Stages()
    compat = args.compat or "upstream"
    submissions = levels_of(tables.find_submissions(args.submission))
    stages.say(f"labels {args.labels}")
    labels = open_labels(args.labels)
    benchmark = load_benchmark(
        args.task,
        metadata=args.metadata,
        labels=labels,
        training_size=args.training_size,
        filter=args.filter,
        compat=compat,
    )
    settings = {
        "compat": compat,
        "threshold": args.threshold,
        "training_size": str(args.training_size),
        "filter": args.filter,
        "labels": file_digest(args.labels),
        "benchmark": benchmark_digest(benchmark),
    }
    sources = {
        level: Source(path, tables.authors_name(args.task, path))
        for level, path in submissions.items()
    }
    folder = ResultsFolder(args.output_dir, args.task, settings, sources, args.force)
    done = folder.open()
    truth = None
    for level, path in submissions.items():
        title = tables.level_title(level)
        if level in done:
            stages.say(f"{title}: evaluated before with the same settings ({path})")
            continue
        if truth is None:
            truth = read_truth(benchmark, labels, progress=partial(stages.part, "labels"))
        stages.say(f"{title}: {path}")
        evaluation = evaluate(
            truth,
            open_submission(path),
            threshold=args.threshold,
            compat=compat,
            level=level,
            progress=partial(stages.part, title),
        )
        folder.add(level, evaluation)
        if args.beside:
            _write_beside(args, path, evaluation)
    stages.finish()
    if len(done) < len(submissions) or not folder.figure_path.exists():
        write_figure(folder, compat)
    print(results_text(folder))
    if args.json is not None:
        folder.write_record(args.json)


def write_figure(folder: ResultsFolder, compat: str, baselines: Sequence[str] = ()) -> None:
    """Draw the levels against the groups of tasks, with the scores that the tables hold."""
    from behaviorzoo.plots.style import save_figure
    from hieras_eval.figures import levels_figure

    kind = PUBLISHED if compat == "upstream" else CORRECTED
    save_figure(levels_figure(folder.tidy, kind, baselines=baselines), folder.figure_path, dpi=200)


def levels_of(paths: list[Path]) -> dict[str, Path]:
    """Level -> submission, in the order of levels.

    Submissions of different names that claim the same level go by their whole names.

    Raises:
        UserError: Two of them have the same file name, so their tables would be one file.
    """
    twice = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if twice:
        raise UserError(
            f"{twice[0]}: two submissions of this name would write the same table; evaluate them "
            "one by one, each with its own --output-dir"
        )
    count = Counter(map(tables.level_of, paths))
    named = {
        (level if count[level] == 1 else path.stem): path
        for path in paths
        for level in [tables.level_of(path)]
    }
    return dict(sorted(named.items(), key=lambda item: tables.level_order(item[0])))


def _write_beside(args: argparse.Namespace, submission: Path, evaluation: Evaluation) -> None:
    """The copy beside the submission, where the original looks for it."""
    name = tables.authors_name(args.task, submission, args.threshold)
    path = submission.with_name(name)
    content = evaluation.authors.to_csv(index=True)
    if path.exists() and path.read_text() != content and not args.force:
        print(f"note: {path} is there with other results and was left; --force replaces it")
        return
    tables.write_authors(evaluation.authors, path, index=True)

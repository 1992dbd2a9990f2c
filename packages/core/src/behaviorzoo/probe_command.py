"""The verb ``behaviorzoo probe``: how much of the labels is linearly readable in embeddings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from behaviorzoo.probes import ProbeResult

HAND_BASELINE = "hand features"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.description = (
        "Fit linear probes on every level of the embeddings (and on all levels together, "
        "'combined') for every task of the labels. Recordings are never split: all frames of a "
        "recording train, or all test. The penalty is chosen by the F1 (or the error) in "
        "cross-validation among the training recordings. Writes scores.csv, predictions.csv and "
        "probe.json."
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--embeddings",
        nargs="+",
        required=True,
        metavar="FILE.nc",
        help="embedding files; several with other recordings are read as one, others compared",
    )
    data.add_argument("--labels", required=True, metavar="FILE.csv", help="label table")
    data.add_argument("--out", type=Path, required=True, metavar="DIR", help="target folder")
    data.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks of the labels (all)")
    data.add_argument(
        "--regression",
        nargs="+",
        default=[],
        metavar="TASK",
        help="tasks whose labels are numbers to predict",
    )
    data.add_argument("--levels", nargs="+", metavar="LEVEL", help="levels to probe (all)")
    data.add_argument(
        "--combine", action="store_true", help="probe the chosen levels together, however wide"
    )
    data.add_argument(
        "--context",
        type=int,
        nargs="+",
        default=[],
        metavar="FRAMES",
        help="add the rolling mean and deviation of the embeddings over these windows (off)",
    )
    data.add_argument(
        "--baseline", choices=("hand",), help="probe hand-made features of --recordings as well"
    )
    data.add_argument(
        "--recordings", nargs="+", metavar="PATH", help="recordings for --baseline hand"
    )
    add_split_arguments(parser)
    probe = parser.add_argument_group("probe")
    probe.add_argument(
        "--estimator",
        choices=("ridge", "logistic"),
        default="ridge",
        help="multi-class model (ridge); the one-vs-rest probes are always ridge",
    )
    probe.add_argument(
        "--class-weight",
        choices=("balanced", "none"),
        help="weight of the classes in the multi-class model (ridge: balanced, logistic: none)",
    )
    probe.add_argument(
        "--alphas", type=float, nargs="+", metavar="A", help="penalties to choose from (1 to 1e6)"
    )
    probe.add_argument(
        "--select",
        default="score",
        metavar="{score,error}",
        help="choose the penalty of a ridge classifier by its F1 (score) or its squared error, on "
        "left-out training recordings (score)",
    )
    probe.add_argument(
        "--every", type=int, default=1, metavar="K", help="train on every k-th frame (1)"
    )
    probe.add_argument(
        "--no-standardise",
        action="store_true",
        help="penalise raw features instead of features with deviation 1 in training",
    )
    probe.add_argument(
        "--background",
        nargs="+",
        default=[],
        metavar="[TASK:]LABEL",
        help="labels left out of the mean over one-vs-rest probes",
    )


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say which recordings test; see :func:`recordings_that_test`."""
    split = parser.add_argument_group("split").add_mutually_exclusive_group()
    split.add_argument("--test", nargs="+", metavar="RECORDING", help="recordings that test")
    split.add_argument("--test-file", metavar="FILE", help="their names in a file, one a line")
    split.add_argument("--folds", type=int, metavar="K", help="folds of recordings (5)")


def run(args: argparse.Namespace) -> None:
    """Probe, write the results and print a table."""
    from behaviorzoo.errors import UserError
    from behaviorzoo.labels import read_labels
    from behaviorzoo.probes import ProbeSettings, probe
    from behaviorzoo.probes.scores import summary

    _check(args)
    settings = ProbeSettings(
        tasks=_optional(args.tasks),
        regression=tuple(args.regression),
        levels=_optional(args.levels),
        combine=args.combine,
        test=recordings_that_test(args),
        folds=args.folds,
        estimator=args.estimator,
        alphas=_optional(args.alphas),
        select=args.select,
        class_weight=args.class_weight,
        standardise=not args.no_standardise,
        every=args.every,
        context=tuple(args.context),
        background=tuple(args.background),
    )
    labels = read_labels(args.labels)
    result = probe(args.embeddings, labels, settings)
    if args.baseline == "hand":
        if not args.recordings:
            raise UserError("--baseline hand needs --recordings, the poses to take features from")
        result = _with_hand_features(result, args.recordings, labels, settings)
    result.details = {**_provenance(args, settings), **result.details}
    write_result(result, args.out)
    for note in result.details["notes"]:
        print(f"note: {note}")
    print(f"split: {result.details['split']}")
    if args.context:
        windows = ", ".join(map(str, args.context))
        print(f"features: embeddings with rolling mean and deviation over {windows} frames")
    print()
    print(summary(result.scores))
    print(f"results in {args.out}")


def write_result(result: ProbeResult, folder: Path) -> None:
    """Write ``scores.csv``, ``predictions.csv`` and ``probe.json``, each whole or not at all.

    Raises:
        UserError: The folder cannot be written, or the disk is full.
    """
    import json

    from behaviorzoo.files import atomic_path

    with atomic_path(folder / "scores.csv") as path:
        result.scores.to_csv(path, index=False)
    with atomic_path(folder / "predictions.csv") as path:
        result.predictions.to_csv(path, index=False)
    with atomic_path(folder / "probe.json") as path:
        path.write_text(json.dumps(result.details, indent=1, default=str) + "\n", encoding="utf-8")


def _with_hand_features(
    result: ProbeResult, recordings: list[str], labels: Any, settings: Any
) -> ProbeResult:
    """Add hand-made features, probed in the same way, as a baseline beside every level."""
    import tempfile
    from dataclasses import replace

    from behaviorzoo.probes import probe

    with tempfile.TemporaryDirectory() as folder:
        path, same = hand_baseline(result, recordings, labels, Path(folder))
        # The features have their own rolling windows, so no further context.
        other = probe([path], same, replace(settings, levels=None, context=(), combine=False))
    return with_baseline(result, other)


def hand_baseline(
    result: ProbeResult, recordings: list[str], labels: Any, folder: Path
) -> tuple[Path, Any]:
    """Write the hand-made features of the probed recordings.

    Args:
        result: What was probed.
        recordings: Recording files, folders or patterns.
        labels: Label table.
        folder: Where to write.

    Returns:
        The embedding file, and the labels of the same recordings.

    Raises:
        UserError: A probed recording is not among them.
    """
    from behaviorzoo.errors import UserError
    from behaviorzoo.handcrafted import write_hand_features
    from behaviorzoo.recordings import find_recordings

    used = {name for part in ("train", "test") for names in result.details[part] for name in names}
    paths = [path for path in find_recordings(recordings) if path.stem in used]
    absent = sorted(used - {path.stem for path in paths})
    if absent:
        raise UserError(
            f"--recordings: recording {absent[0]!r} is probed but not among them; hand-made "
            "features are a baseline only on the same recordings"
        )
    path = write_hand_features(paths, folder / "hand.nc")
    return path, labels[labels["recording"].isin(list(used))]


def with_baseline(
    result: ProbeResult, other: ProbeResult, name: str = HAND_BASELINE
) -> ProbeResult:
    """Let the scores of ``other`` stand as a baseline beside every level of ``result``."""
    from dataclasses import replace

    from behaviorzoo.score_table import add_baseline

    notes = [f"{name}: {note}" for note in other.details["notes"]]
    if other.details["train"] != result.details["train"]:
        notes.append(f"{name}: other folds, because the recordings differ in length")
    details = {
        **result.details,
        "penalties": {**result.details["penalties"], **other.details["penalties"]},
        "notes": result.details["notes"] + notes,
    }
    scores = add_baseline(result.scores, other.scores, name)
    return replace(result, scores=scores, details=details)


def _check(args: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing."""
    from behaviorzoo.errors import UserError

    if args.every < 1:
        raise UserError(f"--every {args.every}: every k-th frame needs k of at least 1")
    if any(window < 1 for window in args.context):
        raise UserError(f"--context {min(args.context)}: a window has at least 1 frame")
    if any(not alpha > 0 for alpha in args.alphas or ()):
        raise UserError(f"--alphas {min(args.alphas)}: a penalty is larger than 0")


def recordings_that_test(args: argparse.Namespace) -> tuple[str, ...] | None:
    """Names of the recordings that test, from ``--test`` or ``--test-file``; None without them."""
    from behaviorzoo.files import existing_file

    if args.test_file is None:
        return _optional(args.test)
    path = existing_file(args.test_file, "list of test recordings")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _optional(values: list | None) -> tuple | None:
    return None if values is None else tuple(values)


def _provenance(args: argparse.Namespace, settings: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from behaviorzoo import __version__

    return {
        "version": __version__,
        "embeddings": [Path(path).name for path in args.embeddings],
        "labels": Path(args.labels).name,
        "baseline": args.baseline,
        "settings": asdict(settings),
    }

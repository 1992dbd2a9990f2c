"""Streams of one encoder each, fused: scores of `hysp evaluate` or the original's arrays.

The weights are searched on other samples than those that are scored: on scores of a validation
split where these are given, else in folds, each fused with weights found on all others. The
original searches on the test labels themselves; ``compat="upstream"`` does so too, and says it.

Letters: S streams, N samples, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from hysp.data.splits import group_folds
from hysp.evaluate.levels import EVALUATION
from hysp.fusion import (
    Accuracy,
    fuse,
    fused_accuracy,
    grid_candidates,
    original_candidates,
    search_weights,
)
from hysp.stream_scores import StreamScores, aligned, read_stream

Compat = Literal["paper", "upstream"]
FOLDS = 5
OPTIMISTIC = "weights searched on the test labels themselves: an optimistic figure"
ABOUT = """\
Fuse the scores of several streams (joint, bone, motion) by a weighted sum.

Every stream is a folder of `hysp evaluate`, one of its scores/*.npz, or the original's
score_list.npy (with --labels FILE). Without --weights they are searched: on scores of a validation
split given by --validation, else in folds, each scored with weights found on the others.
--compat upstream searches an eighth of the original's grid on the test labels: optimistic, and said
so."""
EXAMPLE = """\
hysp ensemble scores/joint scores/bone scores/motion --out scores/fused
hysp ensemble scores/joint scores/bone scores/motion --weights 0.6 0.6 0.4
hysp ensemble j.npy b.npy m.npy --labels val_label.pkl --compat upstream"""


@dataclass
class Fused:
    """An ensemble.

    Attributes:
        logits: (N, C), in folds each with the weights of its fold.
        labels: int64 (N,).
        weights: (S,) for further data; found on all samples where they were searched in folds.
        accuracy: Of the fused scores.
        alone: Of every stream by itself.
        how: Where the weights come from, in words.
        folds: Weights of every fold.
        notes: What the user should know.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: tuple[float, ...]
    accuracy: Accuracy
    alone: list[Accuracy]
    how: str
    folds: list[tuple[float, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ensemble(
    streams: Sequence[StreamScores],
    *,
    weights: Sequence[float] | None = None,
    validation: Sequence[StreamScores] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
    compat: Compat = "paper",
) -> Fused:
    """Fuse streams.

    Args:
        streams: Scores of the samples that count.
        weights: Fixed weights, one per stream; else they are searched.
        validation: Scores of a validation split, to search on.
        folds: Without a validation split: folds of whole groups to search in.
        seed: Of the folds; under ``upstream`` of the original's draw of candidates.
        compat: ``upstream`` searches on the labels of ``streams`` themselves.

    Raises:
        UserError: Streams that do not belong together, or too few samples.
    """
    streams = aligned(streams)
    scores, labels = [s.logits for s in streams], streams[0].labels
    alone = [fused_accuracy(values, labels) for values in scores]

    def fused(found: Sequence[float] | np.ndarray, how: str, **more: Any) -> Fused:
        logits = more.pop("logits", None)
        logits = fuse(scores, found) if logits is None else logits
        plain = tuple(float(weight) for weight in found)
        return Fused(logits, labels, plain, fused_accuracy(logits, labels), alone, how, **more)

    if weights is not None:
        if validation is not None:
            raise UserError("fixed weights need no validation scores; give one of them")
        if not np.isfinite(weights).all() or not np.any(weights):
            raise UserError(f"weights {list(weights)}: expected numbers, not all of them 0")
        return fused([float(weight) for weight in weights], "fixed")
    if compat == "upstream":
        candidates = original_candidates(seed, len(scores))
        found = search_weights(scores, labels, candidates).weights
        how = f"searched among {len(candidates)} sets drawn from the original's grid"
        return fused(np.array(found), how, notes=[OPTIMISTIC])
    candidates = grid_candidates(len(scores))
    if validation is not None:
        if len(validation) != len(streams):
            raise UserError(f"{len(validation)} validation scores for {len(streams)} streams")
        other = aligned(validation)
        found = search_weights([s.logits for s in other], other[0].labels, candidates).weights
        return fused(np.array(found), f"searched on {len(other[0].labels)} validation samples")
    logits, of_folds = _in_folds(streams, candidates, folds, seed)
    found = search_weights(scores, labels, candidates).weights
    how = f"searched in {folds} folds, each scored with weights found on the others"
    return fused(np.array(found), how, logits=logits, folds=of_folds)


def _in_folds(
    streams: Sequence[StreamScores], candidates: np.ndarray, folds: int, seed: int
) -> tuple[np.ndarray, list[tuple[float, ...]]]:
    """Fused scores (N, C) of all samples, and the weights of every fold."""
    first = streams[0]
    scores, labels = [s.logits.astype(np.float64) for s in streams], first.labels
    groups = first.groups if len(first.groups) else np.arange(len(labels)).astype(str)
    fold = group_folds(groups, folds, seed)
    logits = np.empty_like(scores[0])
    found = []
    for k in range(folds):
        rest, own = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        searched = search_weights([s[rest] for s in scores], labels[rest], candidates)
        logits[own] = fuse([s[own] for s in scores], searched.weights)
        found.append(searched.weights)
    return logits, found


def check_folder(out: str | Path) -> None:
    """Refuse the folder of an evaluation, whose scores would be written over.

    Raises:
        UserError: The folder holds an evaluation.
    """
    if (Path(out) / EVALUATION).is_file():
        raise UserError(f"{out}: holds an evaluation; give the fused scores another --out")


def write_ensemble(result: Fused, streams: Sequence[StreamScores], out: str | Path) -> Path:
    """Write ``scores.csv``, ``scores/fused.npz`` and ``ensemble.json``.

    Raises:
        UserError: The folder holds an evaluation, or cannot be written.
    """
    check_folder(out)
    out, first = Path(out), aligned(streams)[0]
    with atomic_path(out / "scores" / "fused.npz") as temporary:
        np.savez_compressed(
            temporary,
            logits=result.logits,
            labels=result.labels,
            names=first.names,
            groups=first.groups,
            classes=first.classes,
        )
    with atomic_path(out / "scores.csv") as temporary:
        score_rows(result, streams).to_csv(temporary, index=False)
    content = {
        "streams": [str(stream.where.name) for stream in streams],
        "weights": result.weights,
        "weights_from": result.how,
        "weights_of_folds": result.folds,
        "notes": result.notes,
    }
    with atomic_path(out / "ensemble.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return out


def score_rows(result: Fused, streams: Sequence[StreamScores]) -> pd.DataFrame:
    """Top-1 and top-5 accuracy of every stream and of all together, as a tidy table."""
    names = [_stream_name(stream, at) for at, stream in enumerate(streams)]
    rows = [
        {"level": level, "task": "", "label": "", "metric": metric, "value": value}
        for level, found in zip([*names, "fused"], [*result.alone, result.accuracy], strict=True)
        for metric, value in zip(("accuracy", "top-5 accuracy"), found, strict=True)
    ]
    return pd.DataFrame(rows)


def command(words: list[str]) -> None:
    """Fuse the scores of several streams.

    Args:
        words: What stands behind ``hysp ensemble``.

    Raises:
        UserError: Wrong options or files.
    """
    parser = commands.verb_parser("hysp", "ensemble", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("streams", nargs="+", type=Path, metavar="SCORES", help="scores of each stream")
    add("--weights", nargs="+", type=float, metavar="W", help="fixed weights, one per stream")
    add("--validation", nargs="+", type=Path, metavar="SCORES", help="scores to search weights on")
    add(
        "--folds",
        type=int,
        default=FOLDS,
        metavar="K",
        help=f"folds to search in (default {FOLDS})",
    )
    add("--labels", type=Path, metavar="FILE", help="labels of .npy scores (.pkl or .npy)")
    add("--validation-labels", type=Path, metavar="FILE", help="labels of --validation .npy")
    add("--task", default="", help="which task, where an evaluation has several")
    add("--level", default="", help="which protocol, where an evaluation has several")
    add("--seed", type=int, default=0, help="of folds, and of the original's draw (default 0)")
    add("--compat", choices=["paper", "upstream"], default="paper", help="upstream: search on test")
    add("--out", type=Path, metavar="DIR", help="folder for the fused scores")
    given = parser.parse_intermixed_args(words)

    if given.out is not None:
        check_folder(given.out)

    def read(paths: Sequence[Path], labels: Path | None) -> list[StreamScores]:
        return [read_stream(p, labels, task=given.task, level=given.level) for p in paths]

    streams = read(given.streams, given.labels)
    result = ensemble(
        streams,
        weights=given.weights,
        validation=read(given.validation, given.validation_labels) if given.validation else None,
        folds=given.folds,
        seed=given.seed,
        compat=given.compat,
    )
    for note in result.notes:
        print(f"note: {note}")
    print(f"weights: {', '.join(f'{w:g}' for w in result.weights)} ({result.how})")
    for fold, weights in enumerate(result.folds):
        print(f"  fold {fold}: {', '.join(f'{w:g}' for w in weights)}")
    names = [*(_stream_name(stream, at) for at, stream in enumerate(streams)), "fused"]
    width = max(map(len, names))
    for name, found in zip(names, [*result.alone, result.accuracy], strict=True):
        print(f"{name:<{width}}  top-1 {found.top1:.4f}  top-5 {found.top5:.4f}")
    if given.out is not None:
        print(f"results in {write_ensemble(result, streams, given.out)}")


def _stream_name(stream: StreamScores, at: int) -> str:
    """Name of the evaluation's folder, else of the file."""
    path = stream.where
    folder = path.parent.parent if path.parent.name == "scores" else None
    return f"{at + 1} {folder.name if folder and folder.name else path.stem}"
